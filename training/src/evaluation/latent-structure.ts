import type { Examples } from '../data/dataset.js';
import type { Engine } from '../engines/engine.js';
import type { WeightValues } from '../nn/parameters.js';
import type { Model } from '../vae/model.js';
import { posteriors } from './posteriors.js';

/** A dimension is active where the variance of its posterior mean over the data is above this (Burda et al., 2016). */
export const ACTIVE_VARIANCE = 0.01;

export interface LatentStructure {
  readonly activeUnits: number;
  /** Mean KL(q(z_i | x) ‖ p(z_i)) in nats: [Z]. */
  readonly klPerDimension: readonly number[];
}

/** Gathers over batches which latent dimensions a model uses, and how much each tells about the examples. */
export class LatentUse {
  readonly #size: number;
  readonly #mean: Float64Array;
  readonly #square: Float64Array;
  readonly #divergence: Float64Array;
  #count = 0;

  constructor(latentSize: number) {
    this.#size = latentSize;
    this.#mean = new Float64Array(latentSize);
    this.#square = new Float64Array(latentSize);
    this.#divergence = new Float64Array(latentSize);
  }

  /** @param mean of the posteriors and @param divergence from the prior, each [N, Z] */
  add(mean: ArrayLike<number>, divergence: ArrayLike<number>): void {
    for (let i = 0; i < mean.length; i++) {
      const dimension = i % this.#size;
      this.#mean[dimension] += mean[i];
      this.#square[dimension] += mean[i] * mean[i];
      this.#divergence[dimension] += divergence[i];
    }
    this.#count += mean.length / this.#size;
  }

  get structure(): LatentStructure {
    const variances = this.#square.map((square, i) => square / this.#count - (this.#mean[i] / this.#count) ** 2);
    return {
      activeUnits: variances.filter((variance) => variance > ACTIVE_VARIANCE).length,
      klPerDimension: Array.from(this.#divergence, (sum) => sum / this.#count),
    };
  }
}

/** Which latent dimensions a model uses on the given examples, and how much each tells about them. */
export async function latentStructure(
  engine: Engine,
  model: Model,
  weights: WeightValues,
  examples: Examples,
): Promise<LatentStructure> {
  const use = new LatentUse(model.latentSize);
  for await (const { mean, divergence } of posteriors(engine, model, weights, examples)) use.add(mean, divergence);
  return use.structure;
}
