import { add, exp, mul, neg, reduceSum, square, sub } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';

const LOG_TWO_PI = Math.log(2 * Math.PI);

/** q(z | x): a diagonal normal. Both [N, Z]. */
export interface Posterior {
  readonly mean: Tensor;
  readonly logVariance: Tensor;
}

/** p(z). */
export interface Prior {
  readonly kind: string;
  /** KL(q(z_i | x) ‖ p(z_i)) of each latent dimension, in nats: → [N, Z]. */
  divergence(posterior: Posterior): Tensor;
  /** log p(z): [N, Z] → [N]. */
  logDensity(z: Tensor): Tensor;
}

/** N(0, I), with the divergence in closed form (Kingma & Welling, 2014, appendix B). */
export const standardNormal: Prior = {
  kind: 'standard-normal',
  divergence: ({ mean, logVariance }) => mul(sub(add(square(mean), exp(logVariance)), add(logVariance, 1)), 0.5),
  logDensity: (z) => mul(reduceSum(add(square(z), LOG_TWO_PI), [1]), -0.5),
};

export const PRIORS = { 'standard-normal': standardNormal } as const;
export type PriorName = keyof typeof PRIORS;

/** z = mean + exp(log variance / 2) · noise: a sample that gradients pass through (Kingma & Welling, 2014, eq. 4). */
export function reparameterise({ mean, logVariance }: Posterior, noise: Tensor): Tensor {
  return add(mean, mul(exp(mul(logVariance, 0.5)), noise));
}

/** log N(z; mean, exp(log variance)) of each element, in nats; all broadcast. */
export function logNormalDensity(z: Tensor, { mean, logVariance }: Posterior): Tensor {
  const squares = mul(square(sub(z, mean)), exp(neg(logVariance)));
  return mul(add(add(squares, logVariance), LOG_TWO_PI), -0.5);
}

/** log q(z | x) at z = mean + exp(log variance / 2) · noise: → [N]. */
export function logPosteriorDensity({ logVariance }: Posterior, noise: Tensor): Tensor {
  return mul(reduceSum(add(add(square(noise), logVariance), LOG_TWO_PI), [1]), -0.5);
}
