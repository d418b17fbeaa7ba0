import type { Latent } from '@elbo/models';

/** A latent dimension as the page lists it. */
export interface Dimension {
  readonly index: number;
  /** Mean KL(q(z_i | x) ‖ p(z_i)) over the validation part, in nats. */
  readonly kl: number;
  readonly isActive: boolean;
}

/**
 * All latent dimensions, those that tell most about an example first.
 * @param active of each dimension, where examples were seen; else as many as the manifest counts are taken, by their KL
 */
export function sortedDimensions(latent: Latent, active?: readonly boolean[]): Dimension[] {
  return latent.kl_per_dimension
    .map((kl, index) => ({ kl, index }))
    .sort((a, b) => b.kl - a.kl || a.index - b.index)
    .map(({ kl, index }, rank) => ({ kl, index, isActive: active?.[index] ?? rank < latent.active_units }));
}
