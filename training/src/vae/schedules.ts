import type { Configuration } from './configuration.js';

/** Weight of the KL term at a step (from 0) of a run of `totalSteps`: a straight rise from 0 to 1 (Sønderby et al., 2016). */
export function klWeight(configuration: Configuration, step: number, totalSteps: number): number {
  const rise = configuration.kl_warm_up_fraction * totalSteps;
  return rise === 0 ? 1 : Math.min(1, step / rise);
}

/** Learning rate at a step (from 0) of a run of `totalSteps`. Cosine: Loshchilov & Hutter, 2017, without restarts. */
export function learningRate(configuration: Configuration, step: number, totalSteps: number): number {
  const { learning_rate } = configuration.optimiser;
  const { kind, final_fraction } = configuration.learning_rate_schedule;
  switch (kind) {
    case 'constant':
      return learning_rate;
    case 'cosine': {
      const done = Math.min(1, step / Math.max(1, totalSteps - 1));
      return learning_rate * (final_fraction + (1 - final_fraction) * 0.5 * (1 + Math.cos(Math.PI * done)));
    }
  }
}
