import { gradients } from '@elbo/training/autodiff/gradients';
import { elementCount, float32, type Tensor, type TensorData } from '@elbo/training/onnx/tensor';
import type * as tf from '@tensorflow/tfjs';
import {
  evaluate,
  expectClose,
  graphOf,
  numbersOf,
  type Run,
  randomWeights,
  weightedSum,
  withGraph,
} from './harness.js';
import { drawInputs, type OperatorCase } from './operator-case.js';
import { tfjsGradients } from './tfjs.js';

// A power of two, so that x ± h and x ± 2h are exact; far from every kink that the cases' domains avoid.
const STEP = 2 ** -5;
// Rounding of the float32 outputs is about 1e-7 / STEP, the truncation of the fourth-order formula STEP^4 · f⁽⁵⁾ / 30.
const DIFFERENCES_TOLERANCE = 5e-4;
const TFJS_TOLERANCE = 1e-5;

/** Values for a case, and weights of its outputs in the loss. */
export interface Sample {
  readonly operatorCase: OperatorCase;
  readonly inputs: readonly TensorData[];
  readonly weights: TensorData;
}

export function sampleOf(operatorCase: OperatorCase, seed: number): Sample {
  const inputs = drawInputs(operatorCase.inputs, seed);
  const shapes = inputs.map(({ shape }) => shape);
  const outputShape = graphOf(shapes, (...x) => [operatorCase.elbo(...x)]).outputs[0]?.shape as readonly number[];
  return { operatorCase, inputs, weights: randomWeights(outputShape, seed + 1) };
}

/** The output and the gradients of Σ weights · output by the rules, on ONNX Runtime. */
export function byRules(sample: Sample): Promise<TensorData[]> {
  return withSampleGraph(sample, (run) => run(...sample.inputs));
}

function withSampleGraph<T>({ operatorCase, inputs, weights }: Sample, use: (run: Run) => Promise<T>): Promise<T> {
  const graph = graphOf(
    inputs.map(({ shape }) => shape),
    (...x) => {
      const output = operatorCase.elbo(...x);
      return [output, ...gradients(weightedSum(output, weights), x)];
    },
  );
  return withGraph(graph, use);
}

/** What gradients should be, how close, and, where the oracle knows it, the output. */
export interface Expected {
  readonly output?: ArrayLike<number>;
  readonly gradients: readonly ArrayLike<number>[];
  readonly tolerance: number;
}

/** Independent ways to gradients. */
export const ORACLES: Readonly<Record<string, (sample: Sample) => Promise<Expected>>> = {
  'finite differences': (sample) =>
    withSampleGraph(sample, async (run) => {
      const gradients: number[][] = [];
      for (const i of sample.inputs.keys())
        gradients.push(await centralDifferences(run, sample.inputs, i, sample.weights));
      return { gradients, tolerance: DIFFERENCES_TOLERANCE };
    }),
  tfjs: async ({ operatorCase, inputs, weights }) => ({
    ...tfjsGradients(operatorCase.tfjs, inputs, weights),
    tolerance: TFJS_TOLERANCE,
  }),
};

/** d Σ weights · outputs / d input, element by element: f'(x) ≈ (8 (f(x+h) − f(x−h)) − (f(x+2h) − f(x−2h))) / 12h. */
async function centralDifferences(
  run: Run,
  inputs: readonly TensorData[],
  index: number,
  weights: TensorData,
): Promise<number[]> {
  const input = inputs[index] as TensorData;
  const values = numbersOf(input);
  const lossAt = async (element: number, offset: number): Promise<number> => {
    const moved = float32(values.with(element, (values[element] as number) + offset), input.shape);
    const [output] = await run(...inputs.with(index, moved));
    // Summed in double precision: only the operator itself rounds.
    return numbersOf(output as TensorData).reduce((sum, y, i) => sum + y * (weights.data[i] as number), 0);
  };
  const derivatives: number[] = [];
  for (let element = 0; element < elementCount(input.shape); element++) {
    const near = (await lossAt(element, STEP)) - (await lossAt(element, -STEP));
    const far = (await lossAt(element, 2 * STEP)) - (await lossAt(element, -2 * STEP));
    derivatives.push((8 * near - far) / (12 * STEP));
  }
  return derivatives;
}

/** Fails where the output or the gradients of Σ weights · output differ from tfjs's by more than 1e-4. */
export async function expectGradientsOfTfjs(
  inputs: readonly TensorData[],
  elbo: (...x: Tensor[]) => Tensor,
  tfjs: (...x: tf.Tensor[]) => tf.Tensor,
  weightSeed: number,
): Promise<void> {
  let weights: TensorData | undefined;
  const [output, ...actual] = await evaluate(inputs, (...x) => {
    const y = elbo(...x);
    weights = randomWeights(y.shape as readonly number[], weightSeed);
    return [y, ...gradients(weightedSum(y, weights), x)];
  });
  const expected = tfjsGradients(tfjs, inputs, weights as TensorData);
  expectClose(numbersOf(output as TensorData), expected.output, 1e-4, 'output');
  for (const [i, gradient] of expected.gradients.entries()) {
    expectClose(numbersOf(actual[i] as TensorData), gradient, 1e-4, `gradient of input ${i}`);
  }
}
