import type { Weights } from '../nn/parameters.js';
import { flatten, reduceSum } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';
import type { Model } from './model.js';
import { reparameterise } from './priors.js';

/** The two terms of the negative ELBO of each example, in nats: −log p(x | z) at one z ~ q(z | x), and KL(q ‖ p). */
export interface ElboTerms {
  /** [N] */
  readonly reconstruction: Tensor;
  /** [N] */
  readonly kl: Tensor;
}

/**
 * The negative ELBO's terms with one sample an example (Kingma & Welling, 2014, eq. 7).
 * @param x [N, …inputShape]
 * @param noise [N, latentSize], standard normal
 */
export function elboTerms(model: Model, x: Tensor, noise: Tensor, weights: Weights): ElboTerms {
  const posterior = model.encode(x, weights);
  const decoded = model.decode(reparameterise(posterior, noise), weights);
  return {
    reconstruction: model.likelihood.negativeLogLikelihood(flatten(x), decoded),
    kl: reduceSum(model.prior.divergence(posterior), [1]),
  };
}
