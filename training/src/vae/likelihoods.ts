import { zeros } from '../nn/initialisers.js';
import { type Parameter, parameter, type Weights } from '../nn/parameters.js';
import { add, clip, exp, identity, log, mul, neg, reduceSum, sigmoid, softplus, square, sub } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';

/** p(x | z): what the decoder's output means. All per-example values are sums over the data dimensions, in nats. */
export interface Likelihood {
  readonly kind: string;
  /** Its own, besides the decoder's. */
  readonly parameters: readonly Parameter[];
  /** −log p(x | z) for each example: [N, D], [N, D] → [N]. */
  negativeLogLikelihood(x: Tensor, decoded: Tensor, weights: Weights): Tensor;
  /** The expected value of x: [N, D] → [N, D]. */
  mean(decoded: Tensor): Tensor;
  /** Non-negative contribution of each data dimension to the misfit, zero for a perfect reconstruction: → [N, D]. */
  deviance(x: Tensor, decoded: Tensor, weights: Weights): Tensor;
  /** The decoder's output bias that makes its first output the mean of the training data. */
  outputBias(dataMean: Float64Array): Float64Array;
}

/** Means nearer to 0 or 1 than this would start with logits beyond ±7, from which gradients return slowly. */
const MEAN_MARGIN = 1e-3;

/** Keeps x · log x finite; a float32 sigmoid cannot come nearer to 1 than about this. */
const LOG_MARGIN = 1e-7;

/** Independent Bernoulli pixels, decoded as logits l. */
const bernoulli: Likelihood = {
  kind: 'bernoulli',
  parameters: [],
  // −log p = softplus(l) − x·l, which is exact for logits of any size.
  negativeLogLikelihood: (x, logits) => reduceSum(sub(softplus(logits), mul(x, logits)), [1]),
  mean: sigmoid,
  // KL(Bernoulli(x) ‖ Bernoulli(sigmoid(l))): the negative log-likelihood less the entropy of a grey pixel.
  deviance: (x, logits) => {
    const p = clip(x, LOG_MARGIN, 1 - LOG_MARGIN);
    const q = sub(1, p);
    const negativeEntropy = add(mul(p, log(p)), mul(q, log(q)));
    // Rounding may leave −1e-7 where both agree.
    return clip(add(sub(softplus(logits), mul(p, logits)), negativeEntropy), 0, Number.MAX_SAFE_INTEGER);
  },
  outputBias: (dataMean) =>
    dataMean.map((mean) => {
      const p = Math.min(Math.max(mean, MEAN_MARGIN), 1 - MEAN_MARGIN);
      return Math.log(p / (1 - p));
    }),
};

/** Bounds of log σ: beyond them a float32 density overflows before it says more. */
const LOG_SCALE_LIMIT = 10;
const HALF_LOG_TWO_PI = 0.5 * Math.log(2 * Math.PI);

/** Independent normals around the decoder's output, with one standard deviation that is learned (Rybkin et al., 2021). */
function gaussian(): Likelihood {
  const logScale = parameter('decoder.log_scale', [], zeros);
  const boundedLogScale = (weights: Weights) => clip(weights(logScale), -LOG_SCALE_LIMIT, LOG_SCALE_LIMIT);
  const deviance = (x: Tensor, decoded: Tensor, weights: Weights) =>
    mul(square(mul(sub(x, decoded), exp(neg(boundedLogScale(weights))))), 0.5);
  return {
    kind: 'gaussian',
    parameters: [logScale],
    negativeLogLikelihood: (x, decoded, weights) =>
      reduceSum(add(deviance(x, decoded, weights), add(boundedLogScale(weights), HALF_LOG_TWO_PI)), [1]),
    mean: identity,
    deviance,
    outputBias: (dataMean) => dataMean,
  };
}

export const LIKELIHOODS = { bernoulli, gaussian: gaussian() } as const;
export type LikelihoodName = keyof typeof LIKELIHOODS;
