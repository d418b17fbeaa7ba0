import { withGradient } from '@elbo/training/autodiff/custom-gradient';
import { gradients } from '@elbo/training/autodiff/gradients';
import { add, exp, gather, mul, neg, reduceSum } from '@elbo/training/onnx/ops';
import { float32, type TensorData } from '@elbo/training/onnx/tensor';
import { describe, expect, test } from 'vitest';
import { evaluate, numbersOf } from './support/harness.js';

const X = float32([1, -2], [2]);
const Y = float32([3, 5], [2]);

describe("a composite's own gradient", () => {
  test('takes the place of the rules of its nodes, of which one has none', async () => {
    const order = { dtype: 'int32', shape: [2], data: Int32Array.of(1, 0) } as const;
    const [byX] = await evaluate([X, Y], (x, y) => {
      const swapped = gather(x, x.graph.constant(order));
      const product = withGradient(mul(swapped, y), [x, y], (g) => [
        () => gather(mul(g, y), x.graph.constant(order)),
        () => mul(g, swapped),
      ]);
      return gradients(reduceSum(mul(product, product)), [x]);
    });
    // Σ (x₁y₀)² + (x₀y₁)²: 2 · x₀ · y₁², 2 · x₁ · y₀²
    expect(numbersOf(byX as TensorData)).toEqual([50, -36]);
  });

  test('adds to what other uses of its inputs contribute, and asks only for gradients that are needed', async () => {
    const [byX] = await evaluate([X, Y], (x, y) => {
      const product = withGradient(mul(x, y), [x, y], (g) => [
        () => mul(g, 100),
        () => {
          throw new Error('nobody needs the gradient by y');
        },
      ]);
      return gradients(reduceSum(add(product, mul(x, 2))), [x]);
    });
    expect(numbersOf(byX as TensorData)).toEqual([102, 102]);
  });

  test('sends nothing to an input that has none', async () => {
    const [byX] = await evaluate([X], (x) => {
      const stopped = withGradient(exp(x), [x], () => [undefined]);
      return gradients(reduceSum(add(mul(stopped, 7), neg(x))), [x]);
    });
    expect(numbersOf(byX as TensorData)).toEqual([-1, -1]);
  });
});
