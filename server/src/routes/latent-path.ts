export const PATHS = ['linear', 'spherical'] as const;
export type Path = (typeof PATHS)[number];

/** Angles whose sine is less decide nothing: vectors in one direction or in opposite ones span no plane. */
const MIN_SINE = 1e-6;

/**
 * Latents from one to another, both ends included and as they are. The spherical path turns the direction evenly and so
 * keeps to the shell where latents of many dimensions lie, which the straight one leaves (Shoemake, 1985); it is the straight
 * one where no plane has both ends, as where one is the opposite of the other.
 * @param from [Z]
 * @param to [Z]
 * @param steps at least 2
 * @returns steps x Z
 */
export function latentPath(from: Float32Array, to: Float32Array, steps: number, path: Path): Float32Array {
  const weights = path === 'spherical' ? sphericalWeights(from, to) : linearWeights;
  const size = from.length;
  const data = new Float32Array(steps * size);
  for (let step = 0; step < steps; step++) {
    const [a, b] = weights(step / (steps - 1));
    for (let i = 0; i < size; i++) data[step * size + i] = a * (from[i] ?? 0) + b * (to[i] ?? 0);
  }
  data.set(from, 0);
  data.set(to, (steps - 1) * size);
  return data;
}

type Weights = (place: number) => readonly [number, number];

const linearWeights: Weights = (place) => [1 - place, place];

function sphericalWeights(from: Float32Array, to: Float32Array): Weights {
  const cosine = dot(from, to) / Math.sqrt(dot(from, from) * dot(to, to));
  const angle = Math.acos(Math.max(-1, Math.min(1, cosine)));
  const sine = Math.sin(angle);
  // Not a number where an end is the origin.
  if (!(sine > MIN_SINE)) return linearWeights;
  return (place) => [Math.sin((1 - place) * angle) / sine, Math.sin(place * angle) / sine];
}

function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);
}
