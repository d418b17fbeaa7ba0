import { startingAt, zeros } from '../nn/initialisers.js';
import { dense, mlp } from '../nn/layers.js';
import type { Parameter, Weights } from '../nn/parameters.js';
import { clip } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';
import type { Configuration } from './configuration.js';
import { LIKELIHOODS, type Likelihood } from './likelihoods.js';
import { type Posterior, PRIORS, type Prior } from './priors.js';

/** A variational autoencoder: what it learns, and how its parts extend a graph. The weights stand elsewhere. */
export interface Model {
  readonly inputShape: readonly number[];
  readonly latentSize: number;
  readonly likelihood: Likelihood;
  readonly prior: Prior;
  readonly parameters: readonly Parameter[];
  /** q(z | x): [N, …inputShape] → two of [N, latentSize]. */
  encode(x: Tensor, weights: Weights): Posterior;
  /** What the likelihood takes: [N, latentSize] → [N, D]. */
  decode(z: Tensor, weights: Weights): Tensor;
}

/**
 * The model of a configuration.
 * @param dataMean mean of each data dimension of the training examples: where the decoder's output starts. Without
 *   it the output bias starts at 0, which makes no difference to a model that gets trained weights.
 */
export function buildModel(
  configuration: Configuration,
  inputShape: readonly number[],
  dataMean?: Float64Array,
): Model {
  const { latent_size: latentSize, activation, encoder, decoder, log_variance_limit: limit } = configuration;
  const likelihood = LIKELIHOODS[configuration.likelihood];
  const dataSize = inputShape.reduce((product, dimension) => product * dimension, 1);
  const encoderWidth = encoder.hidden[encoder.hidden.length - 1];
  const decoderWidth = decoder.hidden[decoder.hidden.length - 1];

  const encoderBody = mlp('encoder', dataSize, encoder.hidden, activation);
  const meanHead = dense('encoder.mean', encoderWidth, latentSize);
  const logVarianceHead = dense('encoder.log_variance', encoderWidth, latentSize);
  const decoderBody = mlp('decoder', latentSize, decoder.hidden, activation);
  const outputHead = dense('decoder.output', decoderWidth, dataSize, {
    bias: dataMean === undefined ? zeros : startingAt(likelihood.outputBias(dataMean)),
  });

  return {
    inputShape,
    latentSize,
    likelihood,
    prior: PRIORS[configuration.prior],
    parameters: [encoderBody, meanHead, logVarianceHead, decoderBody, outputHead].flatMap((layer) => layer.parameters),
    encode(x, weights) {
      const features = encoderBody.apply(x, weights);
      return {
        mean: meanHead.apply(features, weights),
        logVariance: clip(logVarianceHead.apply(features, weights), -limit, limit),
      };
    },
    decode: (z, weights) => outputHead.apply(decoderBody.apply(z, weights), weights),
  };
}
