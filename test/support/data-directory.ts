import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const repository = fileURLToPath(new URL('../..', import.meta.url));

/**
 * The directory of real data sets (mnist/, fashion-mnist/, …): ELBO_DATA_DIR, else the data directory beside the
 * repository.
 * @returns undefined where there is none; tests that need it are then skipped
 * @throws {Error} where ELBO_DATA_DIR names no directory, since its tests were wanted
 */
export function dataDirectory(): string | undefined {
  const named = process.env.ELBO_DATA_DIR;
  const directory = named ?? join(dirname(repository), 'shared', 'data');
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory()) return directory;
  if (named !== undefined) throw new Error(`ELBO_DATA_DIR is ${named}; expected a directory`);
  return undefined;
}
