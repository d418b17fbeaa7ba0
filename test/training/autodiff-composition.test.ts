import { gradients } from '@elbo/training/autodiff/gradients';
import { GraphError } from '@elbo/training/onnx/errors';
import { Graph } from '@elbo/training/onnx/graph';
import * as ops from '@elbo/training/onnx/ops';
import { float32, type Tensor, type TensorData } from '@elbo/training/onnx/tensor';
import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { evaluate, expectClose, graphOf, numbersOf, randomWeights, weightedSum } from './support/harness.js';
import { drawInputs, operatorsWithoutGradient } from './support/operator-cases.js';
import { tfjsGradients } from './support/tfjs.js';

const SMOOTH = {
  add: [ops.add, tf.add],
  sub: [ops.sub, tf.sub],
  mul: [ops.mul, tf.mul],
  tanh: [(a: Tensor, _: Tensor) => ops.tanh(a), (a: tf.Tensor, _: tf.Tensor) => tf.tanh(a)],
  sigmoid: [(a: Tensor, _: Tensor) => ops.sigmoid(a), (a: tf.Tensor, _: tf.Tensor) => tf.sigmoid(a)],
  softplus: [(a: Tensor, _: Tensor) => ops.softplus(a), (a: tf.Tensor, _: tf.Tensor) => tf.softplus(a)],
} as const;

const step = fc.record({
  operator: fc.constantFrom(...(Object.keys(SMOOTH) as (keyof typeof SMOOTH)[])),
  a: fc.nat(),
  b: fc.nat(),
});

describe('gradients of composed functions', () => {
  test('random expressions that use values several times', async () => {
    const shape = [2, 3];
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), fc.nat(1_000_000), async (steps, seed) => {
        const inputs = drawInputs(
          [0, 1, 2].map(() => ({ shape, domain: { low: -1, high: 1 } })),
          seed,
        );
        const weights = randomWeights(shape, seed);
        // All values are summed in the end, so that the loss depends on every input.
        const compose = <T>(x: readonly T[], side: 0 | 1, add: (a: T, b: T) => T): T => {
          const values = [...x];
          for (const { operator, a, b } of steps) {
            const f = SMOOTH[operator][side] as unknown as (a: T, b: T) => T;
            values.push(f(values[a % values.length] as T, values[b % values.length] as T));
          }
          return values.reduce(add);
        };
        const actual = await evaluate(inputs, (...x) => gradients(weightedSum(compose(x, 0, ops.add), weights), x));
        const expected = tfjsGradients((...x) => compose(x, 1, (a, b) => tf.add(a, b)), inputs, weights);
        for (const [i, gradient] of expected.gradients.entries()) {
          expectClose(numbersOf(actual[i] as TensorData), gradient, 1e-4, `gradient of input ${i}`);
        }
      }),
      { numRuns: 100 },
    );
  });

  test('contributions of every use of a tensor add up', async () => {
    // d (x·x + x·y + x) / dx = 2x + y + 1
    const [gradient] = await evaluate([float32([3, -2], [2]), float32([5, 7], [2])], (x, y) =>
      gradients(ops.reduceSum(ops.add(ops.add(ops.mul(x, x), ops.mul(x, y)), x)), [x]),
    );
    expect(numbersOf(gradient as TensorData)).toEqual([12, 4]);
  });

  test('a parameter may be an intermediate tensor, beside the inputs it comes from', async () => {
    // h = x², loss = h³: dloss/dh = 3h², dloss/dx = 6x⁵
    const [ofH, ofX] = await evaluate([float32([2], [1])], (x) => {
      const h = ops.mul(x, x);
      return gradients(ops.reduceSum(ops.mul(h, ops.mul(h, h))), [h, x]);
    });
    expect([ofH, ofX].flatMap((g) => numbersOf(g as TensorData))).toEqual([48, 192]);
  });

  test('a parameter may be an initialiser, and may be named twice', async () => {
    const [first, second] = await evaluate([float32([2, 3], [2])], (x) => {
      const w = x.graph.initialiser('w', float32([5, 7], [2]));
      return gradients(ops.reduceSum(ops.mul(w, x)), [w, w]);
    });
    expect([numbersOf(first as TensorData), numbersOf(second as TensorData)]).toEqual([
      [2, 3],
      [2, 3],
    ]);
  });

  test('the gradient of the loss by itself is 1', async () => {
    const [gradient] = await evaluate([float32([2, 3], [2])], (x) => {
      const loss = ops.reduceSum(x);
      return gradients(loss, [loss]);
    });
    expect(gradient).toEqual(float32([1], []));
  });

  test('a second differentiation gives second derivatives', async () => {
    // d²(x³)/dx² = 6x
    const [second] = await evaluate([float32([2, -1], [2])], (x) => {
      const [first] = gradients(ops.reduceSum(ops.mul(x, ops.mul(x, x))), [x]);
      return gradients(ops.reduceSum(first as Tensor), [x]);
    });
    expect(numbersOf(second as TensorData)).toEqual([12, -6]);
  });

  test('where several elements are extreme, they share the gradient', async () => {
    const [ofMax, ofMin] = await evaluate([float32([1, 4, 4, 1, 4], [5])], (x) => [
      ...gradients(ops.reduceMax(x), [x]),
      ...gradients(ops.reduceMin(x), [x]),
    ]);
    expectClose(numbersOf(ofMax as TensorData), [0, 1 / 3, 1 / 3, 0, 1 / 3], 1e-6, 'ReduceMax');
    expectClose(numbersOf(ofMin as TensorData), [0.5, 0, 0, 0.5, 0], 1e-6, 'ReduceMin');
  });

  test('where both operands are equal, Max and Min give the gradient to the first alone', async () => {
    const results = await evaluate([float32([2], [1]), float32([2], [1])], (a, b) => [
      ...gradients(ops.reduceSum(ops.max(a, b)), [a, b]),
      ...gradients(ops.reduceSum(ops.min(a, b)), [a, b]),
    ]);
    expect(results.flatMap(numbersOf)).toEqual([1, 0, 1, 0]);
  });

  test('Relu has no gradient at 0; Clip has one at its bounds', async () => {
    const results = await evaluate([float32([-1, 0, 1], [3])], (x) => [
      ...gradients(ops.reduceSum(ops.relu(x)), [x]),
      ...gradients(ops.reduceSum(ops.clip(x, -1, 0)), [x]),
    ]);
    expect(results.map(numbersOf)).toEqual([
      [0, 0, 1],
      [1, 1, 0],
    ]);
  });

  test.each<[string, (x: Tensor) => Tensor, number[]]>([
    ['Softplus', ops.softplus, [0, 1]],
    ['Sigmoid', ops.sigmoid, [0, 0]],
    ['Tanh', ops.tanh, [0, 0]],
    ['Erf', ops.erf, [0, 0]],
    ['ReduceLogSumExp', ops.reduceLogSumExp, [0, 1]],
    ['logSumExp', (x) => ops.logSumExp(x, [0]), [0, 1]],
    ['Pow', (x) => ops.pow(ops.sub(x, x), 2), [0, 0]],
    ['Elu', ops.elu, [0, 1]],
    ['Softmax', (x) => ops.square(ops.softmax(x)), [0, 0]],
    ['LogSoftmax', (x) => ops.slice(ops.logSoftmax(x), 0, 0, 1), [1, -1]],
    ['gelu', ops.gelu, [0, 1]],
    ['geluTanh', ops.geluTanh, [0, 1]],
    ['silu', ops.silu, [0, 1]],
  ])('%s stays finite at -200 and 200', async (_name, f, expected) => {
    const [value, gradient] = await evaluate([float32([-200, 200], [2])], (x) => {
      const loss = ops.reduceSum(f(x));
      return [loss, ...gradients(loss, [x])];
    });
    expect(Number.isFinite(numbersOf(value as TensorData)[0])).toBe(true);
    expectClose(numbersOf(gradient as TensorData), expected, 1e-6, 'gradient');
  });

  test('no node is added for what the parameters do not need', () => {
    const graph = new Graph('test');
    const x = graph.input('x', 'float32', [2, 3]);
    const w = graph.input('w', 'float32', [3, 4]);
    const loss = ops.reduceSum(ops.matmul(ops.exp(x), w));
    const before = graph.nodes.length;
    gradients(loss, [w]);
    const added = graph.nodes.slice(before).map(({ operator }) => operator);
    expect(added.toSorted()).toEqual(['Expand', 'Identity', 'MatMul', 'Transpose', 'Unsqueeze']);
  });
});

describe('a gradient that cannot be is refused', () => {
  test('the loss does not depend on the parameter', () => {
    graphOf([[2], [2]], (x, unrelated) => {
      expect(() => gradients(ops.reduceSum(ops.exp(x)), [x, unrelated])).toThrow(
        new GraphError('the loss does not depend on x1'),
      );
      return [];
    });
  });

  test.each([
    ['a vector', (x: Tensor) => ops.exp(x), 'the loss must be a float32 scalar; it is float32 [2]'],
    ['one element, but not a scalar', (x: Tensor) => ops.reduceSum(x, [0], true), 'it is float32 [1]'],
    ['integers', (x: Tensor) => ops.apply('Size', [x]), 'the loss must be a float32 scalar; it is int64 []'],
  ])('the loss is %s', (_name, lossOf, message) => {
    graphOf([[2]], (x) => {
      expect(() => gradients(lossOf(x), [x])).toThrow(message);
      return [];
    });
  });

  /** ONNX's If, which has no rule: x, or its negative where the sum of x is not positive. */
  const chosen = (x: Tensor) =>
    ops.ifElse(
      ops.greater(ops.reduceSum(x), 0),
      [x],
      ([inside]) => [ops.exp(inside as Tensor)],
      ([inside]) => [ops.neg(inside as Tensor)],
    )[0] as Tensor;

  test('an operator in between has no rule', () => {
    graphOf([[4]], (x) => {
      expect(() => gradients(ops.reduceSum(chosen(x)), [x])).toThrow('If: has no gradient rule');
      return [];
    });
  });

  test('an operator without a rule beside the path does not matter', async () => {
    const [gradient] = await evaluate([float32([-5, -6], [2]), float32([1, 2], [2])], (data, w) =>
      gradients(ops.reduceSum(ops.mul(chosen(data), w)), [w]),
    );
    expect(numbersOf(gradient as TensorData)).toEqual([5, 6]);
  });

  const constantFunctions: Record<string, (x: Tensor) => Tensor> = {
    Greater: (x) => ops.cast(ops.greater(x, 0), 'float32'),
    GreaterOrEqual: (x) => ops.cast(ops.greaterOrEqual(x, 0), 'float32'),
    Less: (x) => ops.cast(ops.less(x, 0), 'float32'),
    LessOrEqual: (x) => ops.cast(ops.lessOrEqual(x, 0), 'float32'),
    Equal: (x) => ops.cast(ops.equal(x, 0), 'float32'),
    Sign: ops.sign,
    Floor: ops.floor,
    Ceil: ops.ceil,
    Round: ops.round,
    IsNaN: (x) => ops.cast(ops.isNan(x), 'float32'),
    IsInf: (x) => ops.cast(ops.isInfinite(x), 'float32'),
    Not: (x) => ops.cast(ops.not(ops.greater(x, 0)), 'float32'),
    And: (x) => ops.cast(ops.and(ops.greater(x, 0), ops.less(x, 3)), 'float32'),
    Or: (x) => ops.cast(ops.or(ops.greater(x, 0), ops.less(x, -3)), 'float32'),
    ArgMax: (x) => ops.cast(ops.argMax(x, 0), 'float32'),
    OneHot: (x) => ops.reduceSum(ops.oneHot(ops.cast(x, 'int64'), 5), [1]),
    Cast: (x) => ops.cast(ops.cast(x, 'int32'), 'float32'),
    Shape: (x) => ops.cast(ops.shapeOf(x), 'float32'),
    Size: (x) => ops.cast(ops.apply('Size', [x]), 'float32'),
  };

  test.each(Object.keys(operatorsWithoutGradient))('no gradient flows through %s', async (operator) => {
    const f = constantFunctions[operator] as (x: Tensor) => Tensor;
    graphOf([[3]], (x) => {
      expect(() => gradients(ops.reduceSum(f(x)), [x])).toThrow('the loss does not depend on x0');
      expect(x.graph.nodes.map((node) => node.operator)).toContain(operator);
      return [];
    });
    const [gradient] = await evaluate([float32([2, -3, 4], [3])], (x) =>
      gradients(ops.reduceSum(ops.add(ops.mul(x, 5), ops.reduceSum(f(x)))), [x]),
    );
    expect(numbersOf(gradient as TensorData)).toEqual([5, 5, 5]);
  });
});
