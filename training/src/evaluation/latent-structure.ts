import type { Examples } from '../data/dataset.js';
import type { Engine } from '../engines/engine.js';
import { constantWeights, type WeightValues } from '../nn/parameters.js';
import { Graph } from '../onnx/graph.js';
import type { Model } from '../vae/model.js';
import { inputBatches } from './batches.js';

/** A dimension is active where the variance of its posterior mean over the data is above this (Burda et al., 2016). */
const ACTIVE_VARIANCE = 0.01;

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
  const graph = new Graph('latent_structure');
  const x = graph.input('x', 'float32', ['N', ...model.inputShape]);
  const posterior = model.encode(x, constantWeights(graph, weights));
  graph.output(posterior.mean, 'mean');
  graph.output(model.prior.divergence(posterior), 'divergence');
  const program = await engine.compile(graph);
  try {
    const use = new LatentUse(model.latentSize);
    for await (const { x } of inputBatches(examples)) {
      const { mean, divergence } = await program.run({ x });
      use.add(mean.data as Float32Array, divergence.data as Float32Array);
    }
    return use.structure;
  } finally {
    await program.release();
  }
}
