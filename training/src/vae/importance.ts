import { add, logSumExp, mul, neg, reduceMean, reduceSum, reshape, softmax, stopGradient, sub } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';
import { logPosteriorDensity, type Posterior } from './posterior.js';

/** What the importance-weighted bound is computed from; k samples of z for each of N examples. */
export interface ImportanceInputs {
  /** Repeated for every sample: both [N · k, Z], the samples of an example beside each other. */
  readonly posterior: Posterior;
  /** Of the posterior: [N · k, Z]. */
  readonly z: Tensor;
  readonly examples: number;
  readonly samples: number;
  /** log p(x | z) of each sample: [N · k, Z] → [N · k]. */
  logLikelihood(z: Tensor): Tensor;
  /** log p(z): [N · k, Z] → [N · k]. */
  logPrior(z: Tensor): Tensor;
  /** Of log p(z) − log q(z | x), a scalar: 1 for the bound itself, less while it warms up. */
  readonly klWeight: Tensor;
}

/** The mean over the examples of −log (1/k) Σ p(x, z_i) / q(z_i | x), and what to differentiate for it: scalars. */
export interface ImportanceBound {
  /** log p(x | z) of each sample: [N · k]. */
  readonly logLikelihood: Tensor;
  readonly bound: Tensor;
  readonly loss: Tensor;
}

/**
 * The importance-weighted bound (Burda et al., 2016, eq. 8).
 * @param doublyReparameterised whether the encoder learns by the doubly reparameterised gradient (Tucker et al., 2019,
 *   eq. 8), whose signal does not fade as k grows; it costs another pass of the decoder
 */
export function importanceBound(inputs: ImportanceInputs, doublyReparameterised: boolean): ImportanceBound {
  const { posterior, z, examples, samples } = inputs;
  const logLikelihood = inputs.logLikelihood(z);
  const logWeights = (at: Tensor, likelihood: Tensor, q: Posterior) => {
    const logPosterior = logPosteriorDensity(at, q);
    return reshape(add(likelihood, mul(sub(inputs.logPrior(at), logPosterior), inputs.klWeight)), [examples, samples]);
  };
  const weights = logWeights(z, logLikelihood, posterior);
  const bound = sub(Math.log(samples), reduceMean(logSumExp(weights, [1])));
  if (!doublyReparameterised) return { logLikelihood, bound, loss: bound };

  // Each sample counts by its share: the decoder's gradient is Σ w̃ ∂ log w, the encoder's Σ w̃² ∂ log w / ∂z · ∂z, with
  // the density of q differentiated through z alone.
  const share = stopGradient(reshape(softmax(weights, 1), [examples * samples, 1]));
  const still = stopGradient(z);
  const slowed = add(still, mul(sub(z, still), share));
  const parts = logWeights(slowed, inputs.logLikelihood(slowed), {
    mean: stopGradient(posterior.mean),
    logVariance: stopGradient(posterior.logVariance),
  });
  const loss = neg(reduceMean(reduceSum(mul(parts, reshape(share, [examples, samples])), [1])));
  return { logLikelihood, bound, loss };
}
