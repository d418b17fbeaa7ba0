import { add, div, mul, pow, sqrt, square, sub } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';

export interface AdamOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

/** A parameter and Adam's two running sums for it, all of one shape. */
export interface AdamState {
  readonly parameter: Tensor;
  /** Σ beta1^(t−i) g_i: the first moment of the paper divided by (1 − beta1). */
  readonly gradientSum: Tensor;
  /** Σ beta2^(t−i) g_i²: the second moment of the paper divided by (1 − beta2). */
  readonly squareSum: Tensor;
}

/**
 * Adam with bias correction (Kingma & Ba, 2015, algorithm 1). The moments are kept without their factors (1 − beta),
 * which join the scalars below: two passes fewer over every weight.
 * @param step the number of this step, from 1: float32 scalar
 * @returns a function from a state and its gradient to the next state
 */
export function adam(
  learningRate: Tensor,
  step: Tensor,
  { beta1, beta2, epsilon }: AdamOptions,
): (state: AdamState, gradient: Tensor) => AdamState {
  // parameter −= rate · m̂ / (sqrt(v̂) + epsilon), with m̂ = firstScale · gradientSum and v̂ = secondScale² · squareSum.
  const firstScale = div(1 - beta1, sub(1, pow(beta1, step)));
  const secondScale = sqrt(div(1 - beta2, sub(1, pow(beta2, step))));
  const rate = div(mul(learningRate, firstScale), secondScale);
  const offset = div(epsilon, secondScale);
  return ({ parameter, gradientSum, squareSum }, gradient) => {
    const nextGradientSum = add(mul(gradientSum, beta1), gradient);
    const nextSquareSum = add(mul(squareSum, beta2), square(gradient));
    const change = mul(div(nextGradientSum, add(sqrt(nextSquareSum), offset)), rate);
    return { parameter: sub(parameter, change), gradientSum: nextGradientSum, squareSum: nextSquareSum };
  };
}
