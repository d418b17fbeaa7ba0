import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { chunksOf, type Examples, exampleSize } from './dataset.js';
import { firstUnusable, notFinite } from './number-array.js';
import { type DataProgress, Fingerprint, type RowStore } from './row-store.js';

/** What one pass over examples finds out. */
export interface Survey {
  /** The smallest and the largest number. */
  readonly low: number;
  readonly high: number;
  /** Places of the columns of a table with values that are missing (NaN), ascending. */
  readonly missing: readonly number[];
  /** SHA-256 of the values in order, row-major little-endian; lower-case hexadecimal. */
  readonly sha256: string;
}

/**
 * Reads all examples once. What is found of examples in a file is kept in the store, beside the file's size and time,
 * and not looked for again.
 * @throws {DataError} where a number is not finite, unless it is a missing value of a table
 */
export async function survey(examples: Examples, store: RowStore, onProgress?: DataProgress): Promise<Survey> {
  const { storage } = examples;
  if (storage.kind === 'memory' || storage.stamp === undefined) return pass(examples, onProgress);
  const fingerprint = new Fingerprint(
    `survey 2 ${examples.dtype} ${examples.shape.join(' x ')}, ${examples.count} from ${storage.offset}, ${rowsHash(examples)}`,
  );
  const path = join(store.directory, `${fingerprint.add(storage.path, storage.stamp).digest()}.survey.json`);
  const kept = parseSurvey(await readFile(path, 'utf8').catch(() => ''));
  if (kept !== undefined) return kept;
  const found = await pass(examples, onProgress);
  await keep(path, found, store.directory);
  return found;
}

async function pass(examples: Examples, onProgress: DataProgress | undefined): Promise<Survey> {
  const hash = createHash('sha256');
  const size = exampleSize(examples);
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  const missing = new Set<number>();
  for await (const { start, end, values } of chunksOf(examples)) {
    hash.update(values);
    if (values instanceof Float32Array) {
      const bad = firstUnusable(values, examples.shape);
      if (bad >= 0) {
        const index = start + Math.floor(bad / size);
        const place = examples.storage.kind === 'file' ? examples.storage.path : 'the examples';
        throw notFinite(place, examples.rows?.[index] ?? index, bad % size, values[bad]);
      }
    }
    for (let i = 0; i < values.length; i++) {
      if (values[i] < low) low = values[i];
      if (values[i] > high) high = values[i];
      if (Number.isNaN(values[i])) missing.add(i % size);
    }
    onProgress?.(end, examples.count, 'checking the data');
  }
  return { low, high, missing: [...missing].sort((a, b) => a - b), sha256: hash.digest('hex') };
}

function rowsHash({ rows }: Examples): string {
  return rows === undefined ? 'all' : createHash('sha256').update(rows).digest('hex');
}

function parseSurvey(text: string): Survey | undefined {
  try {
    const { low, high, missing, sha256 } = JSON.parse(text) as Record<keyof Survey, unknown>;
    if (typeof low !== 'number' || typeof high !== 'number' || typeof sha256 !== 'string') return undefined;
    if (!Array.isArray(missing) || !missing.every(Number.isInteger)) return undefined;
    return /^[0-9a-f]{64}$/.test(sha256) ? { low, high, missing, sha256 } : undefined;
  } catch {
    return undefined;
  }
}

/** A directory that cannot be written costs another pass next time, nothing else. */
async function keep(path: string, found: Survey, directory: string): Promise<void> {
  const temporary = join(directory, `.survey-${process.pid}-${randomBytes(8).toString('hex')}`);
  await mkdir(directory, { recursive: true })
    .then(() => writeFile(temporary, JSON.stringify(found)))
    .then(() => rename(temporary, path))
    .catch(() => {});
}
