import type { NumbersDescription } from '@elbo/models';
import { CodecError } from './errors.js';
import { checkNumbers } from './numbers.js';

/**
 * Little-endian float32, whole items one after another.
 * @returns N x shape, over the memory of the bytes where a Float32Array can lie there
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
  const { buffer, byteOffset } = isAligned(bytes) ? bytes : new Uint8Array(bytes);
  const data = new Float32Array(buffer, byteOffset, bytes.byteLength / 4);
  checkNumbers(data, 'body', description);
  return data;
}

function isAligned({ byteOffset }: Uint8Array): boolean {
  return byteOffset % Float32Array.BYTES_PER_ELEMENT === 0;
}

/** The numbers as little-endian float32, without a copy. */
export function float32FromNumbers(data: Float32Array): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}
