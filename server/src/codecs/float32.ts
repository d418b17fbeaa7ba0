import type { NumbersDescription } from '@elbo/models';
import { CodecError } from './errors.js';
import { checkNumbers } from './numbers.js';

/**
 * Little-endian float32, whole items one after another.
 * @returns N x shape, over memory of its own
 * @throws {CodecError} INVALID_INPUT for a length that isn't a whole number of items, or a number out of range
 */
export function numbersFromFloat32(bytes: Uint8Array, description: NumbersDescription): Float32Array {
  const size = description.shape.reduce((product, dimension) => product * dimension, 1);
  if (bytes.byteLength === 0 || bytes.byteLength % (size * 4) !== 0) {
    throw new CodecError(
      'INVALID_INPUT',
      `the body has ${bytes.byteLength} bytes; expected a multiple of ${size * 4} (${description.shape.join('x')} float32 an item)`,
    );
  }
  // Node runs on little-endian machines only, where these bytes are a Float32Array as they are.
  const data = new Float32Array(bytes.byteLength / 4);
  new Uint8Array(data.buffer).set(bytes);
  checkNumbers(data, 'body', description);
  return data;
}

/** The numbers as little-endian float32, without a copy. */
export function float32FromNumbers(data: Float32Array): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}
