import { dense } from '../nn/layers.js';
import { joined, type Part, type Weights } from '../nn/parameters.js';
import { add, div, flatten, max, mul, neg, reduceMean, reduceSum, softplus, square, sub } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';
import { discriminatorOptimiser } from './adversary.js';
import type { Configuration } from './configuration.js';
import type { Model } from './model.js';
import { encoderNetwork } from './networks.js';
import type { Objective } from './objective.js';
import { klTerm } from './priors.js';
import { klWeight } from './schedules.js';

/** Terms that a step reports besides the negative ELBO of pixels: mean nats of features, and the discriminator's loss. */
export const FEATURE_MISFIT = 'feature_misfit';
export const DISCRIMINATION = 'discrimination';

/** Tells images from what a decoder makes of latents. */
interface Discriminator extends Part {
  /** @param x [N, …shape of an image] */
  judge(x: Tensor, weights: Weights): Judgement;
}

interface Judgement {
  /** The log odds that an image is one of the data: [N, 1]. */
  readonly logit: Tensor;
  /** Signals of the layer that images are compared by: [N, features]. */
  readonly features: Tensor;
}

function discriminatorNetwork(model: Model, { discriminator }: Configuration): Discriminator {
  const body = encoderNetwork(
    { encoder: discriminator, activation: 'leaky-relu' },
    model.inputShape,
    model.convolutions,
    { name: 'discriminator' },
  );
  const output = dense('discriminator.output', body.outputs, 1);
  return {
    ...joined([body, output]),
    judge(x, weights) {
      const { output: last, maps, hidden } = body.apply(x, weights);
      const features = [...maps, ...hidden][discriminator.feature_layer];
      return { logit: output.apply(last, weights), features: flatten(features) };
    },
  };
}

/** Keeps what is divided by the variance finite while features are all alike. */
const SMALLEST_VARIANCE = 1e-6;

/** Over a minibatch, the mean of all features: [N, features] → scalar. */
function meanVariance(features: Tensor): Tensor {
  return max(reduceMean(square(sub(features, reduceMean(features, [0], true)))), SMALLEST_VARIANCE);
}

/**
 * VAE-GAN (Larsen et al., 2016, algorithm 1). Three losses, each differentiated by the parameters of its own network:
 * the encoder's is the KL term and the misfit of features, −log N(f(x); f(x̃), v I) but for a constant, with f a layer of
 * the discriminator, x̃ the reconstruction, and v the variance of features of images: batch normalisation holds it at 1 in
 * the paper, and features that shrink would else say less and less. The decoder's is that misfit, weighted, and what the
 * discriminator says of reconstructions and of samples of the prior, in the form that does not saturate (Goodfellow et
 * al., 2014, section 3); the discriminator's is the cross-entropy of its answers.
 */
export function vaeGanObjective(model: Model, configuration: Configuration): Objective {
  const { optimiser, discriminator: settings } = configuration;
  const discriminator = discriminatorNetwork(model, configuration);
  // By their names, as a model whose weights start from another's has parameters of its own.
  const partOf = (network: string) => model.parameters.filter(({ name }) => name.startsWith(`${network}.`));
  return {
    parameters: [...model.parameters, ...discriminator.parameters],
    ...(model.classes !== undefined && { classes: model.classes }),
    losses: [
      { name: 'encoder', parameters: partOf('encoder'), optimiser },
      { name: 'decoder', parameters: partOf('decoder'), optimiser },
      {
        name: 'discriminator',
        parameters: discriminator.parameters,
        optimiser: discriminatorOptimiser(optimiser, settings),
      },
    ],
    noise: { z: [model.latentSize], prior: [model.latentSize] },
    schedules: { kl_weight: (step, totalSteps) => klWeight(configuration, step, totalSteps) },
    terms: ['loss', 'reconstruction', 'kl', FEATURE_MISFIT, DISCRIMINATION],
    build({ x, labels: label, noise, scheduled }, weights) {
      const { posterior, z, decode } = model.infer(x, weights, { noise: noise.z, label });
      const decoded = decode();
      const image = (from: Tensor) => discriminator.judge(model.mean(from, weights), weights);
      const real = discriminator.judge(x, weights);
      const reconstructed = image(decoded);
      const sampled = image(model.decode(noise.prior, weights, label));

      const kl = reduceMean(klTerm(model.prior, posterior, z, weights));
      const squares = reduceMean(reduceSum(square(sub(real.features, reconstructed.features)), [1]));
      const misfit = mul(div(squares, meanVariance(real.features)), 0.5);
      const fake = [reconstructed.logit, sampled.logit];
      const sum = (parts: readonly Tensor[]) => parts.reduce((total, part) => add(total, part));
      const discrimination = sum([neg(real.logit), ...fake].map((logit) => reduceMean(softplus(logit))));
      const judgement = sum(fake.map((logit) => reduceMean(softplus(neg(logit)))));

      const reconstruction = reduceMean(model.negativeLogLikelihood(x, decoded, weights));
      return {
        terms: {
          loss: add(reconstruction, kl),
          reconstruction,
          kl,
          [FEATURE_MISFIT]: misfit,
          [DISCRIMINATION]: discrimination,
        },
        losses: {
          encoder: add(mul(kl, scheduled.kl_weight), misfit),
          decoder: add(mul(misfit, settings.feature_weight), judgement),
          discriminator: discrimination,
        },
      };
    },
  };
}
