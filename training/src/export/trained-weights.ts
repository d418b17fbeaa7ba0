import { RandomSource } from '@elbo/models';
import { type Examples, subset } from '../data/dataset.js';
import type { Engine } from '../engines/engine.js';
import { inputBatches } from '../evaluation/batches.js';
import { constantWeights, type WeightValues } from '../nn/parameters.js';
import { Graph } from '../onnx/graph.js';
import { float32 } from '../onnx/tensor.js';
import type { Configuration } from '../vae/configuration.js';
import { MIXTURE, type MixturePrior } from '../vae/mixture-prior.js';
import { labelInput, type Model } from '../vae/model.js';
import { fitGaussianMixture } from './gaussian-mixture.js';

/** Examples whose latents a mixture is fitted to, at most. */
const FITTED_EXAMPLES = 20_000;

/**
 * The weights of the model that is exported: a prior that was learned, or is fitted now, becomes the numbers of its
 * components.
 * @param model as it was trained, without noise, and @param weights of it
 * @param train what it was trained on
 */
export async function trainedWeights(
  engine: Engine,
  model: Model,
  weights: WeightValues,
  { configuration, train }: { readonly configuration: Configuration; readonly train: Examples },
): Promise<WeightValues> {
  const { prior, prior_components: components, latent_size: size, seed } = configuration;
  if (prior === 'standard-normal') return weights;
  const mixture =
    model.mixture === undefined
      ? fitGaussianMixture(await aggregateSamples(engine, model, weights, train, configuration), {
          components,
          size,
          seed,
        })
      : await componentsOf(engine, model.mixture, weights);
  return new Map(weights)
    .set(MIXTURE.logWeight, mixture.logWeight)
    .set(MIXTURE.mean, mixture.mean)
    .set(MIXTURE.logVariance, mixture.logVariance);
}

/** The numbers of a mixture's components: log weights [K], means and log variances [K, Z]. */
export async function componentsOf(
  engine: Engine,
  mixture: MixturePrior,
  weights: WeightValues,
): Promise<Record<'logWeight' | 'mean' | 'logVariance', Float32Array>> {
  const graph = new Graph('mixture');
  const { logWeight, mean, logVariance } = mixture.componentsOf(constantWeights(graph, weights));
  graph.output(logWeight, 'log_weight');
  graph.output(mean, 'mean');
  graph.output(logVariance, 'log_variance');
  const program = await engine.compile(graph);
  try {
    const outputs = await program.run({});
    return {
      logWeight: outputs.log_weight.data as Float32Array,
      mean: outputs.mean.data as Float32Array,
      logVariance: outputs.log_variance.data as Float32Array,
    };
  } finally {
    await program.release();
  }
}

/** A sample of z of each example, or of as many as suffice, of the first stochastic layer: [n, latent_size]. */
async function aggregateSamples(
  engine: Engine,
  model: Model,
  weights: WeightValues,
  train: Examples,
  { latent_size: size, seed }: Configuration,
): Promise<Float32Array> {
  const count = Math.min(train.count, FITTED_EXAMPLES);
  const random = RandomSource.derived(seed, 'aggregate');
  const examples = subset(train, random.permutation(train.count).subarray(0, count).sort());
  const graph = new Graph('latents');
  const x = graph.input('x', 'float32', ['N', ...model.inputShape]);
  const noise = graph.input('noise', 'float32', ['N', model.latentSize]);
  const label = labelInput(graph, model);
  graph.output(model.infer(x, constantWeights(graph, weights), { noise, label }).z, 'z');
  const program = await engine.compile(graph);
  const samples = new Float32Array(count * size);
  try {
    for await (const { start, end, feeds } of inputBatches(examples, model)) {
      const drawn = random.fillNormal(new Float32Array((end - start) * model.latentSize));
      const { z } = await program.run({ ...feeds, noise: float32(drawn, [end - start, model.latentSize]) });
      const rows = z.data as Float32Array;
      for (let i = start; i < end; i++) {
        const at = (i - start) * model.latentSize;
        samples.set(rows.subarray(at, at + size), i * size);
      }
    }
  } finally {
    await program.release();
  }
  return samples;
}
