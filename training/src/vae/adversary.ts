import type { OptimiserConfiguration } from './configuration.js';

/** What a discriminator learns by. */
export type Learning = Pick<OptimiserConfiguration, 'learning_rate' | 'beta1' | 'beta2'>;

/** Adam for a discriminator, with the limits of the gradient that the model's optimiser has. */
export function discriminatorOptimiser(
  ofModel: OptimiserConfiguration,
  { learning_rate, beta1, beta2 }: Learning,
): OptimiserConfiguration {
  return { ...ofModel, kind: 'adam', momentum: 0, weight_decay: 0, learning_rate, beta1, beta2 };
}
