import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RandomSource } from '@elbo/models';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { encodeModel } from '@elbo/training/onnx/encode';
import { Graph } from '@elbo/training/onnx/graph';
import { mul, reduceSum } from '@elbo/training/onnx/ops';
import { elementCount, float32, type Shape, type Tensor, type TensorData } from '@elbo/training/onnx/tensor';
import { expect } from 'vitest';

export const engine = new OnnxRuntimeEngine(1);

/** Where the `.onnx` files of all graphs under test are left for training/scripts/check-onnx.py; nowhere unless set. */
const GRAPHS_DIR = process.env.ELBO_TEST_GRAPHS_DIR;

export type Run = (...feeds: TensorData[]) => Promise<TensorData[]>;

/** Makes a graph's inputs, in order, into arguments and its outputs, in order, into results; releases it afterwards. */
export async function withGraph<T>(graph: Graph, use: (run: Run) => Promise<T>): Promise<T> {
  const bytes = encodeModel(graph);
  if (GRAPHS_DIR !== undefined) {
    const name = createHash('sha256').update(bytes).digest('hex').slice(0, 16);
    writeFileSync(join(GRAPHS_DIR, `${name}.onnx`), bytes);
  }
  const program = await engine.load(bytes);
  try {
    return await use(async (...feeds) => {
      const outputs = await program.run(
        Object.fromEntries(graph.inputs.map(({ name }, i) => [name, feeds[i] as TensorData])),
      );
      return graph.outputs.map(({ name }) => outputs[name] as TensorData);
    });
  } finally {
    await program.release();
  }
}

/** A graph with one float32 input for each shape and what `build` makes of them as outputs. */
export function graphOf(shapes: readonly Shape[], build: (...inputs: Tensor[]) => readonly Tensor[]): Graph {
  const graph = new Graph('test');
  const inputs = shapes.map((shape, i) => graph.input(`x${i}`, 'float32', shape));
  for (const [i, output] of build(...inputs).entries()) graph.output(output, `y${i}`);
  return graph;
}

/** Runs `build` once on the given values. */
export function evaluate(
  values: readonly TensorData[],
  build: (...inputs: Tensor[]) => readonly Tensor[],
): Promise<TensorData[]> {
  const graph = new Graph('test');
  const inputs = values.map(({ dtype, shape }, i) => graph.input(`x${i}`, dtype, shape));
  for (const [i, output] of build(...inputs).entries()) graph.output(output, `y${i}`);
  return withGraph(graph, (run) => run(...values));
}

/**
 * A loss to which each element of the tensor contributes with its own weight, so that a wrong gradient of any of them
 * shows. The weights belong to the elements by their row-major position.
 */
export function weightedSum(x: Tensor, weights: TensorData): Tensor {
  const weighted = mul(x, x.graph.constant(weights));
  // Two sums: with one, a gradient of ReduceSum with the wrong sign would cancel itself in the cases of ReduceSum.
  const axes = weighted.shape.map((_, axis) => axis);
  return reduceSum(reduceSum(weighted, axes, true));
}

/** Weights of both signs, away from 0 and from each other, so that no two cancel. */
export function randomWeights(shape: readonly number[], seed: number): TensorData {
  const random = new RandomSource(seed, 1);
  const values = Array.from(
    { length: elementCount(shape) },
    (_, i) => (0.5 + random.uniform()) * (i % 3 === 1 ? -1 : 1),
  );
  return float32(values, shape);
}

export function numbersOf({ data }: TensorData): number[] {
  return Array.from<number | bigint>(data).map(Number);
}

/** Fails where two lists differ by more than `tolerance`, relative to the larger of 1 and the expected value. */
export function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  what: string,
): void {
  expect(actual.length, `${what}: length`).toBe(expected.length);
  const wrong = Array.from(expected).flatMap((value, i) => {
    const difference = Math.abs((actual[i] as number) - value);
    return difference <= tolerance * Math.max(1, Math.abs(value)) ? [] : [`[${i}] is ${actual[i]}, expected ${value}`];
  });
  expect(wrong, what).toEqual([]);
}
