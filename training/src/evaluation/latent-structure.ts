import type { Engine } from '../engines/engine.js';
import { constantWeights, type WeightValues } from '../nn/parameters.js';
import { Graph } from '../onnx/graph.js';
import type { Model } from '../vae/model.js';
import { type ByteExamples, runOverExamples } from './batches.js';

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
  examples: ByteExamples,
): Promise<LatentStructure> {
  const graph = new Graph('latent_structure');
  const x = graph.input('x', 'float32', ['N', ...model.inputShape]);
  const posterior = model.encode(x, constantWeights(graph, weights));
  graph.output(posterior.mean, 'mean');
  graph.output(model.prior.divergence(posterior), 'divergence');
  const program = await engine.compile(graph);
  try {
    const { mean, divergence } = await runOverExamples(program, model.inputShape, examples, ['mean', 'divergence']);
    const moments = columnMoments(mean, model.latentSize);
    return {
      activeUnits: moments.filter(({ variance }) => variance > ACTIVE_VARIANCE).length,
      klPerDimension: columnMoments(divergence, model.latentSize).map((column) => column.mean),
    };
  } finally {
    await program.release();
  }
}

function columnMoments(values: Float32Array, columns: number): { mean: number; variance: number }[] {
  const count = values.length / columns;
  return Array.from({ length: columns }, (_, column) => {
    let mean = 0;
    for (let i = column; i < values.length; i += columns) mean += values[i] / count;
    let variance = 0;
    for (let i = column; i < values.length; i += columns) variance += (values[i] - mean) ** 2 / count;
    return { mean, variance };
  });
}
