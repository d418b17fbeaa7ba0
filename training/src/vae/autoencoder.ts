import { reduceMean } from '../onnx/ops.js';
import type { Configuration } from './configuration.js';
import type { Model } from './model.js';
import type { Objective } from './objective.js';
import { withPlantedDefects } from './planted-defects.js';
import { withWeightDivergence } from './weight-divergence.js';

/** Name of the loss. */
const RECONSTRUCTION = 'reconstruction';

/**
 * The objective of an autoencoder: −log p(x | z) with z the encoder's mean, its mean over the examples, in nats
 * (Hinton & Salakhutdinov, 2006).
 * @param trainExamples how many there are, of which the KL term of weights counts once
 */
export function autoencoderObjective(model: Model, configuration: Configuration, trainExamples?: number): Objective {
  const { dropout, objective, optimiser } = configuration;
  const ofExamples: Objective = {
    parameters: model.parameters,
    losses: [{ name: RECONSTRUCTION, parameters: model.parameters.filter(({ trainable }) => trainable), optimiser }],
    noise: {},
    ...(model.classes !== undefined && { classes: model.classes }),
    schedules: {},
    terms: ['loss', 'reconstruction'],
    build({ x, seen = x, labels: label }, weights) {
      const { decode } = model.infer(seen, weights, { label });
      const loss = reduceMean(model.negativeLogLikelihood(x, decode(), weights));
      return { terms: { loss, reconstruction: loss }, losses: { [RECONSTRUCTION]: loss } };
    },
  };
  const ofWeights = withWeightDivergence(ofExamples, model, RECONSTRUCTION, { dropout, examples: trainExamples });
  return withPlantedDefects(ofWeights, model, objective.planted_defects);
}
