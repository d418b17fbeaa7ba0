import type { Model } from './model.js';
import { PlaneIndex } from './plane-index.js';
import { codeOf, type Points } from './points.js';

/** Latents on a plane, and what latent stands at a place of it. */
export interface Projection {
  /** x and y of each point in turn; y grows upwards. */
  readonly places: Float32Array;
  readonly index: PlaneIndex;
  readonly horizontal: string;
  readonly vertical: string;
  /** In words: how a latent is found at a place. */
  readonly explanation: string;
  readonly latentAt: (x: number, y: number) => Float32Array;
}

export type ProjectionKind = 'umap' | 'components' | 'dimensions';

/** Neighbours that a latent on a UMAP is a mean of. */
const NEIGHBOURS = 6;

/** UMAP keeps neighbourhoods and has no inverse, so a latent between points is a mean of theirs, by inverse distance. */
export function umapProjection(points: Points, map: Float32Array): Projection {
  // Files count rows downwards.
  const places = map.map((value, i) => (i % 2 === 0 ? value : 1 - value));
  const index = new PlaneIndex(places);
  return {
    places,
    index,
    horizontal: 'UMAP 1',
    vertical: 'UMAP 2',
    explanation: 'the mean of the six nearest points, weighted by inverse distance',
    latentAt: (x, y) => {
      const near = index.nearest(x, y, NEIGHBOURS);
      const latent = new Float32Array(points.codes.length / points.count);
      const total = near.reduce((sum, { distance }) => sum + 1 / (distance + 1e-6), 0);
      for (const { point, distance } of near) {
        const weight = 1 / (distance + 1e-6) / total;
        const code = codeOf(points, point);
        for (let i = 0; i < latent.length; i++) latent[i] = (latent[i] ?? 0) + weight * (code[i] ?? 0);
      }
      return latent;
    },
  };
}

export function componentsProjection(points: Points, plane: NonNullable<Points['plane']>): Projection {
  const { mean, explained } = plane;
  const axes = plane.axes as readonly (readonly number[])[];
  const [across = [], up = []] = axes;
  const places = new Float32Array(2 * points.count);
  for (let point = 0; point < points.count; point++) {
    const code = codeOf(points, point);
    for (let i = 0; i < mean.length; i++) {
      const centred = (code[i] ?? 0) - (mean[i] ?? 0);
      places[2 * point] = (places[2 * point] ?? 0) + centred * (across[i] ?? 0);
      places[2 * point + 1] = (places[2 * point + 1] ?? 0) + centred * (up[i] ?? 0);
    }
  }
  const share = (part: number | undefined) => `${Math.round(100 * (part ?? 0))} % of variance`;
  return {
    places,
    index: new PlaneIndex(places),
    horizontal: `component 1, ${share(explained[0])}`,
    vertical: `component 2, ${share(explained[1])}`,
    explanation: 'the point of the plane of both principal components, exactly',
    latentAt: (x, y) => Float32Array.from(mean, (value, i) => value + x * (across[i] ?? 0) + y * (up[i] ?? 0)),
  };
}

export function dimensionsProjection(
  points: Points,
  model: Model,
  x: number,
  y: number,
  names: [string, string],
): Projection {
  const size = model.latentSize;
  const mean = new Float32Array(size);
  const places = new Float32Array(2 * points.count);
  for (let point = 0; point < points.count; point++) {
    const code = codeOf(points, point);
    for (let i = 0; i < size; i++) mean[i] = (mean[i] ?? 0) + (code[i] ?? 0) / points.count;
    places[2 * point] = code[x] ?? 0;
    places[2 * point + 1] = code[y] ?? 0;
  }
  return {
    places,
    index: new PlaneIndex(places),
    horizontal: names[0],
    vertical: names[1],
    explanation: 'these two dimensions as on the map, all others at their mean',
    latentAt: (across, up) => {
      const latent = mean.slice();
      latent[x] = across;
      latent[y] = up;
      return latent;
    },
  };
}
