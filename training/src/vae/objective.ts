import type { Parameter, Weights } from '../nn/parameters.js';
import { add, mul, reduceMean, reduceSum } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';
import type { Configuration, OptimiserConfiguration } from './configuration.js';
import type { Model } from './model.js';
import { reparameterise } from './priors.js';
import { klWeight } from './schedules.js';

/** What a training step computes from. */
export interface StepInputs {
  /** A minibatch: [batch, …shape of an example]. */
  readonly x: Tensor;
  /** Standard normal noise: [batch, …shape of Objective.noise]. */
  readonly noise: Readonly<Record<string, Tensor>>;
  /** float32 scalars, the values of Objective.schedules at this step. */
  readonly scheduled: Readonly<Record<string, Tensor>>;
}

/** Which parameters follow the gradient of a loss, and how. */
export interface Learner {
  /** Of the loss. */
  readonly name: string;
  /** Trainable ones, that no other loss teaches. */
  readonly parameters: readonly Parameter[];
  readonly optimiser: OptimiserConfiguration;
}

/**
 * What training minimises: one loss, or several with an optimiser each, such as a generator's and a discriminator's.
 * All gradients of a step are taken at the same weights; what a loss must not teach stands under `stopGradient`.
 */
export interface Objective {
  /** All that the losses depend on, trainable or not. */
  readonly parameters: readonly Parameter[];
  readonly losses: readonly Learner[];
  /** Shapes, for one example, of the standard normal noise that every step draws anew. */
  readonly noise: Readonly<Record<string, readonly number[]>>;
  /** Numbers that change over the run, by step (from 0) and total number of steps. */
  readonly schedules: Readonly<Record<string, (step: number, totalSteps: number) => number>>;
  /** Names of the scalars that are reported of every step. */
  readonly terms: readonly string[];
  /** Appends a step to the graph of its inputs: the terms and the losses by name, each a float32 scalar. */
  build(inputs: StepInputs, weights: Weights): Readonly<Record<'terms' | 'losses', Readonly<Record<string, Tensor>>>>;
}

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
    reconstruction: model.negativeLogLikelihood(x, decoded, weights),
    kl: reduceSum(model.prior.divergence(posterior), [1]),
  };
}

/** The negative ELBO of a minibatch, its mean over the examples, with the KL term's weight as scheduled. */
export function vaeObjective(model: Model, configuration: Configuration): Objective {
  return {
    parameters: model.parameters,
    losses: [
      {
        name: 'elbo',
        parameters: model.parameters.filter(({ trainable }) => trainable),
        optimiser: configuration.optimiser,
      },
    ],
    noise: { z: [model.latentSize] },
    schedules: { kl_weight: (step, totalSteps) => klWeight(configuration, step, totalSteps) },
    terms: ['loss', 'reconstruction', 'kl'],
    build({ x, noise, scheduled }, weights) {
      const terms = elboTerms(model, x, noise.z, weights);
      const reconstruction = reduceMean(terms.reconstruction);
      const kl = reduceMean(terms.kl);
      const loss = add(reconstruction, mul(kl, scheduled.kl_weight));
      return { terms: { loss, reconstruction, kl }, losses: { elbo: loss } };
    },
  };
}
