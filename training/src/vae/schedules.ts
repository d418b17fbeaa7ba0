import type { Configuration } from './configuration.js';

/**
 * Weight of the KL term at a step (from 0) of a run of `totalSteps`: a straight rise from 0 to beta (Sønderby et al.,
 * 2016), once or in every cycle (Fu et al., 2019).
 */
export function klWeight(configuration: Configuration, step: number, totalSteps: number): number {
  const { beta, kl_cycles: cycles } = configuration.objective;
  const cycle = totalSteps / cycles;
  return beta * rising(configuration.kl_warm_up_fraction * cycle, step % cycle);
}

/**
 * Weight of the KL term of weights with a distribution, at a step (from 0) of a run of `totalSteps`: a straight rise, so
 * that weights learn before noise drowns them (Molchanov et al., 2017, section 5.1; Sønderby et al., 2016).
 */
export function weightsKlWeight(
  { weight, warm_up_fraction }: Pick<Configuration['dropout'], 'weight' | 'warm_up_fraction'>,
  step: number,
  totalSteps: number,
): number {
  return weight * rising(warm_up_fraction * totalSteps, step);
}

/** Nats that the KL term is held at, at a step (from 0) of a run of `totalSteps` (Burgess et al., 2018, section 4.2). */
export function capacity({ objective }: Configuration, step: number, totalSteps: number): number {
  return objective.capacity * rising(objective.capacity_fraction * totalSteps, step);
}

/**
 * What the learning rate of every optimiser is multiplied by at a step (from 0) of a run of `totalSteps`: the schedule, times a straight rise at the start (Goyal et
 * al., 2017). Cosine: Loshchilov & Hutter, 2017, without restarts.
 */
export function learningRateFactor(
  configuration: Pick<Configuration, 'learning_rate_schedule'>,
  step: number,
  totalSteps: number,
): number {
  const { warm_up_fraction } = configuration.learning_rate_schedule;
  // The first step of a rise must move, too.
  const warmUp = rising(warm_up_fraction * totalSteps, step + 1);
  return warmUp * scheduled(configuration, step, totalSteps);
}

/** Part of the learning rate, from 0 to 1. */
function scheduled(
  { learning_rate_schedule: schedule }: Pick<Configuration, 'learning_rate_schedule'>,
  step: number,
  totalSteps: number,
): number {
  const done = Math.min(1, step / Math.max(1, totalSteps - 1));
  switch (schedule.kind) {
    case 'constant':
      return 1;
    case 'cosine':
      return schedule.final_fraction + (1 - schedule.final_fraction) * 0.5 * (1 + Math.cos(Math.PI * done));
    case 'linear':
      return 1 - (1 - schedule.final_fraction) * done;
    case 'step': {
      const passed = schedule.milestones.filter((milestone) => step >= milestone * totalSteps).length;
      return schedule.factor ** passed;
    }
  }
}

function rising(length: number, step: number): number {
  return length === 0 ? 1 : Math.min(1, step / length);
}
