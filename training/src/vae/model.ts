import type { ConvolutionForm } from '../engines/engine.js';
import { dense } from '../nn/layers.js';
import type { Parameter, Weights } from '../nn/parameters.js';
import { clip, flatten, reshape } from '../onnx/ops.js';
import { elementCount, type Tensor } from '../onnx/tensor.js';
import { type Configuration, ConfigurationError } from './configuration.js';
import { type Likelihood, type LikelihoodData, likelihoodFor } from './likelihoods.js';
import { decoderNetwork, encoderNetwork } from './networks.js';
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
  /** What the likelihood takes: [N, latentSize] → [N, K]. */
  decode(z: Tensor, weights: Weights): Tensor;
  /** −log p(x | z) of each example in nats, over the data's own units: [N, …inputShape], [N, K] → [N]. */
  negativeLogLikelihood(x: Tensor, decoded: Tensor, weights: Weights): Tensor;
  /** The value of x to expect, in the data's own units: [N, K] → [N, …inputShape]. */
  mean(decoded: Tensor, weights: Weights): Tensor;
  /** Each data dimension's misfit, zero for a perfect reconstruction: [N, …inputShape], [N, K] → [N, …inputShape]. */
  deviance(x: Tensor, decoded: Tensor, weights: Weights): Tensor;
}

/**
 * What is known of the data besides an example's shape. Without moments the decoder's output starts at 0 and columns have
 * a scale of 1, which makes no difference to a model that gets trained weights.
 */
export interface ModelOptions extends Omit<LikelihoodData, 'shape'> {
  readonly convolutions?: ConvolutionForm;
}

const FLOAT_BYTES = 4;
/** Protobuf messages end at 2 GiB, and the scorer's graph holds all weights. */
const LARGEST_MODEL = 1.5 * 2 ** 30;

/**
 * The model of a configuration.
 * @param inputShape of one example: [channels, height, width] or [columns]
 * @throws {ConfigurationError} where the configuration does not suit that shape, or is of more weights than a file holds
 */
export function buildModel(
  configuration: Configuration,
  inputShape: readonly number[],
  { convolutions = 'operators', ...data }: ModelOptions = {},
): Model {
  const { latent_size: latentSize, log_variance_limit: limit } = configuration;
  const likelihood = likelihoodFor(configuration.likelihood, { ...data, shape: inputShape });

  const encoder = encoderNetwork(configuration, likelihood.presentedShape, convolutions);
  const meanHead = dense('encoder.mean', encoder.outputs, latentSize);
  const logVarianceHead = dense('encoder.log_variance', encoder.outputs, latentSize);
  const decoder = decoderNetwork(configuration, likelihood.decodedShape, convolutions, likelihood.outputBias);

  const parameters = [encoder, meanHead, logVarianceHead, decoder, likelihood].flatMap((part) => part.parameters);
  const bytes = parameters.reduce((sum, { shape }) => sum + FLOAT_BYTES * elementCount(shape), 0);
  if (bytes > LARGEST_MODEL) {
    throw new ConfigurationError(
      `the layers of encoder and decoder have ${(bytes / 2 ** 30).toFixed(1)} GiB of weights; expected at most ${LARGEST_MODEL / 2 ** 30} GiB, which is what an ONNX file holds`,
    );
  }

  return {
    inputShape,
    latentSize,
    likelihood,
    prior: PRIORS[configuration.prior],
    parameters,
    encode(x, weights) {
      const features = encoder.apply(likelihood.present(x, weights), weights);
      return {
        mean: meanHead.apply(features, weights),
        logVariance: clip(logVarianceHead.apply(features, weights), -limit, limit),
      };
    },
    decode: (z, weights) => decoder.apply(z, weights),
    negativeLogLikelihood: (x, decoded, weights) => likelihood.negativeLogLikelihood(flatten(x), decoded, weights),
    mean: (decoded, weights) => asItems(likelihood.mean(decoded, weights), inputShape),
    deviance: (x, decoded, weights) => asItems(likelihood.deviance(flatten(x), decoded, weights), inputShape),
  };
}

/** [N, D] as [N, …shape]. */
function asItems(flat: Tensor, shape: readonly number[]): Tensor {
  return reshape(flat, [flat.shape[0], ...shape]);
}
