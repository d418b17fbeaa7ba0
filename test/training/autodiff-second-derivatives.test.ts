import { gradients } from '@elbo/training/autodiff/gradients';
import * as ops from '@elbo/training/onnx/ops';
import type { Tensor, TensorData } from '@elbo/training/onnx/tensor';
import { describe, expect, test } from 'vitest';
import { expectClose, graphOf, numbersOf, randomWeights, withGraph } from './support/harness.js';
import { drawInputs, type OperatorCase, operatorCases } from './support/operator-cases.js';

const STEP = 2 ** -5;
const TOLERANCE = 2e-3;

// Rules are made of operators that have rules, so gradients can be differentiated again.
/** Their gradient depends on their inputs. */
const CURVED = new Set([
  ...['Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'LayerNormalization', 'Softmax', 'LogSoftmax', 'ReduceLogSumExp'],
  ...[
    'Exp',
    'Log',
    'Sqrt',
    'Tanh',
    'Sigmoid',
    'Softplus',
    'Erf',
    'Reciprocal',
    'Sin',
    'Cos',
    'Elu',
    'Pow',
    'Div',
    'Mul',
  ],
  ...['ReduceProd', 'ReduceL2', 'ReduceSumSquare'],
]);
/** Their gradient moves what it gets. */
const MOVING = new Set([
  ...['MaxPool', 'AveragePool', 'GlobalAveragePool', 'Resize', 'Gather', 'GatherElements', 'ScatterElements', 'TopK'],
  ...['Split', 'Slice', 'Pad', 'Tile', 'CumSum', 'Concat', 'Transpose', 'Expand', 'Max', 'Min', 'Where', 'LeakyRelu'],
]);

describe('second derivatives agree with finite differences of the first', () => {
  // A loss that is not linear makes every operator's gradient depend on its inputs.
  const cases = operatorCases.filter(({ operator }) => CURVED.has(operator) || MOVING.has(operator));
  test.each(cases.map((c) => [c.operator, c.name, c] as const))('%s: %s', async (_operator, _name, operatorCase) => {
    const inputs = drawInputs(operatorCase.inputs, 31);
    const directions = inputs.map(({ shape }, i) => randomWeights(shape, 32 + i));
    const graph = graphOf(
      inputs.map(({ shape }) => shape),
      (...x) => {
        const slope = slopeOf(operatorCase, x, directions);
        return [slope, ...gradients(slope, x)];
      },
    );
    await withGraph(graph, async (run) => {
      const [, ...second] = await run(...inputs);
      // The derivative of the slope along the directions, by one difference of all inputs at once.
      const slopeAt = async (t: number) => {
        const moved = inputs.map((input, i) => along(input, directions[i] as TensorData, t));
        return numbersOf((await run(...moved))[0] as TensorData)[0] as number;
      };
      const [near, far] = [
        (await slopeAt(STEP)) - (await slopeAt(-STEP)),
        (await slopeAt(2 * STEP)) - (await slopeAt(-2 * STEP)),
      ];
      const expected = (16 * (8 * near - far)) / (12 * STEP);
      const actual = second.reduce((sum, gradient, i) => sum + dot(gradient, directions[i] as TensorData), 0);
      // Relative to the terms of the sum: they may cancel.
      const scale = second.reduce((sum, gradient, i) => sum + dotOfSizes(gradient, directions[i] as TensorData), 1);
      expect(Math.abs(actual - expected) / scale).toBeLessThan(TOLERANCE);
      expect(scale).toBeGreaterThan(1 + 1e-6);
    });
  });
});

/** Σ direction · ∂loss / ∂input: the slope of Σ y tanh(y) along the directions. */
function slopeOf({ elbo }: OperatorCase, x: readonly Tensor[], directions: readonly TensorData[]): Tensor {
  const y = elbo(...x);
  const loss = ops.reduceSum(ops.mul(y, ops.tanh(y)));
  return gradients(loss, x)
    .map((gradient, i) => ops.reduceSum(ops.mul(gradient, gradient.graph.constant(directions[i] as TensorData))))
    .reduce(ops.add);
}

function along(input: TensorData, direction: TensorData, t: number): TensorData {
  const moved = numbersOf(input).map((value, i) => value + (t / 16) * Number(direction.data[i]));
  return { ...input, data: Float32Array.from(moved) };
}

const dot = (a: TensorData, b: TensorData) =>
  numbersOf(a).reduce((sum, value, i) => sum + value * Number(b.data[i]), 0);
const dotOfSizes = (a: TensorData, b: TensorData) =>
  numbersOf(a).reduce((sum, value, i) => sum + Math.abs(value * Number(b.data[i])), 0);

test('a gradient of a gradient through a convolution equals its closed form', async () => {
  // loss = Σ (w ⋆ x)², so d loss / dw = 2 Σ (w x) x and d² loss / dw² = 2 Σ x² for a kernel of one element.
  const x = drawInputs([{ shape: [2, 1, 3], domain: { low: -1, high: 1 } }], 5)[0] as TensorData;
  const graph = graphOf(
    [
      [2, 1, 3],
      [1, 1, 1],
    ],
    (input, w) => {
      const [first] = gradients(ops.reduceSum(ops.square(ops.conv(input as Tensor, w as Tensor))), [w as Tensor]);
      return gradients(ops.reduceSum(first as Tensor), [w as Tensor]);
    },
  );
  const [second] = await withGraph(graph, (run) =>
    run(x, { dtype: 'float32', shape: [1, 1, 1], data: Float32Array.of(0.7) }),
  );
  expectClose(
    numbersOf(second as TensorData),
    [2 * numbersOf(x).reduce((sum, v) => sum + v * v, 0)],
    1e-5,
    'd²loss/dw²',
  );
});
