import type { WeightsSummary } from '../nn/sparsity.js';
import { WEIGHTS_KL } from '../vae/weight-divergence.js';

// What progress says of weights with a distribution; nothing where there are none.

export function ofWeights(metrics: Readonly<Record<string, number>>): string {
  return WEIGHTS_KL in metrics ? ` · KL of weights ${metrics[WEIGHTS_KL].toFixed(3)}` : '';
}

export function describeWeights(weights: WeightsSummary | undefined): string {
  if (weights === undefined) return '';
  const { kl, nonZero, total } = weights;
  return `, ${nonZero} of ${total} weights left (KL ${kl.toFixed(3)} an example)`;
}
