import type { Examples } from '../data/dataset.js';
import type { Engine } from '../engines/engine.js';
import { constantWeights, type WeightValues } from '../nn/parameters.js';
import { Graph } from '../onnx/graph.js';
import { labelInput, type Model } from '../vae/model.js';
import { inputBatches } from './batches.js';

/** Of some consecutive examples, all [n, Z]. */
export interface PosteriorBatch {
  readonly mean: Float32Array;
  readonly logVariance: Float32Array;
  /** KL of each latent dimension to the prior, in nats; see `Prior`. */
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
  const constants = constantWeights(graph, weights);
  const { posterior } = model.infer(x, constants, { label: labelInput(graph, model) });
  graph.output(posterior.mean, 'mean');
  graph.output(posterior.logVariance, 'log_variance');
  graph.output(model.prior.divergencePerDimension(posterior, constants), 'divergence');
  const program = await engine.compile(graph);
  try {
    for await (const { feeds } of inputBatches(examples, model)) {
      const { mean, log_variance, divergence } = await program.run(feeds);
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
