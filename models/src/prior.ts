import { ModelStoreError } from './errors.js';
import { RandomSource } from './random.js';

/** K normals with diagonal covariances, by which the first Z latent dimensions are distributed. */
export interface LatentMixture {
  /** K */
  readonly components: number;
  /** Z */
  readonly dimensions: number;
  /** [K], with sum 1 */
  readonly weights: Float32Array;
  /** [K, Z] */
  readonly means: Float32Array;
  /** Standard deviations, [K, Z]. */
  readonly deviations: Float32Array;
}

/** The distribution that samples are decoded from; latent dimensions that no mixture is of are N(0, 1). */
export interface LatentPrior {
  readonly latentSize: number;
  readonly mixture?: LatentMixture;
}

/**
 * Draws from the prior, the same for the same seed; the first ones do not depend on how many are drawn.
 * @param seed an integer from 0 to 2^32 - 1
 * @param temperature of every normal: its standard deviation is multiplied by it
 * @returns [count, latentSize]
 */
export function drawLatents(
  { latentSize, mixture }: LatentPrior,
  count: number,
  seed: number,
  temperature = 1,
): Float32Array {
  const latents = new RandomSource(seed).fillNormal(new Float32Array(count * latentSize));
  for (let i = 0; i < latents.length; i++) latents[i] = (latents[i] as number) * temperature;
  if (mixture === undefined) return latents;
  const { dimensions, means, deviations } = mixture;
  const choice = RandomSource.derived(seed, 'components', 0);
  for (let i = 0; i < count; i++) {
    const component = chosen(mixture.weights, choice.uniform());
    for (let j = 0; j < dimensions; j++) {
      const [from, to] = [component * dimensions + j, i * latentSize + j];
      latents[to] = (means[from] as number) + (deviations[from] as number) * (latents[to] as number);
    }
  }
  return latents;
}

/**
 * Draws classes by their frequencies, the same for the same seed, independent of the latents of that seed; the first ones
 * do not depend on how many are drawn.
 * @param frequencies of the classes, with sum 1
 * @param seed an integer from 0 to 2^32 - 1
 * @returns class numbers, [count]
 */
export function drawLabels(frequencies: readonly number[], count: number, seed: number): number[] {
  const choice = RandomSource.derived(seed, 'labels', 0);
  return Array.from({ length: count }, () => chosen(frequencies, choice.uniform()));
}

/** The index whose part of 0 to 1 holds the number; never one of weight 0. */
function chosen(weights: Iterable<number>, uniform: number): number {
  let left = uniform;
  let last = 0;
  let index = 0;
  for (const weight of weights) {
    left -= weight;
    if (weight > 0) last = index;
    if (left < 0) return index;
    index++;
  }
  // Weights whose sum is a little less than 1 leave numbers that no part holds.
  return last;
}

/** `prior.f32`: weights, means, standard deviations; float32 little-endian, row-major. */
export function encodeMixture({ weights, means, deviations }: LatentMixture): Buffer {
  const numbers = [...weights, ...means, ...deviations];
  const bytes = Buffer.alloc(numbers.length * Float32Array.BYTES_PER_ELEMENT);
  for (const [i, value] of numbers.entries()) bytes.writeFloatLE(value, i * Float32Array.BYTES_PER_ELEMENT);
  return bytes;
}

/**
 * @throws {ModelStoreError} FILE_CORRUPT where the bytes are not such a mixture
 */
export function decodeMixture(
  bytes: Buffer,
  { components, dimensions }: Pick<LatentMixture, 'components' | 'dimensions'>,
): LatentMixture {
  const expected = components * (1 + 2 * dimensions) * Float32Array.BYTES_PER_ELEMENT;
  if (bytes.length !== expected) {
    throw new ModelStoreError(
      'FILE_CORRUPT',
      `the prior has ${bytes.length} bytes; expected ${expected}: weights, means and deviations of ${components} components of ${dimensions} dimensions`,
    );
  }
  const numbers = Float32Array.from({ length: bytes.length / Float32Array.BYTES_PER_ELEMENT }, (_, i) =>
    bytes.readFloatLE(i * Float32Array.BYTES_PER_ELEMENT),
  );
  const size = components * dimensions;
  const mixture = {
    components,
    dimensions,
    weights: numbers.subarray(0, components),
    means: numbers.subarray(components, components + size),
    deviations: numbers.subarray(components + size),
  };
  const total = mixture.weights.reduce((sum, weight) => sum + weight, 0);
  const isMixture =
    numbers.every(Number.isFinite) &&
    mixture.weights.every((weight) => weight >= 0) &&
    Math.abs(total - 1) < 1e-3 &&
    mixture.deviations.every((deviation) => deviation >= 0);
  if (!isMixture) {
    throw new ModelStoreError(
      'FILE_CORRUPT',
      'the prior is no mixture; expected finite numbers, weights of at least 0 with sum 1, and deviations of at least 0',
    );
  }
  return mixture;
}
