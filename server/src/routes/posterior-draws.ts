import { RandomSource } from '@elbo/models';
import type { Encoding } from '../inference/service.js';

/** Draws from posteriors, which may come in parts: the draws are those of all of them at once. */
export class PosteriorDraws {
  readonly #random: RandomSource;
  /** Normals come in pairs. */
  #spare: number | undefined;

  constructor(seed: number) {
    this.#random = new RandomSource(seed);
  }

  /** mean + exp(log_variance / 2) * noise, N x Z */
  next({ mean, logVariance }: Encoding): Float32Array {
    return this.#noise(mean.length).map((value, i) => (mean[i] ?? 0) + Math.exp((logVariance[i] ?? 0) / 2) * value);
  }

  #noise(count: number): Float32Array {
    const kept = this.#spare === undefined ? [] : [this.#spare];
    const missing = Math.max(0, count - kept.length);
    const drawn = this.#random.fillNormal(new Float32Array(missing + (missing % 2)));
    const noise = new Float32Array(count);
    noise.set(kept.slice(0, count));
    noise.set(drawn.subarray(0, missing), count - missing);
    if (count > 0) this.#spare = missing % 2 === 1 ? drawn[missing] : undefined;
    return noise;
  }
}
