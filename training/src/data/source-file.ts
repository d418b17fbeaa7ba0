import { constants, type Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { DataError } from './data-error.js';

/** What tells a file that has changed from one that has not. */
export interface FileStamp {
  readonly size: number;
  readonly mtimeMs: number;
}

export function stampOf({ size, mtimeMs }: FileStamp): FileStamp {
  return { size, mtimeMs };
}

/** @throws {DataError} where the file is not what it was when it was stamped */
export function checkUnchanged(path: string, found: FileStamp, expected: FileStamp): void {
  if (found.size !== expected.size) {
    throw new DataError(
      `${path}: the file has changed since it was read first: ${found.size} bytes, ${expected.size} before; expected it to stay as it is`,
    );
  }
  if (found.mtimeMs !== expected.mtimeMs) {
    const time = (ms: number) => new Date(ms).toISOString();
    throw new DataError(
      `${path}: the file has changed since it was read first: modified ${time(found.mtimeMs)}, ${time(expected.mtimeMs)} before; expected it to stay as it is`,
    );
  }
}

/**
 * Opens a regular file for reading, runs `use`, and closes it whatever happens.
 * @param what the kind of file that is expected, with its article
 * @throws {DataError} where it cannot be read, is empty, is not a regular file, or changes meanwhile
 */
export async function withSourceFile<Result>(
  path: string,
  what: string,
  use: (file: FileHandle, stats: Stats) => Promise<Result>,
): Promise<Result> {
  try {
    // Without O_NONBLOCK, to open a pipe would wait for its writer, maybe for ever.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = await file.stat();
      if (!stats.isFile()) {
        throw new DataError(
          `${path}: ${stats.isDirectory() ? 'a directory, ' : ''}not a regular file; expected ${what}`,
        );
      }
      if (stats.size === 0) throw new DataError(`${path}: the file is empty; expected ${what}`);
      const result = await use(file, stats);
      checkUnchanged(path, await file.stat(), stats);
      return result;
    } finally {
      await file.close();
    }
  } catch (error) {
    throw asDataError(error, path);
  }
}

/** The error itself where it is one already, else one line that says which file could not be read, and why. */
export function asDataError(error: unknown, path: string): DataError {
  if (error instanceof DataError) return error;
  return new DataError(`${path}: cannot be read (${oneLine((error as Error).message)})`, { cause: error });
}

/** The first line of a message: what libraries write below it is for their authors. */
export function oneLine(message: string): string {
  return message.split('\n')[0].trim();
}
