import { firstUnexpected, type InputDescription, numbersOf } from '@elbo/models';
import { DataError } from '../data/data-error.js';
import type { Examples } from '../data/dataset.js';
import { loadRows, readFor } from '../data/datasets.js';
import { isImageName, readImageFiles } from '../data/image-folder.js';
import { type DataProgress, RowStore } from '../data/row-store.js';
import { type InputFeeds, inputBatches } from '../evaluation/batches.js';

export interface SourceOptions {
  readonly input: InputDescription;
  /** Of a conditional model. */
  readonly classes?: number | undefined;
  /** The class of all rows that come without one. */
  readonly label?: number | undefined;
  readonly cacheDir?: string | undefined;
  readonly onProgress?: DataProgress | undefined;
}

/** Consecutive rows of a file, as a model takes them. */
export interface SourceBatch {
  /** Of each row: its file. */
  readonly sources: readonly string[];
  /** Of each row: its number in the file, from 0. */
  readonly rows: Int32Array;
  readonly feeds: InputFeeds;
  /** Of each row of a conditional model: its class. */
  readonly labels?: Uint8Array;
}

/** Image files that are given one by one are read so many at a time. */
const IMAGES_AT_ONCE = 256;

/**
 * The rows of files and folders in the order given, brought to what a model takes; at most one file's rows are held, and
 * those beyond 128 MiB lie in the cache directory.
 * @throws {DataError} where a file cannot be read, or has not what the model takes: the row, the column and what was expected
 */
export async function* sourceBatches(files: readonly string[], options: SourceOptions): AsyncGenerator<SourceBatch> {
  const { input, classes, label, cacheDir, onProgress } = options;
  const form = readFor(input);
  const store = new RowStore({ cacheDir });
  for (const group of grouped(files)) {
    const [first] = group;
    if (isImageName(first)) {
      if (form.image === undefined) {
        throw new DataError(`${first}: an image; expected rows of ${input.shape[0]} numbers`);
      }
      const { paths, ...rows } = await readImageFiles(group, form.image, store);
      yield* batchesOf({ ...rows, ...labelsFor(rows, classes, label) }, (row) => [paths[row], 0]);
      continue;
    }
    const { parts, paths } = await loadRows(first, { ...form, cacheDir, onProgress });
    let before = 0;
    for (const part of parts) {
      const start = before;
      yield* batchesOf({ ...part, ...labelsFor(part, classes, label) }, (row) =>
        paths === undefined ? [first, start + row] : [`${first}/${paths[row]}`, 0],
      );
      before += part.count;
    }
  }

  async function* batchesOf(
    examples: Examples,
    placeOf: (row: number) => readonly [source: string, row: number],
  ): AsyncGenerator<SourceBatch> {
    const [source] = placeOf(0);
    if (examples.shape.join() !== input.shape.join()) {
      throw new DataError(
        `${source}: an example is of shape [${examples.shape.join(', ')}]; expected [${input.shape.join(', ')}], as the model takes`,
      );
    }
    for await (const { start, end, feeds } of inputBatches(examples, { classes })) {
      const places = Array.from({ length: end - start }, (_, i) => placeOf(start + i));
      checkNumbers(feeds.x.data as Float32Array, input, places);
      yield {
        sources: places.map(([name]) => name),
        rows: Int32Array.from(places, ([, row]) => row),
        feeds,
        ...(classes !== undefined && examples.labels && { labels: examples.labels.slice(start, end) }),
      };
      onProgress?.(end, examples.count, source);
    }
  }
}

/** Image files that stand together, and every other file or folder alone. */
function grouped(files: readonly string[]): [string, ...string[]][] {
  const groups: [string, ...string[]][] = [];
  for (const file of files) {
    const last = groups.at(-1);
    if (last !== undefined && isImageName(file) && isImageName(last[0]) && last.length < IMAGES_AT_ONCE)
      last.push(file);
    else groups.push([file]);
  }
  return groups;
}

function labelsFor(
  { count, labels }: Pick<Examples, 'count' | 'labels'>,
  classes: number | undefined,
  label: number | undefined,
): Pick<Examples, 'labels'> {
  if (classes === undefined) {
    if (label !== undefined) throw new DataError('--label is given; expected none, since the model is not conditional');
    return {};
  }
  if (label === undefined) {
    if (labels === undefined) {
      throw new DataError(`the rows have no classes; expected --label N, one of the model's ${classes} classes from 0`);
    }
    return { labels };
  }
  return { labels: new Uint8Array(count).fill(label) };
}

function checkNumbers(
  values: Float32Array,
  input: InputDescription,
  places: readonly (readonly [source: string, row: number])[],
): void {
  const bad = firstUnexpected(values, numbersOf(input));
  if (bad === undefined) return;
  const [source, row] = places[bad.item];
  const column = input.kind === 'vector' ? input.columns?.[bad.place]?.name : undefined;
  throw new DataError(
    `${source}: row ${row}, ${column === undefined ? `number ${bad.place} (from 0)` : `column ${JSON.stringify(column)}`} is ${bad.value}; expected ${bad.expected}`,
  );
}
