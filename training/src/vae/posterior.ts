import { add, exp, mul, neg, reduceSum, square, sub } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';

export const LOG_TWO_PI = Math.log(2 * Math.PI);

/** q(z | x): a diagonal normal. Both [N, Z]. */
export interface Posterior {
  readonly mean: Tensor;
  readonly logVariance: Tensor;
}

/** z = mean + exp(log variance / 2) · noise: a sample that gradients pass through (Kingma & Welling, 2014, eq. 4). */
export function reparameterise({ mean, logVariance }: Posterior, noise: Tensor): Tensor {
  return add(mean, mul(exp(mul(logVariance, 0.5)), noise));
}

/** log N(z; mean, exp(log variance)) of each element, in nats; all broadcast. */
export function logNormalDensity(z: Tensor, { mean, logVariance }: Posterior): Tensor {
  const squares = mul(square(sub(z, mean)), exp(neg(logVariance)));
  return mul(add(add(squares, logVariance), LOG_TWO_PI), -0.5);
}

/** log q(z | x): [N, Z] → [N]. */
export function logPosteriorDensity(z: Tensor, posterior: Posterior): Tensor {
  return reduceSum(logNormalDensity(z, posterior), [1]);
}
