import { add, clip, log, mul, reduceSum, sigmoid, softplus, sub } from '../../onnx/ops.js';
import type { LikelihoodFamily } from './likelihood.js';

/** Means nearer to 0 or 1 than this would start with logits beyond ±7, from which gradients return slowly. */
const MEAN_MARGIN = 1e-3;

/** Keeps x · log x finite; a float32 sigmoid cannot come nearer to 1 than about this. */
const LOG_MARGIN = 1e-7;

/** Independent Bernoulli pixels, decoded as logits l. */
export const bernoulli: LikelihoodFamily = {
  images: 'any',
  tables: 'none',
  create: ({ shape, moments }) => ({
    kind: 'bernoulli',
    parameters: [],
    presentedShape: shape,
    decodedShape: shape,
    ...(moments && {
      outputBias: moments.mean.map((mean) => {
        const p = Math.min(Math.max(mean, MEAN_MARGIN), 1 - MEAN_MARGIN);
        return Math.log(p / (1 - p));
      }),
    }),
    present: (x) => x,
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
  }),
};
