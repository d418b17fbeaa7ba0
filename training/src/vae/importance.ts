import {
  add,
  exp,
  mul,
  neg,
  reduceLogSumExp,
  reduceMean,
  reduceSum,
  reshape,
  softmax,
  square,
  stopGradient,
  sub,
} from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';

const LOG_TWO_PI = Math.log(2 * Math.PI);

/** What the importance-weighted bound is computed from; k samples of z for each of N examples. */
export interface ImportanceInputs {
  /** Of the posterior, repeated for every sample: [N · k, Z], the samples of an example beside each other. */
  readonly mean: Tensor;
  readonly logVariance: Tensor;
  /** Standard normal: [N · k, Z]. */
  readonly noise: Tensor;
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
  /** The samples: [N · k, Z]. */
  readonly z: Tensor;
  readonly bound: Tensor;
  readonly loss: Tensor;
}

/**
 * The importance-weighted bound (Burda et al., 2016, eq. 8).
 * @param doublyReparameterised whether the encoder learns by the doubly reparameterised gradient (Tucker et al., 2019,
 *   eq. 8), whose signal does not fade as k grows; it costs another pass of the decoder
 */
export function importanceBound(inputs: ImportanceInputs, doublyReparameterised: boolean): ImportanceBound {
  const { mean, logVariance, noise, examples, samples } = inputs;
  const z = add(mean, mul(exp(mul(logVariance, 0.5)), noise));
  const logWeights = (at: Tensor, m: Tensor, v: Tensor) =>
    reshape(add(inputs.logLikelihood(at), mul(sub(inputs.logPrior(at), logNormal(at, m, v)), inputs.klWeight)), [
      examples,
      samples,
    ]);
  const weights = logWeights(z, mean, logVariance);
  const bound = sub(Math.log(samples), reduceMean(reduceLogSumExp(weights, [1])));
  if (!doublyReparameterised) return { z, bound, loss: bound };

  // Each sample counts by its share: the decoder's gradient is Σ w̃ ∂ log w, the encoder's Σ w̃² ∂ log w / ∂z · ∂z, with
  // the density of q differentiated through z alone.
  const share = stopGradient(reshape(softmax(weights, 1), [examples * samples, 1]));
  const still = stopGradient(z);
  const slowed = add(still, mul(sub(z, still), share));
  const parts = logWeights(slowed, stopGradient(mean), stopGradient(logVariance));
  const loss = neg(reduceMean(reduceSum(mul(parts, reshape(share, [examples, samples])), [1])));
  return { z, bound, loss };
}

/** log N(z; mean, exp(logVariance)) summed over the dimensions: → [N · k]. */
function logNormal(z: Tensor, mean: Tensor, logVariance: Tensor): Tensor {
  const squares = mul(square(sub(z, mean)), exp(neg(logVariance)));
  return mul(reduceSum(add(add(squares, logVariance), LOG_TWO_PI), [1]), -0.5);
}
