import type { ConvolutionForm } from '../engines/engine.js';
import { dense } from '../nn/layers.js';
import { joined, type Part, type Weights } from '../nn/parameters.js';
import { standardisation } from '../nn/standardisation.js';
import { dropoutLayers } from '../nn/variational-dropout.js';
import { logSumExp, mul, reduceMean, reduceSum, sub } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';
import type { DataMoments } from '../vae/likelihoods.js';
import { encoderNetwork } from '../vae/networks.js';
import type { Objective } from '../vae/objective.js';
import { withWeightDivergence } from '../vae/weight-divergence.js';
import type { ClassifierConfiguration } from './configuration.js';

/** A network that tells classes apart. */
export interface Classifier extends Part {
  readonly inputShape: readonly number[];
  readonly classes: number;
  /** Numbers in the features of an example. */
  readonly features: number;
  /** [N, …inputShape] → features [N, features] and logits [N, classes]. */
  apply(x: Tensor, weights: Weights): { readonly features: Tensor; readonly logits: Tensor };
}

export interface ClassifierOptions {
  /** Of the training examples: the scale of columns. */
  readonly moments?: DataMoments | undefined;
  readonly convolutions?: ConvolutionForm;
}

/**
 * The classifier of a configuration.
 * @param inputShape of one example: [channels, height, width] or [columns]
 * @throws {ConfigurationError} where convolutions do not fit the data
 */
export function buildClassifier(
  configuration: ClassifierConfiguration,
  inputShape: readonly number[],
  classes: number,
  { moments, convolutions = 'operators' }: ClassifierOptions = {},
): Classifier {
  const make = dropoutLayers(configuration.dropout);
  // Columns have units of their own; pixels share one.
  const scaling = inputShape.length === 1 ? standardisation('input', inputShape[0], moments) : undefined;
  const encoder = encoderNetwork(configuration, inputShape, convolutions, { make });
  const head = dense('logits', encoder.outputs, classes, { make });
  return {
    inputShape,
    classes,
    features: encoder.outputs,
    ...joined([...(scaling ? [scaling] : []), encoder, head]),
    apply(x, weights) {
      const { output: features } = encoder.apply(scaling?.apply(x, weights) ?? x, weights);
      return { features, logits: head.apply(features, weights) };
    },
  };
}

/** −log p(class | x) of each example, in nats: [N, classes], [N, classes] → [N]. */
export function crossEntropy(logits: Tensor, labels: Tensor): Tensor {
  return sub(logSumExp(logits, [1]), reduceSum(mul(logits, labels), [1]));
}

/**
 * The mean cross entropy of a minibatch, beside the KL of weights that have a distribution.
 * @param trainExamples how many there are, of which that KL counts once
 */
export function classifierObjective(
  classifier: Classifier,
  { optimiser, dropout }: ClassifierConfiguration,
  trainExamples: number,
): Objective {
  const ofExamples: Objective = {
    parameters: classifier.parameters,
    losses: [{ name: 'classes', parameters: classifier.parameters.filter(({ trainable }) => trainable), optimiser }],
    noise: {},
    classes: classifier.classes,
    schedules: {},
    terms: ['loss', 'cross_entropy'],
    build({ x, labels }, weights) {
      if (labels === undefined) throw new Error('a classifier needs labels');
      const loss = reduceMean(crossEntropy(classifier.apply(x, weights).logits, labels));
      return { terms: { loss, cross_entropy: loss }, losses: { classes: loss } };
    },
  };
  return withWeightDivergence(ofExamples, classifier, 'classes', { dropout, examples: trainExamples });
}
