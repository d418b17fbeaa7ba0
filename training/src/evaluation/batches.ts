import { RandomSource } from '@elbo/models';
import { DataError } from '../data/data-error.js';
import { type Examples, exampleSize } from '../data/dataset.js';
import { openExamples } from '../data/example-reader.js';
import type { Program } from '../engines/engine.js';
import { float32, type TensorData } from '../onnx/tensor.js';

/** Rows that one run of a graph takes at most: enough to keep all cores busy, few enough to stay in cache. */
const ROWS_PER_RUN = 500;
/** Numbers that one run takes at most, of one row at least: what a network makes of large images is many times that. */
const VALUES_PER_RUN = 1 << 19;

/** Consecutive examples as a graph takes them. */
export interface InputBatch {
  readonly start: number;
  readonly end: number;
  readonly feeds: InputFeeds;
}

/** What a graph of a model takes of n examples. */
export interface InputFeeds extends Record<string, TensorData> {
  /** [n, …shape], bytes as 0 to 1. With it, for a conditional model: `label`, the classes, [n, classes]. */
  readonly x: TensorData;
}

export interface InputOptions {
  /** Given: each pixel is 1 with probability byte / 255; the same seed gives the same pixels. */
  readonly binarisationSeed?: number | undefined;
  /** Of a conditional model. */
  readonly classes?: number | undefined;
}

export function rowsPerRun(examples: Pick<Examples, 'shape'>): number {
  return Math.max(1, Math.min(ROWS_PER_RUN, Math.floor(VALUES_PER_RUN / exampleSize(examples))));
}

/**
 * All examples in order, one run of a graph at a time.
 * @throws {DataError} where there are to be classes, and an example has none of them
 */
export async function* inputBatches(
  examples: Examples,
  { binarisationSeed, classes }: InputOptions = {},
): AsyncGenerator<InputBatch> {
  const rows = rowsPerRun(examples);
  const random = binarisationSeed === undefined ? undefined : new RandomSource(binarisationSeed);
  const reader = await openExamples(examples);
  try {
    for (let start = 0; start < examples.count; start += rows) {
      const end = Math.min(start + rows, examples.count);
      const values = await reader.range(start, end);
      const x = float32(random === undefined ? unitInterval(values) : binarised(values, random), [
        end - start,
        ...examples.shape,
      ]);
      yield { start, end, feeds: { x, ...labelFeed(examples, start, end, classes) } };
    }
  } finally {
    await reader.close();
  }
}

/** The first examples of one run. */
export async function firstInputs(
  examples: Examples,
  { count = rowsPerRun(examples), classes }: { readonly count?: number; readonly classes?: number | undefined } = {},
): Promise<InputFeeds> {
  const reader = await openExamples(examples);
  try {
    const rows = Math.min(count, examples.count);
    const x = float32(unitInterval(await reader.range(0, rows)), [rows, ...examples.shape]);
    return { x, ...labelFeed(examples, 0, rows, classes) };
  } finally {
    await reader.close();
  }
}

/** Classes of some consecutive examples, 1 at the number of each: [end − start, classes]. */
function labelFeed(
  { labels }: Pick<Examples, 'labels'>,
  start: number,
  end: number,
  classes: number | undefined,
): Record<string, TensorData> {
  if (classes === undefined) return {};
  const rows = Array.from({ length: end - start }, (_, i) => labels?.[start + i]);
  return { label: oneHotRows(rows, classes) };
}

/**
 * @throws {DataError} where a label is missing or not below `classes`
 */
export function oneHotRows(labels: readonly (number | undefined)[], classes: number): TensorData {
  const values = new Float32Array(labels.length * classes);
  for (const [i, label] of labels.entries()) {
    if (label === undefined || label >= classes) {
      throw new DataError(
        `an example has the class ${label}; expected one from 0 to ${classes - 1}, which the model knows`,
      );
    }
    values[i * classes + label] = 1;
  }
  return float32(values, [labels.length, classes]);
}

/** Bytes as the numbers 0 … 1 that the service feeds its graphs. */
export function unitInterval(values: Uint8Array | Float32Array): Float32Array {
  return values instanceof Float32Array ? values : Float32Array.from(values, (byte) => byte / 255);
}

function binarised(bytes: Uint8Array | Float32Array, random: RandomSource): Float32Array {
  const thresholds = random.fillBinarisationThresholds(new Uint8Array(bytes.length));
  return Float32Array.from(bytes, (byte, i) => (byte > thresholds[i] ? 1 : 0));
}

/**
 * Runs every example through a program that takes `x`, and `label` where the options say how many classes there are.
 * @returns the named float32 outputs, joined along their first axis
 */
export async function runOverExamples<Name extends string>(
  program: Program,
  examples: Examples,
  names: readonly Name[],
  options: InputOptions = {},
): Promise<Record<Name, Float32Array>> {
  const chunks = names.map((): Float32Array[] => []);
  for await (const { feeds } of inputBatches(examples, options)) {
    const outputs = await program.run(feeds, names);
    for (const [i, name] of names.entries()) chunks[i].push(outputs[name].data as Float32Array);
  }
  return Object.fromEntries(names.map((name, i) => [name, joined(chunks[i])])) as Record<Name, Float32Array>;
}

/** All numbers, one chunk after the other. */
export function joined(chunks: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(chunks.reduce((length, chunk) => length + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}
