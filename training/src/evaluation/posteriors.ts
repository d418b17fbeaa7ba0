import type { Examples } from '../data/dataset.js';
import type { Engine } from '../engines/engine.js';
import { constantWeights, type WeightValues } from '../nn/parameters.js';
import { Graph } from '../onnx/graph.js';
import type { Model } from '../vae/model.js';
import { inputBatches } from './batches.js';

/** Of some consecutive examples, all [n, Z]. */
export interface PosteriorBatch {
  readonly mean: Float32Array;
  readonly logVariance: Float32Array;
  /** KL(q(z_i | x) ‖ p(z_i)) in nats. */
  readonly divergence: Float32Array;
}

/** The posteriors of all examples in order, a batch at a time. */
export async function* posteriors(
  engine: Engine,
  model: Model,
  weights: WeightValues,
  examples: Examples,
): AsyncGenerator<PosteriorBatch> {
  const graph = new Graph('posteriors');
  const x = graph.input('x', 'float32', ['N', ...model.inputShape]);
  const posterior = model.encode(x, constantWeights(graph, weights));
  graph.output(posterior.mean, 'mean');
  graph.output(posterior.logVariance, 'log_variance');
  graph.output(model.prior.divergence(posterior), 'divergence');
  const program = await engine.compile(graph);
  try {
    for await (const { x } of inputBatches(examples)) {
      const { mean, log_variance, divergence } = await program.run({ x });
      yield {
        mean: mean.data as Float32Array,
        logVariance: log_variance.data as Float32Array,
        divergence: divergence.data as Float32Array,
      };
    }
  } finally {
    await program.release();
  }
}
