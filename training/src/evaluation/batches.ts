import { RandomSource } from '@elbo/models';
import { DataError } from '../data/data-error.js';
import type { Examples } from '../data/dataset.js';
import { openExamples } from '../data/example-reader.js';
import type { Program } from '../engines/engine.js';
import { float32, type TensorData } from '../onnx/tensor.js';

/** Rows that one run of a graph takes: enough to keep all cores busy, few enough to stay in cache. */
export const ROWS_PER_RUN = 500;

/** Examples as bytes, as data sets hold them. */
export interface ByteExamples {
  readonly count: number;
  /** count × D, row-major. */
  readonly values: Uint8Array;
}

/**
 * All examples in memory at once.
 * @throws {DataError} where they are not bytes
 */
export async function inBytes(examples: Examples): Promise<ByteExamples> {
  const reader = await openExamples(examples);
  try {
    const values = await reader.range(0, examples.count);
    if (!(values instanceof Uint8Array)) throw new DataError('the examples are float32 numbers; expected bytes');
    return { count: examples.count, values };
  } finally {
    await reader.close();
  }
}

/** Half-open ranges of at most `size` that cover `count`. */
export function* ranges(count: number, size: number): Generator<{ start: number; end: number }> {
  for (let start = 0; start < count; start += size) yield { start, end: Math.min(start + size, count) };
}

/** Each example binarised once: a pixel is 1 with probability byte / 255. The same seed gives the same pixels. */
export function binarisedOnce(examples: ByteExamples, seed: number): Float32Array {
  const thresholds = new RandomSource(seed).fillBinarisationThresholds(new Uint8Array(examples.values.length));
  return Float32Array.from(examples.values, (byte, i) => (byte > thresholds[i] ? 1 : 0));
}

/** Bytes as the numbers 0 … 1 that the service feeds its graphs. */
function asUnitInterval(values: Uint8Array): Float32Array {
  return Float32Array.from(values, (byte) => byte / 255);
}

/** A range of examples as graphs take them: [end − start, …inputShape], byte 255 as 1. */
export function inputsOf(
  examples: ByteExamples,
  start: number,
  end: number,
  inputShape: readonly number[],
): TensorData {
  const size = examples.values.length / examples.count;
  return float32(asUnitInterval(examples.values.subarray(start * size, end * size)), [end - start, ...inputShape]);
}

/**
 * Runs every example through a program that takes `x`.
 * @returns the named float32 outputs, joined along their first axis
 */
export async function runOverExamples<Name extends string>(
  program: Program,
  inputShape: readonly number[],
  examples: ByteExamples,
  names: readonly Name[],
): Promise<Record<Name, Float32Array>> {
  const chunks = names.map((): Float32Array[] => []);
  for (const { start, end } of ranges(examples.count, ROWS_PER_RUN)) {
    const outputs = await program.run({ x: inputsOf(examples, start, end, inputShape) });
    for (const [i, name] of names.entries()) chunks[i].push(outputs[name].data as Float32Array);
  }
  return Object.fromEntries(names.map((name, i) => [name, joined(chunks[i])])) as Record<Name, Float32Array>;
}

function joined(chunks: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(chunks.reduce((length, chunk) => length + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}
