import { conformalPValue } from '@elbo/models';
import { variance as populationVariance } from 'simple-statistics';
import { type Dataset, type Examples, take } from '../data/dataset.js';
import { openExamples } from '../data/example-reader.js';
import { AggregatePosteriorEstimator } from '../evaluation/aggregate-posterior.js';
import { inputBatches, unitInterval } from '../evaluation/batches.js';
import { ACTIVE_VARIANCE } from '../evaluation/latent-structure.js';
import type { ServedModel } from '../offline/served-model.js';

/** What a model makes of held-out examples. */
export interface Observations {
  readonly dataset: Dataset;
  /** The part of the test examples that was looked at: the first ones. */
  readonly examples: Examples;
  /** Posterior means [n, Z]. */
  readonly means: Float32Array;
  /** Anomaly scores [n] and their conformal p-values. */
  readonly scores: Float32Array;
  readonly pValues: Float64Array;
  /** Of q(z), the mixture of all posteriors: mean [Z], covariance [Z, Z], row-major. */
  readonly aggregate: { readonly mean: Float64Array; readonly covariance: Float64Array };
  /** Whether each latent dimension is active: the variance of its posterior mean over the examples says so. */
  readonly active: readonly boolean[];
}

/** Runs the encoder and the scorer over the first `limit` test examples. */
export async function observe(
  model: ServedModel,
  calibrationScores: Float32Array,
  dataset: Dataset,
  limit: number,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<Observations> {
  const examples = take(dataset.test, limit);
  const size = model.manifest.latent.size;
  const means = new Float32Array(examples.count * size);
  const scores = new Float32Array(examples.count);
  const estimator = new AggregatePosteriorEstimator(size);
  for await (const { start, end, feeds } of inputBatches(examples, model)) {
    const posterior = await model.encode(feeds);
    estimator.add(posterior.means, posterior.logVariances);
    means.set(posterior.means, start * size);
    scores.set((await model.score(feeds)).scores, start);
    onProgress(end, examples.count);
  }
  return {
    dataset,
    examples,
    means,
    scores,
    pValues: Float64Array.from(scores, (score) =>
      Number.isNaN(score) ? Number.NaN : conformalPValue(calibrationScores, score),
    ),
    aggregate: estimator.moments(),
    active: Array.from({ length: size }, (_, i) => populationVariance(column(means, size, i)) > ACTIVE_VARIANCE),
  };
}

/** Column `j` of rows of `size` numbers. */
export function column(rows: Float32Array, size: number, j: number): number[] {
  return Array.from({ length: rows.length / size }, (_, i) => rows[i * size + j]);
}

/** The examples at `indices` as the graphs take them, each of the size of an input. */
export async function readItems(examples: Examples, indices: readonly number[]): Promise<Float32Array[]> {
  const reader = await openExamples(examples);
  try {
    const values = unitInterval(await reader.read(indices));
    const size = values.length / indices.length;
    return indices.map((_, i) => values.subarray(i * size, (i + 1) * size));
  } finally {
    await reader.close();
  }
}
