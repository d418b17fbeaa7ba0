import type { Parameter, Weights } from '../nn/parameters.js';
import { add, concat, exp, mul, reduceSum, split, square, sub } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';
import { LOG_TWO_PI, logPosteriorDensity, type Posterior } from './posterior.js';

/**
 * By their name in a configuration. A gaussian-mixture is fitted to the aggregate posterior after training, which has a
 * standard normal prior.
 */
export const PRIOR_KINDS = ['standard-normal', 'vamp', 'gaussian-mixture'] as const;
export type PriorKind = (typeof PRIOR_KINDS)[number];

/** p(z). */
export interface Prior {
  /** Its own, besides the networks'. */
  readonly parameters: readonly Parameter[];
  /** Whether `divergence` is the KL term itself; where it is a bound only, the ELBO takes the KL term of a sample of z. */
  readonly isExact: boolean;
  /** log p(z): [N, Z] → [N]. */
  logDensity(z: Tensor, weights: Weights): Tensor;
  /** KL(q(z | x) ‖ p(z)) in nats, or an upper bound of it that needs no sample: → [N]. */
  divergence(posterior: Posterior, weights: Weights): Tensor;
  /** KL of each latent dimension by itself to the normal with the mean and variance that the prior has there: → [N, Z]. */
  divergencePerDimension(posterior: Posterior, weights: Weights): Tensor;
}

/** KL(N(mean, variance) ‖ N(0, 1)) of each element (Kingma & Welling, 2014, appendix B). */
export function divergenceToStandardNormal({ mean, logVariance }: Posterior): Tensor {
  return mul(sub(add(square(mean), exp(logVariance)), add(logVariance, 1)), 0.5);
}

/** N(0, I). */
export const standardNormal: Prior = {
  parameters: [],
  isExact: true,
  logDensity: (z) => mul(reduceSum(add(square(z), LOG_TWO_PI), [1]), -0.5),
  divergence: (posterior) => reduceSum(divergenceToStandardNormal(posterior), [1]),
  divergencePerDimension: divergenceToStandardNormal,
};

/** The KL term of each example in nats, estimated by z where the prior has no closed form: → [N]. */
export function klTerm(prior: Prior, posterior: Posterior, z: Tensor, weights: Weights): Tensor {
  if (prior.isExact) return prior.divergence(posterior, weights);
  return sub(logPosteriorDensity(z, posterior), prior.logDensity(z, weights));
}

/** A prior of the first `size` latent dimensions; those of lower stochastic layers, relative to their own, are N(0, I). */
export function priorOfFirst(size: number, latentSize: number, first: Prior): Prior {
  if (size === latentSize) return first;
  const parts = (tensor: Tensor) => split(tensor, 1, [size, latentSize - size]);
  const both = ({ mean, logVariance }: Posterior): [Posterior, Posterior] => {
    const [means, logVariances] = [parts(mean), parts(logVariance)];
    return [
      { mean: means[0], logVariance: logVariances[0] },
      { mean: means[1], logVariance: logVariances[1] },
    ];
  };
  return {
    parameters: first.parameters,
    isExact: first.isExact,
    logDensity(z, weights) {
      const [top, rest] = parts(z);
      return add(first.logDensity(top, weights), standardNormal.logDensity(rest, weights));
    },
    divergence(posterior, weights) {
      const [top, rest] = both(posterior);
      return add(first.divergence(top, weights), standardNormal.divergence(rest, weights));
    },
    divergencePerDimension(posterior, weights) {
      const [top, rest] = both(posterior);
      return concat([first.divergencePerDimension(top, weights), divergenceToStandardNormal(rest)], 1);
    },
  };
}
