import type { ImageInput } from '@elbo/models';
import { RandomSource } from '@elbo/models';
import { DataError } from './data-error.js';

/** The generative factors of synthetic examples, which disentanglement is measured against. */
export interface Factors {
  readonly names: readonly string[];
  /** Number of values of each factor. */
  readonly cardinalities: readonly number[];
  /** [count, names.length], row-major; each value is an index below its factor's cardinality. */
  readonly values: Uint8Array;
}

export interface Examples {
  readonly count: number;
  /** [count, channels, height, width], row-major. */
  readonly values: Uint8Array;
  readonly labels?: Uint8Array;
  readonly factors?: Factors;
}

export interface Dataset {
  readonly name: string;
  readonly input: ImageInput;
  readonly train: Examples;
  readonly test: Examples;
  /** SHA-256 of the bytes of `train.values`, lower-case hexadecimal. */
  readonly sha256: string;
}

// Far from the streams that training draws from, so that one seed can serve both.
const SPLIT_STREAM = 16;

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
    train: select(examples, order.subarray(size).sort()),
    validation: select(examples, order.subarray(0, size).sort()),
  };
}

/** The first `limit` examples, or all where there are fewer. */
export function take(examples: Examples, limit: number): Examples {
  return limit >= examples.count ? examples : slice(examples, 0, limit);
}

/** Copies the examples from `start` up to, not including, `end`. */
export function slice(examples: Examples, start: number, end: number): Examples {
  return select(
    examples,
    Int32Array.from({ length: end - start }, (_, i) => start + i),
  );
}

/** Mean of every pixel over the examples, as a number in [0, 1] (byte / 255); [channels, height, width]. */
export function meanPerPixel(examples: Examples): Float64Array {
  const { count, values } = examples;
  const size = values.length / count;
  const mean = new Float64Array(size);
  for (let start = 0; start < values.length; start += size) {
    for (let i = 0; i < size; i++) mean[i] = (mean[i] as number) + (values[start + i] as number);
  }
  return mean.map((sum) => sum / (255 * count));
}

/** Copies the examples at `indices`, in that order. */
function select({ count, values, labels, factors }: Examples, indices: Int32Array): Examples {
  const rows = (source: Uint8Array): Uint8Array => {
    const size = source.length / count;
    const target = new Uint8Array(indices.length * size);
    indices.forEach((index, row) => {
      target.set(source.subarray(index * size, (index + 1) * size), row * size);
    });
    return target;
  };
  return {
    count: indices.length,
    values: rows(values),
    ...(labels && { labels: rows(labels) }),
    ...(factors && { factors: { ...factors, values: rows(factors.values) } }),
  };
}
