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
    const size = model.latentSize;
    const sums = { mean: new Float64Array(size), square: new Float64Array(size), divergence: new Float64Array(size) };
    for await (const { x } of inputBatches(examples)) {
      const { mean, divergence } = await program.run({ x });
      for (let i = 0; i < mean.data.length; i++) {
        const value = Number(mean.data[i]);
        sums.mean[i % size] += value;
        sums.square[i % size] += value * value;
        sums.divergence[i % size] += Number(divergence.data[i]);
      }
    }
    const { count } = examples;
    const variances = sums.square.map((square, i) => square / count - (sums.mean[i] / count) ** 2);
    return {
      activeUnits: variances.filter((variance) => variance > ACTIVE_VARIANCE).length,
      klPerDimension: Array.from(sums.divergence, (sum) => sum / count),
    };
  } finally {
    await program.release();
  }
}
