import { gradients } from '@elbo/training/autodiff/gradients';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { encodeModel } from '@elbo/training/onnx/encode';
import * as ops from '@elbo/training/onnx/ops';
import { float32, type Tensor, type TensorData } from '@elbo/training/onnx/tensor';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { tfNormalised } from './support/cases/normalisation.js';
import { expectGradientsOfTfjs } from './support/gradient-checks.js';
import { evaluate, expectClose, graphOf, numbersOf, withGraph } from './support/harness.js';
import { drawInputs, NOT_ZERO, REAL } from './support/operator-case.js';

/** log Γ(x) for x > 0 in double precision, by the recurrence to 30 and Stirling's series there. */
function logGamma(x: number): number {
  if (x < 30) return logGamma(x + 1) - Math.log(x);
  const series = 1 / (12 * x) - 1 / (360 * x ** 3) + 1 / (1260 * x ** 5);
  return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + series;
}

function digamma(x: number): number {
  if (x < 30) return digamma(x + 1) - 1 / x;
  return Math.log(x) - 1 / (2 * x) - 1 / (12 * x ** 2) + 1 / (120 * x ** 4) - 1 / (252 * x ** 6);
}

function trigamma(x: number): number {
  if (x < 30) return trigamma(x + 1) + 1 / x ** 2;
  return 1 / x + 1 / (2 * x ** 2) + 1 / (6 * x ** 3) - 1 / (30 * x ** 5) + 1 / (42 * x ** 7);
}

describe('log Γ and digamma for every positive float32', () => {
  // From 1e-6 to 1e6, closely around the zeros at 1, 1.46 and 2, and around the step at 4.
  const points = [
    ...Array.from({ length: 241 }, (_, i) => 10 ** (-6 + i / 20)),
    ...[1, 1.4616321, 2, 3, 4, 5].flatMap((x) => [-1e-1, -1e-3, -1e-6, 0, 1e-6, 1e-3, 1e-1].map((d) => x + d)),
  ].map(Math.fround);
  const x = float32(points, [points.length]);

  test.each<[string, (x: Tensor) => Tensor, (x: number) => number, (x: number) => number]>([
    ['logGamma', ops.logGamma, logGamma, digamma],
    ['digamma', ops.digamma, digamma, trigamma],
  ])('%s and its gradient', async (_name, f, expected, derivative) => {
    const [value, gradient] = await evaluate([x], (input) => {
      const y = f(input as Tensor);
      return [y, ...gradients(ops.reduceSum(y), [input as Tensor])];
    });
    expectClose(numbersOf(value), points.map(expected), 2e-6, 'value');
    expectClose(numbersOf(gradient), points.map(derivative), 1e-5, 'gradient');
  });

  test('of whole numbers log Γ is that of a factorial', async () => {
    const [value] = await evaluate([float32([1, 2, 3, 4, 5, 6, 7], [7])], (input) => [ops.logGamma(input as Tensor)]);
    expectClose(numbersOf(value), [1, 1, 2, 6, 24, 120, 720].map(Math.log), 1e-6, 'log (n - 1)!');
  });
});

describe('activations agree with their definitions by tfjs', () => {
  test.each<[string, (x: Tensor) => Tensor, (x: tf.Tensor) => tf.Tensor]>([
    ['gelu', ops.gelu, (x) => tf.mul(x, tf.mul(0.5, tf.add(1, tf.erf(tf.div(x, Math.SQRT2)))))],
    [
      'geluTanh',
      ops.geluTanh,
      (x) => {
        const inner = tf.mul(Math.sqrt(2 / Math.PI), tf.add(x, tf.mul(0.044715, tf.pow(x, 3))));
        return tf.mul(tf.mul(0.5, x), tf.add(1, tf.tanh(inner)));
      },
    ],
    ['silu', ops.silu, (x) => tf.mul(x, tf.sigmoid(x))],
  ])('%s', async (_name, elbo, tfjs) => {
    await expectGradientsOfTfjs(drawInputs([{ shape: [4, 5], domain: NOT_ZERO }], 3), elbo, tfjs, 4);
  });
});

test('logSumExp agrees with tfjs, over some axes and all', async () => {
  const inputs = drawInputs([{ shape: [4, 5, 3], domain: REAL }], 6);
  for (const axes of [[1], [0, 2], [0, 1, 2]]) {
    await expectGradientsOfTfjs(
      inputs,
      (x) => ops.logSumExp(x, axes),
      (x) => tf.logSumExp(x, axes),
      7,
    );
  }
});

test('logSumExp takes no exponential that a float32 cannot hold, and one of 1', async () => {
  const [exponents, value] = await evaluate([float32([-2000, -2001, 3000, 2999], [2, 2])], (input) => {
    const x = input as Tensor;
    const y = ops.logSumExp(x, [1]);
    const [summed] = x.graph.nodes.filter(({ operator }) => operator === 'ReduceLogSumExp');
    return [summed?.inputs[0] as Tensor, y];
  });
  expect(numbersOf(exponents)).toEqual([0, -1, 0, -1]);
  const expected = Math.log(1 + Math.exp(-1));
  expectClose(numbersOf(value), [-2000 + expected, 3000 + expected], 1e-6, 'value');
});

describe('normalisation by compositions agrees with its definition by tfjs', () => {
  const shapes = [[3, 4, 2, 3], [4], [4]];
  const inputs = drawInputs(
    shapes.map((shape) => ({ shape, domain: REAL })),
    8,
  );
  const affine = (normal: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor) =>
    tf.add(tf.mul(normal, tf.reshape(scale, [4, 1, 1])), tf.reshape(bias, [4, 1, 1]));

  test.each([1, 2, 4])('groupNorm of %s groups', async (groups) => {
    await expectGradientsOfTfjs(
      inputs,
      (x, scale, bias) => ops.groupNorm(x, groups, scale, bias, { epsilon: 1e-3 }),
      (x, scale, bias) => {
        const { normal } = tfNormalised(tf.reshape(x, [3, groups, -1]), [2]);
        return affine(tf.reshape(normal, [3, 4, 2, 3]), scale, bias);
      },
      9,
    );
  });

  test('groupNorm of a batch of any length', async () => {
    const build = (x?: Tensor, scale?: Tensor, bias?: Tensor) => {
      const y = ops.groupNorm(x as Tensor, 2, scale as Tensor, bias as Tensor);
      return [y, ...gradients(ops.reduceSum(ops.square(ops.tanh(y))), [x as Tensor, scale as Tensor])];
    };
    const expected = await evaluate(inputs, build);
    await withGraph(graphOf([['N', 4, 2, 3], [4], [4]], build), async (run) => {
      for (const [i, value] of (await run(...inputs)).entries()) {
        expectClose(numbersOf(value), numbersOf(expected[i] as TensorData), 1e-5, `output ${i}`);
      }
    });
  });

  test('batchNorm', async () => {
    await expectGradientsOfTfjs(
      inputs,
      (x, scale, bias) => ops.batchNorm(x, scale, bias, { epsilon: 1e-3 }).output,
      (x, scale, bias) => affine(tfNormalised(x, [0, 2, 3]).normal, scale, bias),
      10,
    );
  });

  test('batchNorm of rows, and of its own statistics batchNormInference', async () => {
    const rows = drawInputs(
      [[5, 3], [3], [3]].map((shape) => ({ shape, domain: REAL })),
      11,
    );
    const [trained, served] = await evaluate(rows, (x, scale, bias) => {
      const { output, mean, variance } = ops.batchNorm(x, scale, bias);
      return [output, ops.batchNormInference(x, scale, bias, mean, variance)];
    });
    expectClose(numbersOf(served), numbersOf(trained), 1e-5, 'output');
  });
});

test('the product of elements has a gradient where elements are zero', async () => {
  const x = float32([2, 3, 4, 2, 0, 4, 0, 3, 0], [3, 3]);
  const [gradient] = await evaluate([x], (input) => gradients(ops.reduceSum(ops.reduceProd(input, [1])), [input]));
  expect(numbersOf(gradient)).toEqual([12, 8, 6, 0, 8, 0, 0, 0, 0]);
});

test('the norm of zeros has the gradient 0', async () => {
  const [gradient] = await evaluate([float32([0, 0, 3, 4], [2, 2])], (input) =>
    gradients(ops.reduceSum(ops.reduceL2(input, [1])), [input]),
  );
  expectClose(numbersOf(gradient), [0, 0, 0.6, 0.8], 1e-6, 'gradient');
});

test('gradients of an embedding add up over indices that repeat, on several threads', async () => {
  const [rows, width] = [3, 64];
  const indices = Array.from({ length: 5000 }, (_, i) => (i % 7 === 0 ? -1 : i % 2));
  const counts = [0, 1, 2].map((row) => indices.filter((index) => (index + rows) % rows === row).length);
  const table = float32(new Float32Array(rows * width), [rows, width]);
  const graph = graphOf([[rows, width]], (x) => {
    const vector = { dtype: 'int64' as const, shape: [5000], data: BigInt64Array.from(indices, BigInt) };
    return gradients(ops.reduceSum(ops.gather(x as Tensor, (x as Tensor).graph.constant(vector))), [x as Tensor]);
  });
  const program = await new OnnxRuntimeEngine(2).load(encodeModel(graph));
  const { y0 } = await program.run({ x0: table });
  await program.release();
  expect(numbersOf(y0 as TensorData)).toEqual(counts.flatMap((count) => new Array<number>(width).fill(count)));
});
