import type { Examples } from '../data/dataset.js';
import type { Engine } from '../engines/engine.js';
import type { WeightValues } from '../nn/parameters.js';
import type { Model } from '../vae/model.js';
import { posteriors } from './posteriors.js';

/** Neighbours that vote on the class of an example, and examples that are classified, where nothing else is asked for. */
export const NEIGHBOURS = 5;
export const QUERIES = 2000;

/** Examples as a model embeds them: their posterior means. */
export interface Embedding {
  readonly count: number;
  /** Latent dimensions. */
  readonly size: number;
  /** [count, size], row-major. */
  readonly means: Float32Array;
}

export async function embed(
  engine: Engine,
  model: Model,
  weights: WeightValues,
  examples: Examples,
): Promise<Embedding> {
  const size = model.latentSize;
  const means = new Float32Array(examples.count * size);
  let at = 0;
  for await (const { mean } of posteriors(engine, model, weights, examples)) {
    means.set(mean, at);
    at += mean.length;
  }
  return { count: examples.count, size, means };
}

/**
 * How many of the first examples have the class that most of their nearest neighbours among all other examples have,
 * by Euclidean distance of the embeddings; of classes with as many, the nearest neighbour's.
 * @param labels class of each example, [count]
 * @param queries examples that are classified at the most: the cost is queries · count · size
 * @returns a share from 0 to 1
 */
export function nearestNeighbourAccuracy(
  { count, size, means }: Embedding,
  labels: ArrayLike<number>,
  { neighbours = NEIGHBOURS, queries = QUERIES } = {},
): number {
  const asked = Math.min(queries, count);
  let right = 0;
  for (let query = 0; query < asked; query++) {
    const nearest: { distance: number; label: number }[] = [];
    for (let other = 0; other < count; other++) {
      if (other === query) continue;
      let distance = 0;
      for (let j = 0; j < size; j++) distance += (means[query * size + j] - means[other * size + j]) ** 2;
      if (nearest.length === neighbours && distance >= nearest[neighbours - 1].distance) continue;
      const at = nearest.findIndex((known) => known.distance > distance);
      nearest.splice(at === -1 ? nearest.length : at, 0, { distance, label: labels[other] });
      nearest.length = Math.min(nearest.length, neighbours);
    }
    if (mostCommon(nearest.map(({ label }) => label)) === labels[query]) right++;
  }
  return right / asked;
}

/** The first of those that come most often. */
function mostCommon(labels: readonly number[]): number | undefined {
  const counts = new Map<number, number>();
  for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  const most = Math.max(...counts.values());
  return labels.find((label) => counts.get(label) === most);
}
