import { type Part, type Weights, withNoise } from '../nn/parameters.js';
import { add, mul } from '../onnx/ops.js';
import type { Configuration } from './configuration.js';
import type { Built, Objective } from './objective.js';
import { weightsKlWeight } from './schedules.js';

/** Of the term and the schedule of `withWeightDivergence`. */
export const WEIGHTS_KL = 'weights_kl';
const WEIGHT = 'weights_kl_weight';

export interface WeightDivergenceOptions {
  readonly dropout: Pick<Configuration['dropout'], 'weight' | 'warm_up_fraction'>;
  /** Of the training part. */
  readonly examples: number | undefined;
}

/**
 * An objective of weights that have a distribution: their noise joins each step, and their KL to the prior, which counts
 * once for all training examples, joins a loss as its share of one example (Kingma et al., 2015, eq. 3). The loss of
 * the examples is its mean, so that both are nats an example.
 * @param part what the noise and the KL are of; an objective of one without a distribution stays as it is
 * @param loss the name of the one that the KL joins
 * @throws {Error} where there is such a KL and `examples` is undefined
 */
export function withWeightDivergence(
  objective: Objective,
  part: Part,
  loss: string,
  { dropout, examples }: WeightDivergenceOptions,
): Objective {
  const { divergence } = part;
  if (divergence === undefined) return objective;
  if (examples === undefined) throw new Error('the KL term of weights needs the number of training examples');
  return {
    ...objective,
    noise: { ...objective.noise, ...part.noise },
    schedules: {
      ...objective.schedules,
      [WEIGHT]: (step, totalSteps) => weightsKlWeight(dropout, step, totalSteps),
    },
    terms: [...objective.terms, WEIGHTS_KL],
    build(inputs, weights: Weights): Built {
      const { terms, losses } = objective.build(inputs, withNoise(weights, inputs.noise));
      const kl = mul(divergence(weights), 1 / examples);
      const total = add(losses[loss], mul(kl, inputs.scheduled[WEIGHT]));
      return { terms: { ...terms, loss: total, [WEIGHTS_KL]: kl }, losses: { ...losses, [loss]: total } };
    },
  };
}
