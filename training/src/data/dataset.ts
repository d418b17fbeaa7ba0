import type { ImageInput, VectorInput } from '@elbo/models';
import { RandomSource } from '@elbo/models';
import { DataError } from './data-error.js';
import { openExamples } from './example-reader.js';
import type { FileStamp } from './source-file.js';

/** The generative factors of synthetic examples, which disentanglement is measured against. */
export interface Factors {
  readonly names: readonly string[];
  /** Number of values of each factor. */
  readonly cardinalities: readonly number[];
  /** [count, names.length], row-major; each value is an index below its factor's cardinality. */
  readonly values: Uint8Array;
}

/** Where rows lie, as plain data that a worker thread can reopen. */
export type Storage =
  | {
      readonly kind: 'memory';
      /** Over a SharedArrayBuffer, so that threads share it. */
      readonly values: Uint8Array | Float32Array;
    }
  | {
      readonly kind: 'file';
      readonly path: string;
      /** Bytes before the first row. */
      readonly offset: number;
      /** What the file was like when its rows were checked; one that has changed since is refused. */
      readonly stamp?: FileStamp;
    };

export type ExampleDtype = 'uint8' | 'float32';

/** Rows of one type and shape, in memory or in a flat little-endian row-major file. */
export interface Examples {
  readonly count: number;
  /** Of one example: [channels, height, width] or [features]. */
  readonly shape: readonly number[];
  readonly dtype: ExampleDtype;
  readonly storage: Storage;
  /** Row numbers in the storage, where these examples are some of its rows; undefined: all, in order. */
  readonly rows?: Int32Array;
  /** Class of each example, [count]. */
  readonly labels?: Uint8Array;
  readonly factors?: Factors;
}

export interface Dataset {
  readonly name: string;
  readonly input: ImageInput | VectorInput;
  readonly train: Examples;
  readonly test: Examples;
  /** SHA-256 of the training values in their order, row-major little-endian, lower-case hexadecimal. */
  readonly sha256: string;
  /** Of each class, where they are called otherwise than by their numbers. */
  readonly classNames?: readonly string[];
  /** In a line: what was read, and how the test part came about. */
  readonly description?: string;
  /** Of generated data: draws the example of each row of factors, [count, factors] → [count, …shape]. */
  readonly draw?: (factors: Uint8Array) => Promise<Uint8Array>;
}

// Far from the streams that training draws from, so that one seed can serve both.
const SPLIT_STREAM = 16;

/** Bytes that a pass over examples holds at a time. */
const PASS_BYTES = 4 << 20;

/** Numbers in one example. */
export function exampleSize({ shape }: Pick<Examples, 'shape'>): number {
  return shape.reduce((product, dimension) => product * dimension, 1);
}

/**
 * Classes of examples: one more than the largest that occurs.
 * @throws {DataError} where the examples have no classes
 */
export function classCount({ labels }: Pick<Examples, 'labels'>): number {
  if (labels === undefined) throw new DataError('the examples have no classes; expected the class of each');
  return 1 + labels.reduce((largest, label) => Math.max(largest, label), 0);
}

/** The name of each class, or its number where it has none; undefined where no examples have classes. */
export function classNamesOf({ train, test, classNames = [] }: Dataset): string[] | undefined {
  const counts = [train, test].flatMap((part) => (part.labels === undefined ? [] : [classCount(part)]));
  if (counts.length === 0) return undefined;
  return Array.from({ length: Math.max(...counts) }, (_, i) => classNames[i] ?? String(i));
}

/** Bytes of one number. */
export function bytesPerValue(dtype: ExampleDtype): number {
  return dtype === 'uint8' ? 1 : 4;
}

/**
 * Examples that lie in memory.
 * @param values count × shape, row-major; copied into shared memory if they are not there yet
 * @param shape of one example: [channels, height, width] or [features]
 * @throws {DataError} where the values are not a whole number of examples, or labels or factors are of another number
 */
export function inMemory(
  values: Uint8Array | Float32Array,
  shape: readonly number[],
  extras: Pick<Examples, 'labels' | 'factors'> = {},
): Examples {
  const count = values.length / exampleSize({ shape });
  if (!Number.isInteger(count)) {
    throw new DataError(`${values.length} values; expected a multiple of ${exampleSize({ shape })}, an example's size`);
  }
  const { labels, factors } = extras;
  if (labels !== undefined && labels.length !== count) {
    throw new DataError(`${labels.length} labels; expected ${count}, one for each example`);
  }
  if (factors !== undefined && factors.values.length !== count * factors.names.length) {
    throw new DataError(`${factors.values.length} factor values; expected ${count} x ${factors.names.length}`);
  }
  return {
    count,
    shape: [...shape],
    dtype: values instanceof Float32Array ? 'float32' : 'uint8',
    storage: { kind: 'memory', values: shared(values) },
    ...(labels && { labels }),
    ...(factors && { factors }),
  };
}

/** New values over a SharedArrayBuffer, all zero. */
export function sharedValues(dtype: ExampleDtype, length: number): Uint8Array | Float32Array {
  const buffer = new SharedArrayBuffer(length * bytesPerValue(dtype));
  return dtype === 'uint8' ? new Uint8Array(buffer) : new Float32Array(buffer);
}

function shared(values: Uint8Array | Float32Array): Uint8Array | Float32Array {
  if (values.buffer instanceof SharedArrayBuffer) return values;
  const copy = sharedValues(values instanceof Float32Array ? 'float32' : 'uint8', values.length);
  copy.set(values);
  return copy;
}

/** The examples at `indices`, in that order: a view of the same storage. */
export function subset(examples: Examples, indices: ArrayLike<number>): Examples {
  const { rows, labels, factors } = examples;
  return {
    ...examples,
    count: indices.length,
    rows: Int32Array.from(indices, (index) => rows?.[index] ?? index),
    ...pickedExtras(labels, factors, indices),
  };
}

/** The first `limit` examples, or all where there are fewer. */
export function take(examples: Examples, limit: number): Examples {
  return limit >= examples.count ? examples : slice(examples, 0, limit);
}

/** `limit` examples at even distances, so that an order by class leaves none out, or all where there are fewer. */
export function spread(examples: Examples, limit: number): Examples {
  const { count } = examples;
  if (limit >= count) return examples;
  return subset(
    examples,
    Int32Array.from({ length: limit }, (_, i) => Math.floor((i * count) / limit)),
  );
}

/** The examples from `start` up to, not including, `end`: a view of the same storage. */
export function slice(examples: Examples, start: number, end: number): Examples {
  const { rows, labels, factors, storage } = examples;
  if (rows !== undefined) {
    return subset(
      examples,
      Int32Array.from({ length: end - start }, (_, i) => start + i),
    );
  }
  const size = exampleSize(examples);
  return {
    ...examples,
    count: end - start,
    storage:
      storage.kind === 'memory'
        ? { ...storage, values: storage.values.subarray(start * size, end * size) }
        : { ...storage, offset: storage.offset + start * size * bytesPerValue(examples.dtype) },
    ...(labels && { labels: labels.slice(start, end) }),
    ...(factors && {
      factors: { ...factors, values: factors.values.slice(start * factors.names.length, end * factors.names.length) },
    }),
  };
}

/**
 * Splits examples at random into two disjoint parts, each in the original order.
 * @param fraction share of the examples that becomes the validation part, rounded to a whole number of examples
 * @param seed an integer from 0 to 2^32 - 1; the same seed gives the same split
 * @throws {DataError} where either part would be empty
 */
export function splitValidation(
  examples: Examples,
  fraction: number,
  seed: number,
): { train: Examples; validation: Examples } {
  const { count } = examples;
  const size = Math.round(fraction * count);
  if (!(size >= 1 && size < count)) {
    throw new DataError(
      `validation fraction is ${fraction} of ${count} examples; expected a number that leaves at least one example for training and one for validation`,
    );
  }
  const order = new RandomSource(seed, SPLIT_STREAM).permutation(count);
  return {
    train: subset(examples, order.subarray(size).sort()),
    validation: subset(examples, order.subarray(0, size).sort()),
  };
}

/** Of small data, the held-out examples that a calibration wants, as long as half of all are left for training. */
const WANTED_HELD_OUT = 40;

/**
 * The split of a model that is to be calibrated: `splitValidation` by the fraction, or by more where that is fewer than 40 of
 * the examples.
 * @throws {DataError} where either part would be empty
 */
export function splitHeldOut(
  examples: Examples,
  { validation_fraction: fraction, seed }: { readonly validation_fraction: number; readonly seed: number },
): { train: Examples; validation: Examples } {
  return splitValidation(examples, Math.max(fraction, Math.min(0.5, WANTED_HELD_OUT / examples.count)), seed);
}

/** Examples as a pass over them meets them: consecutive, few enough to hold. */
export interface Chunk {
  /** Number of the first one. */
  readonly start: number;
  readonly end: number;
  /** (end − start) × shape, row-major. */
  readonly values: Uint8Array | Float32Array;
}

/** All examples in order, a few MiB at a time. */
export async function* chunksOf(examples: Examples): AsyncGenerator<Chunk> {
  const size = exampleSize(examples);
  const rows = Math.max(1, Math.floor(PASS_BYTES / (size * bytesPerValue(examples.dtype))));
  const reader = await openExamples(examples);
  try {
    for (let start = 0; start < examples.count; start += rows) {
      const end = Math.min(start + rows, examples.count);
      yield { start, end, values: await reader.range(start, end) };
    }
  } finally {
    await reader.close();
  }
}

/**
 * Mean and population variance of every feature over the examples, [features] or [channels, height, width], in one
 * pass. Bytes count as byte / 255.
 */
export async function meanPerFeature(examples: Examples): Promise<{ mean: Float64Array; variance: Float64Array }> {
  return examples.dtype === 'uint8' ? momentsOfBytes(examples) : momentsOfFloats(examples);
}

/** Sums of bytes and of their squares are whole numbers, which float64 holds exactly. */
async function momentsOfBytes(examples: Examples): Promise<{ mean: Float64Array; variance: Float64Array }> {
  const { count } = examples;
  const size = exampleSize(examples);
  const sum = new Float64Array(size);
  const squares = new Float64Array(size);
  for await (const { values } of chunksOf(examples)) {
    for (let start = 0; start < values.length; start += size) {
      for (let i = 0; i < size; i++) {
        const value = values[start + i];
        sum[i] += value;
        squares[i] += value * value;
      }
    }
  }
  return {
    mean: sum.map((total) => total / (255 * count)),
    variance: squares.map((total, i) => Math.max(0, (total - sum[i] ** 2 / count) / count) / 255 ** 2),
  };
}

/**
 * Welford's update (Knuth, vol. 2, 4.2.2), which does not cancel where the mean is far from zero; over the values that are
 * not missing.
 */
async function momentsOfFloats(examples: Examples): Promise<{ mean: Float64Array; variance: Float64Array }> {
  const size = exampleSize(examples);
  const mean = new Float64Array(size);
  const deviations = new Float64Array(size);
  const seen = new Float64Array(size);
  for await (const { values } of chunksOf(examples)) {
    for (let start = 0; start < values.length; start += size) {
      for (let i = 0; i < size; i++) {
        const value = values[start + i];
        if (Number.isNaN(value)) continue;
        seen[i]++;
        const deviation = value - mean[i];
        mean[i] += deviation / seen[i];
        deviations[i] += deviation * (value - mean[i]);
      }
    }
  }
  return { mean, variance: deviations.map((total, i) => total / Math.max(1, seen[i])) };
}

function pickedExtras(
  labels: Uint8Array | undefined,
  factors: Factors | undefined,
  indices: ArrayLike<number>,
): Pick<Examples, 'labels' | 'factors'> {
  return {
    ...(labels && { labels: Uint8Array.from(indices, (index) => labels[index]) }),
    ...(factors && { factors: { ...factors, values: pickedRows(factors, indices) } }),
  };
}

function pickedRows({ names, values }: Factors, indices: ArrayLike<number>): Uint8Array {
  const width = names.length;
  const picked = new Uint8Array(indices.length * width);
  for (let i = 0; i < indices.length; i++) {
    picked.set(values.subarray(indices[i] * width, (indices[i] + 1) * width), i * width);
  }
  return picked;
}
