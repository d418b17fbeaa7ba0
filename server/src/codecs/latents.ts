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
    if (!Array.isArray(latent)) {
      throw new CodecError('INVALID_INPUT', `latents[${i}] is ${named(latent)}; expected an array of ${size} numbers`);
    }
    numbersFromJson(latent, `latents[${i}]`, { shape: [size] }, data.subarray(i * size, (i + 1) * size));
  }
  return data;
}
