import { dense, mlp } from '../nn/layers.js';
import { joined, type Part, type Weights } from '../nn/parameters.js';
import { add, gatherElements, mul, neg, reduceMean, softplus, stopGradient } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';
import { ConfigurationError } from './configuration-error.js';

/**
 * The total correlation of the aggregate posterior by a discriminator (Kim & Mnih, 2018): a network whose output for z
 * comes to be log q(z) / Π q(z_j), as it learns to tell samples of q(z) from samples of the product of its marginals.
 */
export interface DensityRatio extends Part {
  /** KL(q(z) ‖ Π q(z_j)) by the network's output for samples of q(z), [N, Z] (section 4): a scalar, in nats. */
  totalCorrelation(z: Tensor, weights: Weights): Tensor;
  /** What teaches the network: the mean cross-entropy of its two answers, which samples z are not taught by: a scalar. */
  loss(z: Tensor, weights: Weights): Tensor;
}

/**
 * @param size Z
 * @param hidden units of the network's layers
 */
export function densityRatio(size: number, hidden: readonly number[]): DensityRatio {
  const body = mlp('discriminator', size, hidden, 'leaky-relu');
  const output = dense('discriminator.output', hidden.at(-1) ?? size, 1);
  const logRatio = (z: Tensor, weights: Weights) => output.apply(body.apply(z, weights), weights);
  return {
    ...joined([body, output]),
    totalCorrelation: (z, weights) => reduceMean(logRatio(z, weights)),
    loss(z, weights) {
      const still = stopGradient(z);
      const joint = reduceMean(softplus(neg(logRatio(still, weights))));
      const product = reduceMean(softplus(logRatio(ofMarginals(still), weights)));
      return mul(add(joint, product), 0.5);
    },
  };
}

/**
 * Samples of the product of the marginals from as many of q(z), [N, Z] (algorithm 1): each latent dimension of another
 * example, dimension j of that j + 1 rows before. Nothing is drawn, since minibatches are shuffled.
 * @throws {ConfigurationError} where there are not more examples than latent dimensions
 */
export function ofMarginals(z: Tensor): Tensor {
  const [count, size] = z.shape as number[];
  if (count <= size) {
    throw new ConfigurationError(
      `a minibatch has ${count} examples; expected more than the ${size} latent dimensions for a total correlation by discriminator`,
    );
  }
  const rows = BigInt64Array.from({ length: count * size }, (_, at) => {
    const [row, column] = [Math.floor(at / size), at % size];
    return BigInt((row + count - column - 1) % count);
  });
  return gatherElements(z, z.graph.constant({ dtype: 'int64', shape: [count, size], data: rows }), 0);
}
