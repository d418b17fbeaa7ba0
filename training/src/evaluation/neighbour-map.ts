import { setImmediate } from 'node:timers/promises';
import type { RandomSource } from '@elbo/models';
import { UMAP } from 'umap-js';

/** Neighbours of a point that the map is to keep near it: the default of UMAP. */
const NEIGHBOURS = 15;

/** Fewer points that differ have too few neighbours to be a map of. */
const MINIMUM_POINTS = 20;

/** Between two looks at whatever else is to be done. */
const EPOCHS_A_TURN = 5;

/**
 * A plane on which points that are near each other stay so (UMAP; McInnes, Healy & Melville, 2018). Distances between those
 * that are far apart mean little. Equal points have one place.
 * @param rows [n, size], row-major, finite
 * @param random decides the map: the same numbers give the same one
 * @returns x, y of each point in turn, [n, 2]; undefined where fewer than 20 of the points differ
 */
export async function neighbourMap(
  rows: Float32Array,
  size: number,
  random: RandomSource,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<Float64Array | undefined> {
  // UMAP has no use for the same point twice, and takes minutes over thousands of them.
  const places = new Map<string, number>();
  const points: number[][] = [];
  const placeOf = Int32Array.from({ length: rows.length / size }, (_, i) => {
    const point = Array.from(rows.subarray(i * size, (i + 1) * size));
    const key = point.join();
    const known = places.get(key);
    if (known !== undefined) return known;
    places.set(key, points.length);
    return points.push(point) - 1;
  });
  if (points.length < MINIMUM_POINTS) return undefined;
  const umap = new UMAP({ nNeighbors: NEIGHBOURS, random: () => random.uniform() });
  const epochs = umap.initializeFit(points);
  for (let epoch = 0; epoch < epochs; epoch++) {
    umap.step();
    if ((epoch + 1) % EPOCHS_A_TURN !== 0) continue;
    onProgress(epoch + 1, epochs);
    await setImmediate();
  }
  const embedding = umap.getEmbedding();
  return Float64Array.from({ length: 2 * placeOf.length }, (_, i) => embedding[placeOf[i >> 1]][i % 2]);
}
