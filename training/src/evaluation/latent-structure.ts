import { quantileSorted } from 'simple-statistics';
import type { Examples } from '../data/dataset.js';
import type { Engine } from '../engines/engine.js';
import type { WeightValues } from '../nn/parameters.js';
import type { Model } from '../vae/model.js';
import { AggregatePosteriorEstimator, type LatentMoments } from './aggregate-posterior.js';
import { posteriors } from './posteriors.js';

/** A dimension is active where the variance of its posterior mean over the data is above this (Burda et al., 2016). */
export const ACTIVE_VARIANCE = 0.01;

/** A traversal of a dimension goes from the first to the second of these quantiles of its posterior means. */
const TRAVERSAL_QUANTILES = [0.01, 0.99] as const;
/** Examples that the quantiles are taken of at the most, at even distances: bounds the memory. */
const QUANTILE_EXAMPLES = 10_000;

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

/** What examples make of a latent space. */
export interface LatentDescription extends LatentStructure {
  /** Examples that it was measured on. */
  readonly count: number;
  readonly moments: LatentMoments;
  /** Lowest and highest posterior mean of each dimension, but for one in a hundred at either end: [Z]. */
  readonly traversalRanges: readonly (readonly [low: number, high: number])[];
}

/** Which latent dimensions a model uses on the given examples, how much each tells about them, and where they lie. */
export async function describeLatent(
  engine: Engine,
  model: Model,
  weights: WeightValues,
  examples: Examples,
): Promise<LatentDescription> {
  const size = model.latentSize;
  const use = new LatentUse(size);
  const estimator = new AggregatePosteriorEstimator(size);
  const stride = Math.ceil(examples.count / QUANTILE_EXAMPLES);
  const kept = Array.from({ length: size }, (): number[] => []);
  let count = 0;
  for await (const { mean, logVariance, divergence } of posteriors(engine, model, weights, examples)) {
    use.add(mean, divergence);
    estimator.add(mean, logVariance);
    for (let row = 0; row * size < mean.length; row++, count++) {
      if (count % stride === 0) for (let j = 0; j < size; j++) kept[j].push(mean[row * size + j]);
    }
  }
  const traversalRanges = kept.map((means) => {
    means.sort((a, b) => a - b);
    const [low, high] = TRAVERSAL_QUANTILES.map((share) => quantileSorted(means, share));
    return [low, high] as const;
  });
  return { ...use.structure, count, moments: estimator.moments(), traversalRanges };
}
