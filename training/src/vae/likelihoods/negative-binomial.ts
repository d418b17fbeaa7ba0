import { startingAt, zeros } from '../../nn/initialisers.js';
import { parameter, type Weights } from '../../nn/parameters.js';
import { standardisation } from '../../nn/standardisation.js';
import { add, clip, exp, log, logGamma, logSoftmax, max, mul, neg, reduceSum, softmax, sub } from '../../onnx/ops.js';
import type { Tensor } from '../../onnx/tensor.js';
import { dataSize, type LikelihoodFamily } from './likelihood.js';

/**
 * Bounds of log θ. Above, a negative binomial of fewer than a hundred counts is a Poisson distribution within a few
 * percent, and log Γ(x + θ) − log Γ(θ) would lose digits in float32; below, next to all counts are 0.
 */
const LOG_DISPERSION_LIMITS = [-8, 5] as const;

/** Keeps 0 · log 0 a 0. */
const SMALLEST_COUNT = 1e-30;

/** Keeps the logarithm of the mean count of a gene that no example has finite. */
const SMALLEST_MEAN = 1e-4;

/**
 * Counts as scVI models them (Lopez et al., 2018): a negative binomial of mean ℓ ρ and dispersion θ in each dimension. ρ,
 * decoded, are proportions that sum to 1; ℓ is the sum of the example's counts, so that how much was counted need not go
 * through z; θ is learned for each dimension, and the variance is μ + μ² / θ. The encoder sees log(1 + x), standardised.
 * The mean without an example is that of an example with the training data's median sum. Nats are right within 1e-6 of
 * log Γ(x): 0.1 for a count of 10,000.
 */
export const negativeBinomial: LikelihoodFamily = {
  images: 'none',
  tables: 'counts',
  create(data) {
    const { shape, moments } = data;
    const size = dataSize(data);
    const logs = moments?.counts;
    const scaling = standardisation('input', size, logs && { mean: logs.logMean, variance: logs.logVariance });
    const total = parameter('decoder.total', [], startingAt([logs?.medianTotal ?? 1]), { trainable: false });
    const logDispersion = parameter('decoder.log_dispersion', [size], zeros);
    const dispersion = (weights: Weights) => {
      const bounded = clip(weights(logDispersion), ...LOG_DISPERSION_LIMITS);
      return { logTheta: bounded, theta: exp(bounded) };
    };
    /** log μ: [N, D]; an example without counts is taken to have one. */
    const logMean = (x: Tensor, logits: Tensor) => add(logSoftmax(logits), log(max(reduceSum(x, [1], true), 1)));
    return {
      kind: 'negative-binomial',
      parameters: [...scaling.parameters, total, logDispersion],
      presentedShape: shape,
      decodedShape: shape,
      ...(moments && { outputBias: moments.mean.map((mean) => Math.log(Math.max(mean, SMALLEST_MEAN))) }),
      present: (x, weights) => scaling.apply(log(add(x, 1)), weights),
      negativeLogLikelihood(x, logits, weights) {
        const { logTheta, theta } = dispersion(weights);
        const logMu = logMean(x, logits);
        const both = add(x, theta);
        const coefficient = sub(sub(logGamma(both), logGamma(theta)), logGamma(add(x, 1)));
        const logDensity = add(
          coefficient,
          sub(add(mul(theta, logTheta), mul(x, logMu)), mul(both, log(add(theta, exp(logMu))))),
        );
        return neg(reduceSum(logDensity, [1]));
      },
      mean: (logits, weights) => mul(softmax(logits), weights(total)),
      // log p(x | μ = x) − log p(x | μ): half the unit deviance of the negative binomial.
      deviance(x, logits, weights) {
        const { theta } = dispersion(weights);
        const logMu = logMean(x, logits);
        const ofCounts = mul(x, sub(log(max(x, SMALLEST_COUNT)), logMu));
        const both = add(x, theta);
        const deviance = sub(ofCounts, mul(both, sub(log(both), log(add(theta, exp(logMu))))));
        // Rounding may leave −1e-6 where both agree.
        return clip(deviance, 0, Number.MAX_SAFE_INTEGER);
      },
    };
  },
};
