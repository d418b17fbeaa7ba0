import type { Parameter, Weights } from '../nn/parameters.js';
import {
  abs,
  add,
  cast,
  div,
  lessOrEqual,
  mul,
  neg,
  reduceMean,
  reduceSum,
  reshape,
  slice,
  stopGradient,
  sub,
  topK,
  zerosLike,
} from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';
import { discriminatorOptimiser } from './adversary.js';
import { autoencoderObjective } from './autoencoder.js';
import type { Configuration, ObjectiveConfiguration, OptimiserConfiguration } from './configuration.js';
import { type DensityRatio, densityRatio } from './density-ratio.js';
import { importanceBound } from './importance.js';
import { type InferenceOptions, type Model, repeatRows } from './model.js';
import { withPlantedDefects } from './planted-defects.js';
import type { Posterior } from './posterior.js';
import { klTerm } from './priors.js';
import { covariancePenalty, freeBits, maximumMeanDiscrepancy, totalCorrelation } from './regularisers.js';
import { capacity, klWeight } from './schedules.js';
import { vaeGanObjective } from './vae-gan.js';
import { withWeightDivergence } from './weight-divergence.js';

/** What a training step computes from. */
export interface StepInputs {
  /** A minibatch: [batch, …shape of an example]. */
  readonly x: Tensor;
  /** What the encoder sees in place of x, which the decoder is to give all the same: of the shape of x. */
  readonly seen?: Tensor;
  /** Class of each example, 1 at its number: [batch, Objective.classes]; where the objective has classes. */
  readonly labels?: Tensor | undefined;
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
  /** How many classes examples have, where the losses need the class of each. */
  readonly classes?: number;
  /** Numbers that change over the run, by step (from 0) and total number of steps. */
  readonly schedules: Readonly<Record<string, (step: number, totalSteps: number) => number>>;
  /** Names of the scalars that are reported of every step. */
  readonly terms: readonly string[];
  /** Appends a step to the graph of its inputs: the terms and the losses by name, each a float32 scalar. */
  build(inputs: StepInputs, weights: Weights): Built;
}

/** The terms and the losses of a step, float32 scalars. */
export type Built = Readonly<Record<'terms' | 'losses', Readonly<Record<string, Tensor>>>>;

/** What the negative ELBO of examples is made of, with one sample of z each (Kingma & Welling, 2014, eq. 7). */
export interface ElboTerms {
  readonly posterior: Posterior;
  /** [N, Z] */
  readonly z: Tensor;
  /** −log p(x | z) of each example, in nats: [N]. */
  readonly reconstruction: Tensor;
  /** KL(q(z | x) ‖ p(z)) of each example, in nats, estimated by z where it has no closed form, 0 of an autoencoder: [N]. */
  readonly kl: Tensor;
}

/**
 * @param x [N, …inputShape]
 * @param drawn standard normal noise, [N, latentSize], and the labels of a conditional model
 * @param seen what z is inferred from
 */
export function elboTerms(
  model: Model,
  x: Tensor,
  weights: Weights,
  drawn: Pick<InferenceOptions, 'noise' | 'label'>,
  seen: Tensor = x,
): ElboTerms {
  const { posterior, z, decode } = model.infer(seen, weights, drawn);
  const reconstruction = model.negativeLogLikelihood(x, decode(), weights);
  const kl = model.isDeterministic ? zerosLike(reconstruction) : klTerm(model.prior, posterior, z, weights);
  return { posterior, z, reconstruction, kl };
}

/**
 * The objective of a configuration: the negative ELBO of a minibatch, its mean over the examples, with the KL term
 * weighted as scheduled, and with whatever the configuration puts beside it or in its place; that of its family where it
 * is none of a VAE.
 * @param trainExamples how many there are, of which the KL term of weights counts once; a model without such weights
 *   needs none
 */
export function vaeObjective(model: Model, configuration: Configuration, trainExamples?: number): Objective {
  const { family, objective, dropout } = configuration;
  if (family === 'autoencoder') return autoencoderObjective(model, configuration, trainExamples);
  if (family === 'vae-gan') return vaeGanObjective(model, configuration);
  const isSampled = objective.importance_samples > 1;
  const ratio = densityRatioOf(model, objective);
  const ofExamples: Objective = {
    parameters: [...model.parameters, ...(ratio?.parameters ?? [])],
    ...(model.classes !== undefined && { classes: model.classes }),
    losses: [
      {
        name: 'elbo',
        parameters: model.parameters.filter(({ trainable }) => trainable),
        optimiser: configuration.optimiser,
      },
      ...(ratio === undefined
        ? []
        : [
            {
              name: DISCRIMINATOR,
              parameters: ratio.parameters,
              optimiser: discriminatorOptimiser(configuration.optimiser, objective.discriminator),
            },
          ]),
    ],
    noise: {
      z: isSampled ? [objective.importance_samples, model.latentSize] : [model.latentSize],
      ...(objective.maximum_mean_discrepancy > 0 && { prior: [model.latentSize] }),
    },
    schedules: {
      kl_weight: (step, totalSteps) => klWeight(configuration, step, totalSteps),
      ...(objective.capacity > 0 && { capacity: (step, totalSteps) => capacity(configuration, step, totalSteps) }),
    },
    terms: ['loss', 'reconstruction', 'kl', ...(ratio === undefined ? [] : [TOTAL_CORRELATION])],
    build: (inputs, weights) =>
      isSampled
        ? importanceWeighted(model, configuration, inputs, weights)
        : regularised(model, configuration, inputs, weights, ratio),
  };
  const ofWeights = withWeightDivergence(ofExamples, model, 'elbo', { dropout, examples: trainExamples });
  return withPlantedDefects(ofWeights, model, objective.planted_defects);
}

/** Of the loss of a discriminator, and of the term that says what it makes of the total correlation. */
export const DISCRIMINATOR = 'discriminator';
export const TOTAL_CORRELATION = 'total_correlation';

/** What estimates the total correlation beside the model, where the configuration asks for one. */
function densityRatioOf(model: Model, objective: ObjectiveConfiguration): DensityRatio | undefined {
  if (objective.total_correlation_by === 'minibatch') return undefined;
  return densityRatio(model.latentSize, objective.discriminator.hidden);
}

/** Reconstruction, the KL term, and penalties of the aggregate posterior. */
function regularised(
  model: Model,
  { objective }: Configuration,
  { x, seen, labels: label, noise, scheduled }: StepInputs,
  weights: Weights,
  ratio: DensityRatio | undefined,
): Built {
  const { posterior, z, ...terms } = elboTerms(model, x, weights, { noise: noise.z, label }, seen);
  const mean = trimmedMean(terms, objective.trimmed_share);
  const reconstruction = mean(terms.reconstruction);
  const kl = mean(terms.kl);
  const divergence = () => model.prior.divergencePerDimension(posterior, weights);

  const weighted = (weight: number, penalty: () => Tensor) => (weight === 0 ? [] : [mul(penalty(), weight)]);
  const { covariance } = objective;
  const byDiscriminator = ratio?.totalCorrelation(z, weights);
  const loss = [
    reconstruction,
    mul(klCost(objective, divergence, kl, scheduled), scheduled.kl_weight),
    ...weighted(objective.total_correlation, () => byDiscriminator ?? totalCorrelation(posterior, z)),
    ...weighted(objective.maximum_mean_discrepancy, () => maximumMeanDiscrepancy(z, noise.prior)),
    ...(covariance === 'none'
      ? []
      : [
          covariancePenalty(posterior, {
            of: covariance,
            off_diagonal: objective.covariance_off_diagonal,
            diagonal: objective.covariance_diagonal,
          }),
        ]),
  ].reduce((sum, term) => add(sum, term));
  return {
    terms: { loss, reconstruction, kl, ...(byDiscriminator && { [TOTAL_CORRELATION]: byDiscriminator }) },
    losses: { elbo: loss, ...(ratio && { [DISCRIMINATOR]: ratio.loss(z, weights) }) },
  };
}

/**
 * The mean over a minibatch's examples, but for those with the largest −ELBO: where a few examples are anomalies, a model
 * that need not learn them learns the others better (least trimmed squares; Rousseeuw, 1984).
 * @param share of the examples that are left out, rounded down
 */
export function trimmedMean(
  { reconstruction, kl }: Pick<ElboTerms, 'reconstruction' | 'kl'>,
  share: number,
): (nats: Tensor) => Tensor {
  const [examples] = reconstruction.shape as number[];
  const kept = examples - Math.floor(share * examples);
  if (kept === examples) return (nats) => reduceMean(nats);
  const loss = stopGradient(add(reconstruction, kl));
  const smallest = neg(topK(neg(loss), kept).values);
  const limit = slice(smallest, 0, kept - 1, kept);
  // Of examples that are equal, all or none are kept.
  const isKept = cast(lessOrEqual(loss, limit), 'float32');
  const count = reduceSum(isKept);
  return (nats) => div(reduceSum(mul(nats, isKept)), count);
}

/** What is weighted by beta: the KL term, what it has beyond the free bits, or its distance to the capacity. */
function klCost(
  { free_bits: freeNats, capacity }: ObjectiveConfiguration,
  divergence: () => Tensor,
  kl: Tensor,
  scheduled: StepInputs['scheduled'],
): Tensor {
  if (capacity > 0) return abs(sub(kl, scheduled.capacity));
  return freeNats > 0 ? freeBits(divergence(), freeNats) : kl;
}

function importanceWeighted(
  model: Model,
  { objective }: Configuration,
  { x, seen = x, labels: label, noise, scheduled }: StepInputs,
  weights: Weights,
): Built {
  const [examples, samples, size] = noise.z.shape as number[];
  const inputs = repeatRows(x, samples);
  const { posterior, z, decode } = model.infer(seen, weights, {
    noise: reshape(noise.z, [examples * samples, size]),
    samples,
    label,
  });
  const { logLikelihood, bound, loss } = importanceBound(
    {
      posterior,
      z,
      examples,
      samples,
      logLikelihood: (at) =>
        neg(
          model.negativeLogLikelihood(
            inputs,
            at === z ? decode() : model.decode(at, weights, label && repeatRows(label, samples)),
            weights,
          ),
        ),
      logPrior: (at) => model.prior.logDensity(at, weights),
      klWeight: scheduled.kl_weight,
    },
    objective.doubly_reparameterised,
  );
  const reconstruction = neg(reduceMean(logLikelihood));
  const kl = reduceMean(klTerm(model.prior, posterior, z, weights));
  return { terms: { loss: bound, reconstruction, kl }, losses: { elbo: loss } };
}
