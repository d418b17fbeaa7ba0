import { zeros } from '../nn/initialisers.js';
import { type Parameter, parameter, type Weights } from '../nn/parameters.js';
import { add, div, exp, gemm, log, logSumExp, mul, neg, reduceSum, reshape, square, sub } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';
import { LOG_TWO_PI, type Posterior } from './posterior.js';
import { divergenceToStandardNormal, type Prior } from './priors.js';

// Mixtures of normals as priors, by matrix products over all components at once.

/** K normals with diagonal covariances: the weights' logarithms [K], means and log variances [K, Z]. */
export interface Components extends Posterior {
  readonly logWeight: Tensor;
}

export interface MixturePrior extends Prior {
  componentsOf(weights: Weights): Components;
}

/**
 * Σ_k w_k N(z; mean_k, diag variance_k), with the components that `componentsOf` gives. The divergence is the bound
 * −H(q) − log Σ w_k exp E_q[log p_k] (Hershey & Olsen, 2007, section 7, for a single q).
 */
export function mixturePrior(
  parameters: readonly Parameter[],
  componentsOf: (weights: Weights) => Components,
): MixturePrior {
  return {
    parameters,
    componentsOf,
    isExact: false,
    logDensity: (z, weights) => {
      const components = componentsOf(weights);
      return logSumExp(add(logDensities(z, components), components.logWeight), [1]);
    },
    divergence: (posterior, weights) => {
      const components = componentsOf(weights);
      const spread = gemm(exp(posterior.logVariance), exp(neg(components.logVariance)), undefined, {
        transB: true,
        alpha: -0.5,
      });
      // E_q[log N(z; mean_k, variance_k)]
      const expected = add(logDensities(posterior.mean, components), spread);
      const entropy = mul(reduceSum(add(posterior.logVariance, LOG_TWO_PI + 1), [1]), 0.5);
      return neg(add(entropy, logSumExp(add(expected, components.logWeight), [1])));
    },
    divergencePerDimension: (posterior, weights) => divergenceToMoments(posterior, componentsOf(weights)),
  };
}

/** log N(z; mean_k, diag variance_k) of every component: [N, Z] → [N, K]. */
export function logDensities(z: Tensor, { mean, logVariance }: Components): Tensor {
  const precision = exp(neg(logVariance));
  // (z − m)² / v = z² / v − 2 z m / v + m² / v: two products instead of N · K · Z differences.
  const constant = reduceSum(add(add(mul(square(mean), precision), logVariance), LOG_TWO_PI), [1]);
  const squares = gemm(square(z), precision, mul(constant, -0.5), { transB: true, alpha: -0.5 });
  return gemm(z, mul(mean, precision), squares, { transB: true });
}

/** KL(q_i ‖ N(M_i, V_i)) with the mean and variance of the mixture's i-th marginal: → [N, Z]. */
function divergenceToMoments(posterior: Posterior, { logWeight, mean, logVariance }: Components): Tensor {
  const weight = reshape(exp(logWeight), [logWeight.shape[0], 1]);
  const centre = reduceSum(mul(mean, weight), [0], true);
  const spread = sub(reduceSum(mul(add(square(mean), exp(logVariance)), weight), [0], true), square(centre));
  return divergenceToStandardNormal({
    mean: div(sub(posterior.mean, centre), exp(mul(log(spread), 0.5))),
    logVariance: sub(posterior.logVariance, log(spread)),
  });
}

/** Names of a trained mixture's tensors, in checkpoints and in exported graphs. */
export const MIXTURE = {
  logWeight: 'prior.log_weight',
  mean: 'prior.mean',
  logVariance: 'prior.log_variance',
} as const;

const fixed = { trainable: false } as const;

/** A mixture whose K components were computed from a trained model: log weights [K], means and log variances [K, Z]. */
export function fixedMixture(count: number, size: number): MixturePrior {
  const logWeight = parameter(MIXTURE.logWeight, [count], zeros, fixed);
  const mean = parameter(MIXTURE.mean, [count, size], zeros, fixed);
  const logVariance = parameter(MIXTURE.logVariance, [count, size], zeros, fixed);
  return mixturePrior([logWeight, mean, logVariance], (weights) => ({
    logWeight: weights(logWeight),
    mean: weights(mean),
    logVariance: weights(logVariance),
  }));
}
