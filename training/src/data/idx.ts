import type { FileHandle } from 'node:fs/promises';
import { ByteStream, checkRatio, decompressed, plainBytes } from './byte-stream.js';
import { DataError } from './data-error.js';
import { type Examples, exampleSize } from './dataset.js';
import { elementType } from './element-types.js';
import { byteLength, type NumberArray, storeArray } from './number-array.js';
import { type DataProgress, Fingerprint, RowStore, type StoredRows } from './row-store.js';
import { type FileStamp, stampOf, withSourceFile } from './source-file.js';

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
/** What is read into memory as a whole. */
const MAX_BYTES = 2 ** 31;

/**
 * Reads an IDX file of bytes into memory, gzip-compressed or not (told by its first two bytes).
 * Memory and work are bounded by the size that the header states, and that by the size of the file.
 * @throws {DataError} where the file cannot be read or differs in any way from what its header says
 */
export function readIdx(path: string): Promise<IdxArray> {
  return withIdx(path, async (array) => {
    const { shape } = array;
    const size = byteLength(path, shape, array.type);
    if (size > MAX_BYTES) {
      throw new DataError(`${path}: dimensions are ${shape.join(' x ')}; expected a product of at most ${MAX_BYTES}`);
    }
    const values = new Uint8Array(size);
    let filled = 0;
    for await (const chunk of array.values()) {
      values.set(chunk, filled);
      filled += chunk.length;
    }
    return { shape, values };
  });
}

/**
 * Reads the rows of an IDX file of bytes: images [count, height, width] or vectors [count, features]. A large file that
 * is not compressed is used where it lies.
 * @throws {DataError} as `readIdx` does, and where the dimensions are none of examples
 */
export function readIdxRows(path: string, store: RowStore, onProgress?: DataProgress): Promise<StoredRows> {
  return withIdx(path, (array, stamp) =>
    storeArray(array, store, new Fingerprint('idx').add(path, stamp).digest(), onProgress),
  );
}

/**
 * Reads a pair of IDX files: images [count, height, width] and their labels [count].
 * @param size what the images must measure; undefined: anything
 * @throws {DataError} as `readIdxRows` does, and where the two files or `size` contradict each other
 */
export async function readIdxExamples(
  imagesPath: string,
  labelsPath: string,
  size: { readonly height: number; readonly width: number } | undefined,
  store: RowStore = new RowStore(),
  onProgress?: DataProgress,
): Promise<Examples> {
  const shape = await withIdx(imagesPath, async (array) => array.shape);
  const [count, height, width] = shape;
  if (shape.length !== 3 || (size !== undefined && (height !== size.height || width !== size.width))) {
    const expected = size === undefined ? 'height x width' : `${size.height} x ${size.width}`;
    throw new DataError(`${imagesPath}: dimensions are ${shape.join(' x ')}; expected count x ${expected}`);
  }
  const images = await readIdxRows(imagesPath, store, onProgress);
  const labels = await readIdx(labelsPath);
  if (labels.shape.length !== 1 || labels.shape[0] !== count) {
    throw new DataError(
      `${labelsPath}: dimensions are ${labels.shape.join(' x ')}; expected ${count}, a label for each image of ${imagesPath}`,
    );
  }
  return { ...images, labels: labels.values };
}

/** Opens an IDX file and reads its header. */
function withIdx<Result>(
  path: string,
  use: (array: NumberArray, stamp: FileStamp) => Promise<Result>,
): Promise<Result> {
  return withSourceFile(path, 'an IDX file', async (file, stats) => {
    const compressed = await isGzip(file);
    const content = compressed ? decompressed(path, file, 'gzip', 0, stats.size) : plainBytes(file, 0, stats.size);
    const stream = new ByteStream(content);
    try {
      const { shape, length } = await readHeader(path, stream);
      const array = { label: path, shape, type: elementType('uint8'), littleEndian: true, fortranOrder: false };
      const size = byteLength(path, shape, array.type);
      if (compressed) checkRatio(`${path}: dimensions are ${shape.join(' x ')}`, stats.size, size);
      else if (stats.size - length !== size) {
        throw new DataError(
          `${path}: there are ${stats.size - length} bytes of values; expected ${describeSize(shape)}`,
        );
      }
      const stamp = stampOf(stats);
      return await use(
        {
          ...array,
          values: () => stream.rest(path, size, describeSize(shape)),
          ...(!compressed && { place: { path, file, offset: length, stamp } }),
        },
        stamp,
      );
    } finally {
      await stream.close();
    }
  });
}

async function isGzip(file: FileHandle): Promise<boolean> {
  const signature = Buffer.alloc(2);
  await file.read(signature, 0, 2, 0);
  return signature.readUInt16BE() === 0x1f8b;
}

async function readHeader(path: string, stream: ByteStream): Promise<{ shape: number[]; length: number }> {
  const start = await stream.take(4);
  if (start.length === 4) {
    if (start.readUInt16BE(0) !== 0) {
      throw new DataError(
        `${path}: the magic number starts with 0x${start.toString('hex', 0, 2)}; expected 0x0000, as in every IDX file`,
      );
    }
    const type = start.readUInt8(2);
    if (type !== UINT8) {
      const found = `0x${start.toString('hex', 2, 3)} (${TYPES.get(type) ?? 'unknown'})`;
      throw new DataError(`${path}: the type code is ${found}; expected 0x08 (uint8)`);
    }
  }
  const rank = start[3] ?? 0;
  if (start.length === 4 && (rank < 1 || rank > MAX_DIMENSIONS)) {
    throw new DataError(`${path}: the number of dimensions is ${rank}; expected 1 to ${MAX_DIMENSIONS}`);
  }
  const sizes = await stream.take(4 * rank);
  if (start.length < 4 || sizes.length < 4 * rank) {
    throw new DataError(
      `${path}: the header is cut off after ${start.length + sizes.length} bytes; expected 4 bytes and 4 a dimension`,
    );
  }
  return { shape: Array.from({ length: rank }, (_, i) => sizes.readUInt32BE(4 * i)), length: 4 + 4 * rank };
}

function describeSize(shape: readonly number[]): string {
  const size = exampleSize({ shape });
  return shape.length === 1 ? `${size}` : `${size} (${shape.join(' x ')})`;
}
