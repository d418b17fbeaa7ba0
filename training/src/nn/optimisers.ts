import { abs, add, div, max, mul, pow, sqrt, square, sub } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';

export const OPTIMISER_KINDS = ['adam', 'adamw', 'adamax', 'sgd'] as const;

export interface OptimiserOptions {
  readonly kind: (typeof OPTIMISER_KINDS)[number];
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly momentum: number;
  readonly weight_decay: number;
}

/** A parameter and the running sums that an optimiser keeps for it, all of one shape. */
export interface OptimiserState {
  readonly parameter: Tensor;
  readonly sums: readonly Tensor[];
}

/**
 * From a state and the gradient of its parameter to the next state.
 * @param decays whether the optimiser's weight decay applies, as it does to matrices and kernels
 */
export type Update = (state: OptimiserState, gradient: Tensor, decays: boolean) => OptimiserState;

export interface Optimiser {
  /** Names of the sums, which start at 0. */
  readonly sums: readonly string[];
  /**
   * @param learningRate float32 scalar
   * @param step number of this update, from 1: float32 scalar
   */
  at(learningRate: Tensor, step: Tensor): Update;
}

export function createOptimiser(options: OptimiserOptions): Optimiser {
  switch (options.kind) {
    case 'adam':
      return adam(options, 0);
    case 'adamw':
      return adam(options, options.weight_decay);
    case 'adamax':
      return adamax(options);
    case 'sgd':
      return sgd(options);
  }
}

/**
 * Adam with bias correction (Kingma & Ba, 2015, algorithm 1), and AdamW where the weights decay (Loshchilov & Hutter,
 * 2019, algorithm 2). The moments are kept without their factors (1 − beta), which join the scalars below: two passes
 * fewer over every weight.
 */
function adam({ beta1, beta2, epsilon }: OptimiserOptions, weightDecay: number): Optimiser {
  return {
    // Σ beta1^(t−i) g_i and Σ beta2^(t−i) g_i²: the moments of the paper divided by (1 − beta).
    sums: ['gradient_sum', 'square_sum'],
    at(learningRate, step) {
      // parameter −= rate · m̂ / (sqrt(v̂) + epsilon), with m̂ = firstScale · gradientSum and v̂ = secondScale² · squareSum.
      const firstScale = div(1 - beta1, sub(1, pow(beta1, step)));
      const secondScale = sqrt(div(1 - beta2, sub(1, pow(beta2, step))));
      const rate = div(mul(learningRate, firstScale), secondScale);
      const offset = div(epsilon, secondScale);
      return ({ parameter, sums: [gradientSum, squareSum] }, gradient, decays) => {
        const nextGradientSum = add(mul(gradientSum, beta1), gradient);
        const nextSquareSum = add(mul(squareSum, beta2), square(gradient));
        const change = mul(div(nextGradientSum, add(sqrt(nextSquareSum), offset)), rate);
        const kept = decays && weightDecay !== 0 ? mul(parameter, sub(1, mul(learningRate, weightDecay))) : parameter;
        return { parameter: sub(kept, change), sums: [nextGradientSum, nextSquareSum] };
      };
    },
  };
}

/** Adamax: Adam with the infinity norm in place of the second moment (Kingma & Ba, 2015, algorithm 2). */
function adamax({ beta1, beta2, epsilon }: OptimiserOptions): Optimiser {
  return {
    sums: ['gradient_sum', 'largest'],
    at(learningRate, step) {
      const rate = mul(learningRate, div(1 - beta1, sub(1, pow(beta1, step))));
      return ({ parameter, sums: [gradientSum, largest] }, gradient) => {
        const nextGradientSum = add(mul(gradientSum, beta1), gradient);
        const nextLargest = max(mul(largest, beta2), abs(gradient));
        const change = mul(div(nextGradientSum, add(nextLargest, epsilon)), rate);
        return { parameter: sub(parameter, change), sums: [nextGradientSum, nextLargest] };
      };
    },
  };
}

/** Stochastic gradient descent with momentum and L2 decay, as Sutskever et al. (2013) and torch.optim.SGD have it. */
function sgd({ momentum, weight_decay: weightDecay }: OptimiserOptions): Optimiser {
  return {
    sums: momentum === 0 ? [] : ['velocity'],
    at: (learningRate) => {
      return ({ parameter, sums: [velocity] }, gradient, decays) => {
        const slope = decays && weightDecay !== 0 ? add(gradient, mul(parameter, weightDecay)) : gradient;
        if (velocity === undefined) return { parameter: sub(parameter, mul(slope, learningRate)), sums: [] };
        const nextVelocity = add(mul(velocity, momentum), slope);
        return { parameter: sub(parameter, mul(nextVelocity, learningRate)), sums: [nextVelocity] };
      };
    },
  };
}

/**
 * A moving average of the weights (Polyak & Juditsky, 1992), which follows them closely at first: the decay rises as
 * (1 + t) / (10 + t) to its limit.
 * @param step number of this update, from 1: float32 scalar
 * @returns a function from the average and the next weights to the next average
 */
export function movingAverage(decay: number, step: Tensor): (average: Tensor, parameter: Tensor) => Tensor {
  const rising = div(add(step, 1), add(step, 10));
  const share = max(sub(1, rising), 1 - decay);
  return (average, parameter) => add(average, mul(sub(parameter, average), share));
}
