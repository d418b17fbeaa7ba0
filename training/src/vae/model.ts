import type { ConvolutionForm } from '../engines/engine.js';
import { dense } from '../nn/layers.js';
import { type LayerMaker, plain } from '../nn/linear.js';
import { joined, type Part, type Weights } from '../nn/parameters.js';
import { dropoutLayers } from '../nn/variational-dropout.js';
import type { Graph } from '../onnx/graph.js';
import { clip, concat, expand, expandLike, flatten, reshape, scalar, split, unsqueeze } from '../onnx/ops.js';
import { type Dimension, elementCount, type Tensor } from '../onnx/tensor.js';
import { type Configuration, ConfigurationError, type DropoutPart } from './configuration.js';
import { type Likelihood, type LikelihoodData, likelihoodFor } from './likelihoods.js';
import { fixedMixture, type MixturePrior } from './mixture-prior.js';
import { decoderNetwork, encoderNetwork, withLabel } from './networks.js';
import { type Posterior, reparameterise } from './posterior.js';
import { type Prior, priorOfFirst, standardNormal } from './priors.js';
import type { Features } from './stochastic-layers.js';
import { type VampOptions, vampPrior } from './vamp-prior.js';

/** z of examples and where it came from. */
export interface Inference {
  /** q(z | x): both [N, latentSize]. That of a lower stochastic layer is given the z of those above. */
  readonly posterior: Posterior;
  /** [N, latentSize] */
  readonly z: Tensor;
  /** What the likelihood takes, from z: → [N, K]. */
  decode(): Tensor;
}

export interface InferenceOptions {
  /**
   * Standard normal, [N, latentSize]: z is drawn with it. Without it z is the mean, layer by layer, as always in an
   * autoencoder.
   */
  readonly noise?: Tensor;
  /** Samples of z for each example, which then come beside each other: N is that of x times so many. */
  readonly samples?: number;
  /** Of a conditional model: the class of each example, 1 at its number, [N, classes]. */
  readonly label?: Tensor | undefined;
}

/** A variational or a plain autoencoder: what it learns, and how its parts extend a graph. The weights stand elsewhere. */
export interface Model extends Part {
  readonly inputShape: readonly number[];
  /** Latent dimensions of all stochastic layers, the first one's first. */
  readonly latentSize: number;
  /** Of a conditional model. */
  readonly classes: number | undefined;
  readonly likelihood: Likelihood;
  /** The form that convolutions take in training. */
  readonly convolutions: ConvolutionForm;
  /**
   * Whether z is the encoder's mean, as in an autoencoder: nothing is drawn, the ELBO means nothing, and the posterior's
   * log variance is a constant, the least that a configuration lets it be.
   */
  readonly isDeterministic: boolean;
  readonly prior: Prior;
  /** Of the first stochastic layer, where the prior is a mixture. */
  readonly mixture: MixturePrior | undefined;
  /** [N, …inputShape] → z and its posterior. */
  infer(x: Tensor, weights: Weights, options?: InferenceOptions): Inference;
  /** What the likelihood takes: [N, latentSize] → [N, K]. */
  decode(z: Tensor, weights: Weights, label?: Tensor): Tensor;
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
  /** How many classes the examples have; a model that is not conditional needs none. */
  readonly classes?: number | undefined;
  /** Whether the model is trained: what was computed from its weights then stands in place of what computes it. */
  readonly isTrained?: boolean;
}

const FLOAT_BYTES = 4;
/** Protobuf messages end at 2 GiB, and the scorer's graph holds all weights. */
const LARGEST_MODEL = 1.5 * 2 ** 30;
/** Its covariance takes half a minute to invert, and 16 MiB of the scorer. */
const LARGEST_LATENT_SPACE = 2048;

/**
 * The model of a configuration.
 * @param inputShape of one example: [channels, height, width] or [columns]
 * @throws {ConfigurationError} where the configuration does not suit that shape, or is of more weights or latent
 *   dimensions than can be exported
 */
export function buildModel(
  configuration: Configuration,
  inputShape: readonly number[],
  { convolutions = 'operators', isTrained = false, classes: known, ...data }: ModelOptions = {},
): Model {
  const { latent_size: topSize, log_variance_limit: limit } = configuration;
  const likelihood = likelihoodFor(configuration.likelihood, { ...data, shape: inputShape });

  if (configuration.conditional && !(known !== undefined && known > 1)) {
    throw new ConfigurationError(
      `conditional is true; expected a data set with the class of each example, of two classes at least${known === 1 ? ', where there is one' : ''}`,
    );
  }
  const classes = configuration.conditional ? known : undefined;
  const make = isTrained ? () => plain : layersOf(configuration);
  const encoder = encoderNetwork(configuration, likelihood.presentedShape, convolutions, {
    make: make('encoder'),
    classes,
  });
  const meanHead = dense('encoder.mean', encoder.outputs, topSize, { make: make('encoder') });
  const isDeterministic = configuration.family === 'autoencoder';
  const logVarianceHead = isDeterministic
    ? undefined
    : dense('encoder.log_variance', encoder.outputs, topSize, { make: make('encoder') });
  const decoder = decoderNetwork(configuration, likelihood.decodedShape, encoder, convolutions, {
    outputBias: likelihood.outputBias,
    make: make('decoder'),
    classes,
  });

  const sizes = [topSize, ...decoder.stochasticLayers.map(({ size }) => size)];
  const latentSize = sizes.reduce((sum, size) => sum + size);
  const topPosterior = (features: Tensor, weights: Weights): Posterior => {
    const mean = meanHead.apply(features, weights);
    const logVariance =
      logVarianceHead === undefined
        ? expandLike(scalar(mean.graph, -limit), mean)
        : clip(logVarianceHead.apply(features, weights), -limit, limit);
    return { mean, logVariance };
  };
  const mixture = mixtureOf(configuration, isTrained, {
    shape: likelihood.presentedShape,
    arePixels: inputShape.length > 1,
    moments: data.moments,
    encode: (presented, weights) => topPosterior(encoder.apply(presented, weights).output, weights),
  });

  const parts = joined([
    encoder,
    meanHead,
    ...(logVarianceHead === undefined ? [] : [logVarianceHead]),
    decoder,
    likelihood,
    { parameters: mixture?.parameters ?? [] },
  ]);
  const bytes = parts.parameters.reduce((sum, { shape }) => sum + FLOAT_BYTES * elementCount(shape), 0);
  if (bytes > LARGEST_MODEL) {
    throw new ConfigurationError(
      `the layers of encoder and decoder have ${(bytes / 2 ** 30).toFixed(1)} GiB of weights; expected at most ${LARGEST_MODEL / 2 ** 30} GiB, which is what an ONNX file holds`,
    );
  }
  if (latentSize > LARGEST_LATENT_SPACE) {
    throw new ConfigurationError(
      `the stochastic layers have ${latentSize} latent dimensions; expected at most ${LARGEST_LATENT_SPACE}, since the anomaly score takes the inverse of their covariance`,
    );
  }

  return {
    inputShape,
    latentSize,
    classes,
    likelihood,
    convolutions,
    isDeterministic,
    prior: mixture === undefined ? standardNormal : priorOfFirst(topSize, latentSize, mixture),
    mixture,
    ...parts,
    infer(x, weights, { noise, samples = 1, label } = {}) {
      const features = mapFeatures(encoder.apply(likelihood.present(x, weights), weights, label), (each) =>
        repeatRows(each, samples),
      );
      const posteriors: Posterior[] = [];
      const drawn: Tensor[] = [];
      const noises = noise === undefined || isDeterministic ? [] : partsOf(noise, sizes);
      const draw = (posterior: Posterior): Tensor => {
        const part = noises[drawn.length];
        const z = part === undefined ? posterior.mean : reparameterise(posterior, part);
        posteriors.push(posterior);
        drawn.push(z);
        return z;
      };
      const top = draw(topPosterior(features.output, weights));
      const given = withLabel(top, label && repeatRows(label, samples));
      const decode = decoder.descend(given, weights, features.form, (layer, signal, form) =>
        draw(layer.posterior(features, signal, weights, form)),
      );
      // One example may be drawn for many samples, which the posteriors of lower layers then differ for.
      const each = (key: keyof Posterior) =>
        concatenated(
          posteriors.map((part, i) =>
            part[key].shape[0] === drawn[i].shape[0] ? part[key] : expandLike(part[key], drawn[i]),
          ),
        );
      const posterior =
        posteriors.length === 1 ? posteriors[0] : { mean: each('mean'), logVariance: each('logVariance') };
      return { posterior, z: concatenated(drawn), decode };
    },
    decode(z, weights, label) {
      const [top, ...lower] = partsOf(z, sizes);
      const form = decoder.formFor(z, weights);
      const decode = decoder.descend(
        withLabel(top, label),
        weights,
        form,
        (layer) => lower[decoder.stochasticLayers.indexOf(layer)],
      );
      return decode();
    },
    negativeLogLikelihood: (x, decoded, weights) => likelihood.negativeLogLikelihood(flatten(x), decoded, weights),
    mean: (decoded, weights) => asItems(likelihood.mean(decoded, weights), inputShape),
    deviance: (x, decoded, weights) => asItems(likelihood.deviance(flatten(x), decoded, weights), inputShape),
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

/** The mixture that the first stochastic layer's prior is, if it is one. */
function mixtureOf(
  { prior, prior_components: components, latent_size: size }: Configuration,
  isTrained: boolean,
  vamp: Omit<VampOptions, 'components'>,
): MixturePrior | undefined {
  if (prior === 'standard-normal') return undefined;
  if (isTrained) return fixedMixture(components, size);
  return prior === 'vamp' ? vampPrior({ ...vamp, components }) : undefined;
}

/** Those of each stochastic layer. */
function partsOf(z: Tensor, sizes: readonly number[]): readonly Tensor[] {
  return sizes.length === 1 ? [z] : split(z, 1, sizes);
}

function concatenated(tensors: readonly Tensor[]): Tensor {
  return tensors.length === 1 ? tensors[0] : concat(tensors, 1);
}

/** The input `label` of a graph of a conditional model, [N, classes]; undefined for others. */
export function labelInput(
  graph: Graph,
  { classes }: Pick<Model, 'classes'>,
  rows: Dimension = 'N',
): Tensor | undefined {
  return classes === undefined ? undefined : graph.input('label', 'float32', [rows, classes]);
}

/** Each row so many times, beside each other: [N, …] → [N · times, …]. */
export function repeatRows(tensor: Tensor, times: number): Tensor {
  if (times === 1) return tensor;
  const [count, ...shape] = tensor.shape as number[];
  return reshape(expand(unsqueeze(tensor, [1]), [count, times, ...shape]), [count * times, ...shape]);
}

function mapFeatures(features: Features, change: (tensor: Tensor) => Tensor): Features {
  const { output, hidden, maps, form } = features;
  return { output: change(output), hidden: hidden.map(change), maps: maps.map(change), form };
}
