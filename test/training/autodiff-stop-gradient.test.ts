import { gradients } from '@elbo/training/autodiff/gradients';
import { add, mul, reduceSum, square, stopGradient } from '@elbo/training/onnx/ops';
import { float32 } from '@elbo/training/onnx/tensor';
import { expect, test } from 'vitest';
import { evaluate, graphOf, numbersOf } from './support/harness.js';

test('a value under stopGradient counts as constant', async () => {
  const x = float32([1, -2, 3], [3]);
  // d Σ x² · stop(x²) / dx = 2x · x², not 4x³.
  const [value, gradient] = await evaluate([x], (input) => {
    const squared = square(input);
    const loss = reduceSum(mul(squared, stopGradient(squared)));
    return [loss, ...gradients(loss, [input])];
  });
  expect(numbersOf(value)).toEqual([98]);
  expect(numbersOf(gradient)).toEqual([2, -16, 54]);
});

test('only the stopped use is constant; the same value still carries gradients elsewhere', async () => {
  const x = float32([3], [1]);
  const [gradient] = await evaluate([x], (input) => {
    const doubled = mul(input, 2);
    return gradients(reduceSum(add(mul(doubled, stopGradient(doubled)), doubled)), [input]);
  });
  expect(numbersOf(gradient)).toEqual([2 * 6 + 2]);
});

test('a loss that depends on a parameter through stopGradient alone is refused', () => {
  expect(() => graphOf([[2]], (x) => gradients(reduceSum(stopGradient(x)), [x]))).toThrow(
    'the loss does not depend on x0',
  );
});
