import { STEP_METRICS, type StepMetric } from '@elbo/training/trainer/training-graph';
import type { Turn } from './contenders.js';

/**
 * Contenders that compute the same thing differ by rounding alone. The first step shows it of every term and of the
 * gradients; later losses show it of the updates, until rounding has grown too far.
 */
export const COMPARED_STEPS = 20;
export const TOLERANCE = 1e-4;

/** Relative differences between two contenders. */
export interface Differences {
  readonly first_step: Readonly<Record<StepMetric, number>>;
  /** Largest over the first COMPARED_STEPS. */
  readonly loss: number;
}

export function differences(ours: Turn, theirs: Turn): Differences {
  const relative = (metric: StepMetric, step: number) =>
    Math.abs(theirs.metrics[metric][step] / ours.metrics[metric][step] - 1);
  const firstStep = STEP_METRICS.map((metric) => [metric, relative(metric, 0)]);
  return {
    first_step: Object.fromEntries(firstStep) as Record<StepMetric, number>,
    loss: Math.max(...Array.from({ length: COMPARED_STEPS }, (_, step) => relative('loss', step))),
  };
}

/** False where a difference is not a number. */
export function agree({ first_step, loss }: Differences): boolean {
  return [...Object.values(first_step), loss].every((difference) => difference <= TOLERANCE);
}
