import {
  MAX_NPY_HEADER_BYTES,
  NPY_MAGIC,
  type NpyDescription,
  NpyHeaderError,
  type NpyTypeName,
  type NumbersDescription,
  npyHeader,
  parseNpyDictionary,
} from '@elbo/models';
import { CodecError } from './errors.js';
import { float32FromNumbers } from './float32.js';
import { checkNumbers } from './numbers.js';

export interface NpyNumbers extends NumbersDescription {
  /** Bytes and bools are pixels, as in an image file: the least and the largest become the ends of `range`. */
  readonly pixels?: boolean;
}

type Values = ArrayLike<number> | ArrayLike<bigint>;

/** Values in the order of their bytes, which lie in memory of their own, little-endian. */
const VALUES: Readonly<Record<NpyTypeName, { readonly bytes: 1 | 2 | 4 | 8; of(memory: ArrayBuffer): Values }>> = {
  bool: { bytes: 1, of: (memory) => new Uint8Array(memory).map((value) => (value === 0 ? 0 : 1)) },
  int8: { bytes: 1, of: (memory) => new Int8Array(memory) },
  int16: { bytes: 2, of: (memory) => new Int16Array(memory) },
  int32: { bytes: 4, of: (memory) => new Int32Array(memory) },
  int64: { bytes: 8, of: (memory) => new BigInt64Array(memory) },
  uint8: { bytes: 1, of: (memory) => new Uint8Array(memory) },
  uint16: { bytes: 2, of: (memory) => new Uint16Array(memory) },
  uint32: { bytes: 4, of: (memory) => new Uint32Array(memory) },
  uint64: { bytes: 8, of: (memory) => new BigUint64Array(memory) },
  float16: { bytes: 2, of: (memory) => Float32Array.from(new Uint16Array(memory), halfToNumber) },
  float32: { bytes: 4, of: (memory) => new Float32Array(memory) },
  float64: { bytes: 8, of: (memory) => new Float64Array(memory) },
};

/** The largest value of the types that hold pixels. */
const LARGEST_PIXEL: Readonly<Partial<Record<NpyTypeName, number>>> = { uint8: 255, bool: 1 };

/**
 * A NumPy array, version 1 to 3 of the format, of any numeric type, byte order and index order: [N, …shape], or with each
 * item flat, or one item alone; leading dimensions of 1 in an item may be left out.
 * @returns N x shape, over memory of its own
 * @throws {CodecError} INVALID_INPUT for what is no such array, or is not of the length that it says, or has a number out
 *   of range
 */
export function numbersFromNpy(bytes: Uint8Array, description: NpyNumbers): Float32Array {
  const { header, start } = headerOf(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  const values = VALUES[header.type];
  const size = description.shape.reduce((product, dimension) => product * dimension, 1);
  const count = itemsIn(header.shape, description.shape, size);
  const expected = count * size * values.bytes;
  if (bytes.byteLength - start !== expected) {
    throw invalid(
      `the array has ${bytes.byteLength - start} bytes of values; expected ${expected} (${[...header.shape, header.type].join(' x ')})`,
    );
  }
  const memory = new ArrayBuffer(expected);
  const copy = Buffer.from(memory);
  copy.set(bytes.subarray(start));
  if (!header.littleEndian) swapBytes(copy, values.bytes);
  const data = float32Of(values.of(memory));
  const largest = description.pixels === true ? LARGEST_PIXEL[header.type] : undefined;
  if (largest !== undefined) {
    const [low, high] = description.range ?? [0, 1];
    const scale = (high - low) / largest;
    for (let i = 0; i < data.length; i++) data[i] = low + (data[i] ?? 0) * scale;
  }
  const ordered = header.fortranOrder ? rowMajor(data, header.shape) : data;
  checkNumbers(ordered, 'body', description);
  return ordered;
}

/** The numbers as a `.npy` file of float32, format version 1.0. */
export function npyFromNumbers(data: Float32Array, shape: readonly number[]): Buffer {
  return Buffer.concat([npyHeader('<f4', shape), float32FromNumbers(data)]);
}

function headerOf(bytes: Buffer): { header: NpyDescription; start: number } {
  const magic = Buffer.from(NPY_MAGIC);
  if (!bytes.subarray(0, magic.length).equals(magic)) {
    const found = bytes.length === 0 ? 'nothing' : `0x${bytes.toString('hex', 0, magic.length)}`;
    throw invalid(`the body begins with ${found}; expected 0x${magic.toString('hex')}, as every .npy array`);
  }
  const major = bytes[6];
  if (major === undefined) throw cutOff(bytes);
  if (major < 1 || major > 3) {
    throw invalid(`the format version is ${major}.${bytes[7] ?? ''}; expected 1.0, 2.0 or 3.0`);
  }
  const before = major === 1 ? 10 : 12;
  if (bytes.length < before) throw cutOff(bytes);
  const length = major === 1 ? bytes.readUInt16LE(8) : bytes.readUInt32LE(8);
  if (length > MAX_NPY_HEADER_BYTES) {
    throw invalid(`the header is ${length} bytes long; expected at most ${MAX_NPY_HEADER_BYTES}`);
  }
  const start = before + length;
  if (bytes.length < start) throw cutOff(bytes);
  try {
    return { header: parseNpyDictionary(bytes.toString(major === 3 ? 'utf8' : 'latin1', before, start)), start };
  } catch (error) {
    if (!(error instanceof NpyHeaderError)) throw error;
    throw new CodecError('INVALID_INPUT', error.message, { cause: error });
  }
}

/** How many items an array of this shape is. */
function itemsIn(shape: readonly number[], item: readonly number[], size: number): number {
  const squeezed = item.slice(item.findIndex((dimension, i) => dimension !== 1 || i === item.length - 1));
  const forms = [item, squeezed, [size]].map(String);
  const [count = 0, ...rest] = shape;
  if (forms.includes(String(shape))) return 1;
  if (!forms.includes(String(rest))) {
    const expected = [...new Set([`(N, ${item.join(', ')})`, `(N, ${size})`])].join(' or ');
    throw invalid(`the array has the shape (${shape.join(', ')}); expected ${expected}, or one item without N`);
  }
  if (count === 0) throw invalid('the array has no items; expected one at least');
  return count;
}

function swapBytes(bytes: Buffer, size: 1 | 2 | 4 | 8): void {
  if (size === 2) bytes.swap16();
  else if (size === 4) bytes.swap32();
  else if (size === 8) bytes.swap64();
}

function float32Of(values: Values): Float32Array {
  if (values instanceof Float32Array) return values;
  const data = new Float32Array(values.length);
  for (let i = 0; i < data.length; i++) data[i] = Number(values[i]);
  return data;
}

/** From the first index running fastest to the last one doing so. */
function rowMajor(data: Float32Array, shape: readonly number[]): Float32Array {
  let stride = 1;
  const strides = shape.map((dimension) => {
    const own = stride;
    stride *= dimension;
    return own;
  });
  const target = new Float32Array(data.length);
  const index = shape.map(() => 0);
  let place = 0;
  for (let i = 0; i < target.length; i++) {
    target[i] = data[place] ?? 0;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const next = (index[axis] ?? 0) + 1;
      place += strides[axis] ?? 0;
      index[axis] = next;
      if (next < (shape[axis] ?? 0)) break;
      place -= (strides[axis] ?? 0) * next;
      index[axis] = 0;
    }
  }
  return target;
}

/** IEEE 754 binary16: a sign, 5 bits of exponent, 10 of mantissa. */
function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25));
}

function cutOff(bytes: Buffer): CodecError {
  return invalid(`the header is cut off after ${bytes.length} bytes; expected it to be complete`);
}

function invalid(message: string): CodecError {
  return new CodecError('INVALID_INPUT', message);
}
