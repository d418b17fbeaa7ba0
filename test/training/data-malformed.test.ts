import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '@elbo/training/data/data-error';
import { loadDataset } from '@elbo/training/data/datasets';
import { describe, expect, test } from 'vitest';
import { type Ended, elbo } from '../support/elbo.js';
import { malformedFiles } from '../support/malformed.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

/** What loading bombs and lies may take beside what was there before. */
const MEMORY_LIMIT = 100 << 20;

/** Where the system tells. */
const openFiles = () => (existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0);

describe('malformed files', () => {
  const files = malformedFiles(260, 1);

  test.each([0, undefined])(
    'each give one clear line, and take little memory (memory budget %s)',
    async (memoryBudget) => {
      const directory = temporaryDirectory();
      const cacheDir = join(directory, 'cache');
      const before = process.resourceUsage().maxRSS * 1024;
      const openBefore = openFiles();
      for (const { fault, name, content } of files) {
        const path = join(directory, name);
        writeFileSync(path, content);
        const outcome = await loadDataset(path, { cacheDir, memoryBudget }).catch((error: unknown) => error);
        expect(outcome, `${fault}, ${name}`).toBeInstanceOf(DataError);
        const { message } = outcome as DataError;
        expect(message, fault).toContain(path);
        expect(message, fault).not.toMatch(/[\n\r]|undefined|\[object/);
        expect(message.length, message).toBeLessThan(500);
      }
      expect(process.resourceUsage().maxRSS * 1024 - before).toBeLessThan(MEMORY_LIMIT);
      expect(openFiles()).toBe(openBefore);
      // Rows that were in the making are gone.
      expect(readdirSync(directory).includes('cache') ? readdirSync(cacheDir) : []).toEqual([]);
    },
  );

  test.skipIf(process.platform === 'win32')(
    'pipes without a writer, directories and dead links do not hang',
    async () => {
      const directory = temporaryDirectory();
      for (const extension of ['npy', 'npz', 'csv', 'idx', 'gz']) {
        const path = join(directory, `pipe.${extension}`);
        execFileSync('mkfifo', [path]);
        await expect(loadDataset(path)).rejects.toThrow(`${path}: not a regular file; expected a`);
        mkdirSync(join(directory, `folder.${extension}`));
        await expect(loadDataset(join(directory, `folder.${extension}`))).rejects.toThrow('the folder holds no image');
        symlinkSync('nowhere', join(directory, `link.${extension}`));
        await expect(loadDataset(join(directory, `link.${extension}`))).rejects.toThrow(DataError);
      }
    },
  );

  test('end the command with exit code 2 and one line', async () => {
    const directory = temporaryDirectory();
    for (const { fault, name, content } of malformedFiles(13, 2).filter((_, i) => i % 2 === 0)) {
      const path = join(directory, name);
      writeFileSync(path, content);
      const { code, stderr, stdout } = await train(path, directory);
      expect(stderr, fault).toMatch(/^elbo: [^\n]+\n$/);
      expect(stderr, fault).toContain(path);
      expect([code, stdout], fault).toEqual([2, '']);
    }
  });
});

function train(dataset: string, directory: string): Promise<Ended> {
  const args = ['train', '--preset', 'shapes-mlp', '--dataset', dataset, '--out', join(directory, 'models')];
  return elbo([...args, '--cache-dir', join(directory, 'cache')]);
}
