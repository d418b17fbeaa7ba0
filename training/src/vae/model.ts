import type { ConvolutionForm } from '../engines/engine.js';
import { dense } from '../nn/layers.js';
import { type LayerMaker, plain } from '../nn/linear.js';
import { joined, type Part, type Weights } from '../nn/parameters.js';
import { standardisation } from '../nn/standardisation.js';
import { dropoutLayers } from '../nn/variational-dropout.js';
import { add, clip, flatten, reshape } from '../onnx/ops.js';
import { elementCount, type Tensor } from '../onnx/tensor.js';
import { type Configuration, ConfigurationError, type DropoutPart } from './configuration.js';
import { LIKELIHOODS, type Likelihood } from './likelihoods.js';
import { decoderNetwork, encoderNetwork } from './networks.js';
import { type Posterior, PRIORS, type Prior } from './priors.js';

/** A variational autoencoder: what it learns, and how its parts extend a graph. The weights stand elsewhere. */
export interface Model extends Part {
  readonly inputShape: readonly number[];
  readonly latentSize: number;
  readonly likelihood: Likelihood;
  readonly prior: Prior;
  /** q(z | x): [N, …inputShape] → two of [N, latentSize]. */
  encode(x: Tensor, weights: Weights): Posterior;
  /** What the likelihood takes: [N, latentSize] → [N, D]. */
  decode(z: Tensor, weights: Weights): Tensor;
  /** −log p(x | z) of each example in nats, as a density over the data's own units: [N, …inputShape], [N, D] → [N]. */
  negativeLogLikelihood(x: Tensor, decoded: Tensor, weights: Weights): Tensor;
  /** The expected value of x in the data's own units: [N, D] → [N, …inputShape]. */
  mean(decoded: Tensor, weights: Weights): Tensor;
  /** Each data dimension's misfit, zero for a perfect reconstruction: [N, …inputShape], [N, D] → [N, …inputShape]. */
  deviance(x: Tensor, decoded: Tensor, weights: Weights): Tensor;
}

/** Of the training examples, each [D]. */
export interface DataMoments {
  readonly mean: Float64Array;
  readonly variance: Float64Array;
}

export interface ModelOptions {
  /**
   * Where the decoder's output starts, and the scale of columns. Without them both start at 0 and 1, which makes no
   * difference to a model that gets trained weights.
   */
  readonly moments?: DataMoments;
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
  { moments, convolutions = 'operators' }: ModelOptions = {},
): Model {
  const { latent_size: latentSize, log_variance_limit: limit } = configuration;
  const likelihood = LIKELIHOODS[configuration.likelihood];
  const dataSize = inputShape.reduce((product, dimension) => product * dimension, 1);
  const isTable = inputShape.length === 1;
  if (isTable && likelihood.kind !== 'gaussian') {
    throw new ConfigurationError(`likelihood is ${likelihood.kind}; expected gaussian for rows of numbers`);
  }
  // Columns have units of their own; pixels share one.
  const scaling = isTable ? standardisation('input', dataSize, moments) : undefined;
  const standardised = (x: Tensor, weights: Weights) => scaling?.apply(x, weights) ?? x;

  const make = layersOf(configuration);
  const encoder = encoderNetwork(configuration, inputShape, convolutions, make('encoder'));
  const meanHead = dense('encoder.mean', encoder.outputs, latentSize, { make: make('encoder') });
  const logVarianceHead = dense('encoder.log_variance', encoder.outputs, latentSize, { make: make('encoder') });
  const startsAtMean = moments !== undefined && scaling === undefined;
  const decoder = decoderNetwork(configuration, inputShape, convolutions, {
    outputBias: startsAtMean ? likelihood.outputBias(moments.mean) : undefined,
    make: make('decoder'),
  });

  const parts = joined([...(scaling ? [scaling] : []), encoder, meanHead, logVarianceHead, decoder, likelihood]);
  const bytes = parts.parameters.reduce((sum, { shape }) => sum + FLOAT_BYTES * elementCount(shape), 0);
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
    ...parts,
    encode(x, weights) {
      const features = encoder.apply(standardised(x, weights), weights);
      return {
        mean: meanHead.apply(features, weights),
        logVariance: clip(logVarianceHead.apply(features, weights), -limit, limit),
      };
    },
    decode: (z, weights) => decoder.apply(z, weights),
    negativeLogLikelihood(x, decoded, weights) {
      const nats = likelihood.negativeLogLikelihood(flatten(standardised(x, weights)), decoded, weights);
      return scaling === undefined ? nats : add(nats, scaling.logVolume(weights));
    },
    mean(decoded, weights) {
      const mean = likelihood.mean(decoded);
      return asItems(scaling?.invert(mean, weights) ?? mean, inputShape);
    },
    deviance: (x, decoded, weights) =>
      asItems(likelihood.deviance(flatten(standardised(x, weights)), decoded, weights), inputShape),
  };
}

/** What makes the layers of each part of a model. */
function layersOf({ dropout }: Configuration): (part: DropoutPart) => LayerMaker {
  return (part) => (dropout.parts.includes(part) ? dropoutLayers(dropout) : plain);
}

/** [N, D] as [N, …shape]. */
function asItems(flat: Tensor, shape: readonly number[]): Tensor {
  return reshape(flat, [flat.shape[0], ...shape]);
}
