import { type FileHandle, open, stat } from 'node:fs/promises';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { DataError } from './data-error.js';
import { type Examples, inMemory } from './dataset.js';

/** The contents of an IDX file of bytes. */
export interface IdxArray {
  readonly shape: readonly number[];
  /** Row-major, as many as the product of `shape`. */
  readonly values: Uint8Array;
}

/** The type codes of the format, as its description on the MNIST page (LeCun, Cortes & Burges) lists them. */
const TYPES: ReadonlyMap<number, string> = new Map([
  [0x08, 'uint8'],
  [0x09, 'int8'],
  [0x0b, 'int16'],
  [0x0c, 'int32'],
  [0x0d, 'float32'],
  [0x0e, 'float64'],
]);
const UINT8 = 0x08;
const MAX_DIMENSIONS = 4;
const MAX_BYTES = 2 ** 31;

/** Deflate cannot shrink data by more than this factor (zlib technical details, "Maximum Compression Factor"). */
const MAX_DEFLATE_RATIO = 1032;

const CHUNK_BYTES = 1 << 20;

/**
 * Reads an IDX file of bytes, gzip-compressed or not (told by its first two bytes).
 * Memory and work are bounded by the size that the header states, and that by the size of the file.
 * @throws {DataError} where the file cannot be read or differs in any way from what its header says
 */
export async function readIdx(path: string): Promise<IdxArray> {
  try {
    const stats = await stat(path);
    // To open a pipe would wait for its writer, maybe for ever.
    if (!stats.isFile()) throw new DataError(`${path}: not a regular file; expected an IDX file`);
    if (stats.size === 0) throw new DataError(`${path}: the file is empty; expected an IDX file`);
    const file = await open(path, 'r');
    try {
      return await readOpenFile(path, file, stats.size);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw new DataError(`${path}: cannot be read (${(error as Error).message})`, { cause: error });
  }
}

/**
 * Reads a pair of IDX files: images [count, height, width] and their labels [count].
 * @param size what the images must measure
 * @throws {DataError} as `readIdx` does, and where the two files or `size` contradict each other
 */
export async function readIdxExamples(
  imagesPath: string,
  labelsPath: string,
  size: { readonly height: number; readonly width: number },
): Promise<Examples> {
  const images = await readIdx(imagesPath);
  const [count = 0, height, width] = images.shape;
  if (images.shape.length !== 3 || height !== size.height || width !== size.width) {
    throw new DataError(
      `${imagesPath}: dimensions are ${images.shape.join(' x ')}; expected count x ${size.height} x ${size.width}`,
    );
  }
  const labels = await readIdx(labelsPath);
  if (labels.shape.length !== 1 || labels.shape[0] !== count) {
    throw new DataError(
      `${labelsPath}: dimensions are ${labels.shape.join(' x ')}; expected ${count}, a label for each image of ${imagesPath}`,
    );
  }
  return inMemory(images.values, [1, size.height, size.width], { labels: labels.values });
}

async function readOpenFile(path: string, file: FileHandle, size: number): Promise<IdxArray> {
  const signature = Buffer.alloc(2);
  await file.read(signature, 0, 2, 0);
  const content = file.createReadStream({ start: 0, autoClose: false, highWaterMark: CHUNK_BYTES });
  if (signature.readUInt16BE() !== 0x1f8b) return collect(path, content, size, false);

  // The callback is empty because what goes wrong also ends the iteration over `gunzip`.
  const gunzip = pipeline(content, createGunzip({ chunkSize: CHUNK_BYTES }), () => {});
  try {
    const array = await collect(path, gunzip, size, true);
    if (gunzip.bytesWritten !== size) {
      throw new DataError(
        `${path}: ${size - gunzip.bytesWritten} bytes follow the gzip stream; expected the file to end with it`,
      );
    }
    return array;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'Z_BUF_ERROR') {
      throw new DataError(`${path}: the gzip stream is cut off; expected it to be complete`, { cause: error });
    }
    if (code?.startsWith('Z_'))
      throw new DataError(`${path}: the gzip stream is corrupt (${message})`, { cause: error });
    throw error;
  }
}

async function collect(
  path: string,
  content: AsyncIterable<Buffer>,
  fileSize: number,
  compressed: boolean,
): Promise<IdxArray> {
  let start = Buffer.alloc(0);
  let array: IdxArray | undefined;
  let filled = 0;
  for await (const chunk of content) {
    let values = chunk;
    if (array === undefined) {
      start = Buffer.concat([start, chunk]);
      const header = parseHeader(path, start);
      if (header === undefined) continue;
      const size = checkedSize(path, header, fileSize, compressed);
      array = { shape: header.shape, values: new Uint8Array(size) };
      values = start.subarray(header.length);
    }
    if (filled + values.length > array.values.length) {
      throw new DataError(`${path}: there are more bytes than the header says; expected ${describeSize(array.shape)}`);
    }
    array.values.set(values, filled);
    filled += values.length;
  }
  if (array === undefined) {
    throw new DataError(
      `${path}: the header is cut off after ${start.length} bytes; expected 4 bytes and 4 a dimension`,
    );
  }
  if (filled !== array.values.length) {
    throw new DataError(`${path}: there are ${filled} bytes of values; expected ${describeSize(array.shape)}`);
  }
  return array;
}

/** @returns undefined while `bytes` is too short to hold the header */
function parseHeader(path: string, bytes: Buffer): { shape: number[]; length: number } | undefined {
  if (bytes.length < 4) return undefined;
  if (bytes.readUInt16BE(0) !== 0) {
    throw new DataError(
      `${path}: the magic number starts with 0x${bytes.toString('hex', 0, 2)}; expected 0x0000, as in every IDX file`,
    );
  }
  const type = bytes.readUInt8(2);
  if (type !== UINT8) {
    const found = `0x${bytes.toString('hex', 2, 3)} (${TYPES.get(type) ?? 'unknown'})`;
    throw new DataError(`${path}: the type code is ${found}; expected 0x08 (uint8)`);
  }
  const rank = bytes.readUInt8(3);
  if (rank < 1 || rank > MAX_DIMENSIONS) {
    throw new DataError(`${path}: the number of dimensions is ${rank}; expected 1 to ${MAX_DIMENSIONS}`);
  }
  const length = 4 + 4 * rank;
  if (bytes.length < length) return undefined;
  return { shape: Array.from({ length: rank }, (_, i) => bytes.readUInt32BE(4 + 4 * i)), length };
}

/** The number of values, once it is known that the file can hold them. */
function checkedSize(
  path: string,
  { shape, length }: { shape: readonly number[]; length: number },
  fileSize: number,
  compressed: boolean,
): number {
  const zero = shape.indexOf(0);
  if (zero >= 0) throw new DataError(`${path}: dimension ${zero} is 0; expected at least 1`);
  const size = shape.reduce((product, dimension) => product * dimension, 1);
  if (size > MAX_BYTES) {
    throw new DataError(`${path}: dimensions are ${shape.join(' x ')}; expected a product of at most ${MAX_BYTES}`);
  }
  if (compressed && size > fileSize * MAX_DEFLATE_RATIO) {
    throw new DataError(
      `${path}: dimensions are ${shape.join(' x ')}, more than ${fileSize} compressed bytes can hold; expected a header that fits`,
    );
  }
  if (!compressed && fileSize - length !== size) {
    throw new DataError(`${path}: there are ${fileSize - length} bytes of values; expected ${describeSize(shape)}`);
  }
  return size;
}

function describeSize(shape: readonly number[]): string {
  const size = shape.reduce((product, dimension) => product * dimension, 1);
  return shape.length === 1 ? `${size}` : `${size} (${shape.join(' x ')})`;
}
