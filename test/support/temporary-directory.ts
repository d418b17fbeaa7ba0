import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, onTestFinished } from 'vitest';

/** A new empty directory that is removed when the running test ends. */
export function temporaryDirectory(): string {
  const directory = newDirectory();
  onTestFinished(() => remove(directory));
  return directory;
}

/** Makes new empty directories that are removed when all tests of the file are done. */
export function suiteDirectory(): () => string {
  const directories: string[] = [];
  afterAll(() => directories.forEach(remove));
  return () => {
    const directory = newDirectory();
    directories.push(directory);
    return directory;
  };
}

const newDirectory = () => mkdtempSync(join(tmpdir(), 'elbo-test-'));
const remove = (directory: string) => rmSync(directory, { recursive: true, force: true });
