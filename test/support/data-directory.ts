import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * The directory of real data sets (mnist/, fashion-mnist/, …): ELBO_DATA_DIR, else `shared/data` beside the repository.
 * @returns undefined where there is none; tests that need it are then skipped
 * @throws {Error} where ELBO_DATA_DIR names no directory, since its tests were wanted
 */
export function dataDirectory(): string | undefined {
  const named = process.env.ELBO_DATA_DIR;
  const directory = named ?? fileURLToPath(new URL('../../../shared/data', import.meta.url));
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory()) return directory;
  if (named !== undefined) throw new Error(`ELBO_DATA_DIR is ${named}; expected a directory`);
  return undefined;
}
