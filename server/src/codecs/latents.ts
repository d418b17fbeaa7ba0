import { CodecError } from './errors.js';
import { named, numbersFromJson } from './numbers.js';

/**
 * `latents` of a JSON body: arrays of `size` finite numbers.
 * @returns N x size
 * @throws {CodecError} INVALID_INPUT, naming the element
 */
export function latentsFromJson(latents: readonly unknown[], size: number): Float32Array {
  const data = new Float32Array(latents.length * size);
  for (const [i, latent] of latents.entries()) {
    decodeLatent(latent, `latents[${i}]`, data.subarray(i * size, (i + 1) * size));
  }
  return data;
}

/**
 * Writes one latent given as JSON.
 * @param target as long as a latent
 * @throws {CodecError} INVALID_INPUT, naming the element
 */
export function decodeLatent(latent: unknown, field: string, target: Float32Array): void {
  if (!Array.isArray(latent)) {
    throw new CodecError(
      'INVALID_INPUT',
      `${field} is ${named(latent)}; expected an array of ${target.length} numbers`,
    );
  }
  numbersFromJson(latent, field, { shape: [target.length] }, target);
}
