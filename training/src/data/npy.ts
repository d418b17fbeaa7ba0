import { MAX_NPY_HEADER_BYTES, NPY_MAGIC, NpyHeaderError, parseNpyDictionary } from '@elbo/models';
import { ByteStream, plainBytes } from './byte-stream.js';
import { DataError } from './data-error.js';
import { type ElementType, elementType } from './element-types.js';
import { byteLength, type NumberArray, storeArray } from './number-array.js';
import { type DataProgress, Fingerprint, type RowStore, type StoredRows } from './row-store.js';
import { stampOf, withSourceFile } from './source-file.js';

/** An array whose elements are no numbers. */
export class ElementTypeError extends DataError {}

/** What the header of an array says. */
export interface NpyHeader {
  readonly type: ElementType;
  readonly littleEndian: boolean;
  readonly fortranOrder: boolean;
  readonly shape: readonly number[];
  /** Bytes before the first value. */
  readonly length: number;
}

/**
 * Takes the header off the front of an array's bytes.
 * @throws {DataError} where it is no header, or its type is not a number's
 */
export async function readNpyHeader(label: string, stream: ByteStream): Promise<NpyHeader> {
  const start = await stream.take(8);
  if (!start.subarray(0, NPY_MAGIC.length).equals(NPY_MAGIC)) {
    const found = start.length === 0 ? 'nothing' : `0x${start.toString('hex', 0, NPY_MAGIC.length)}`;
    throw new DataError(
      `${label}: it begins with ${found}; expected 0x${Buffer.from(NPY_MAGIC).toString('hex')}, as every .npy array`,
    );
  }
  if (start.length < 8) throw cutOff(label, start.length);
  const major = start[6];
  if (major < 1 || major > 3) {
    throw new DataError(`${label}: the format version is ${major}.${start[7]}; expected 1.0, 2.0 or 3.0`);
  }
  const sizeBytes = major === 1 ? 2 : 4;
  const sizeField = await stream.take(sizeBytes);
  if (sizeField.length < sizeBytes) throw cutOff(label, 8 + sizeField.length);
  const size = sizeField.readUIntLE(0, sizeBytes);
  if (size > MAX_NPY_HEADER_BYTES) {
    throw new DataError(`${label}: the header is ${size} bytes long; expected at most ${MAX_NPY_HEADER_BYTES}`);
  }
  const text = await stream.take(size);
  const length = 8 + sizeBytes + size;
  if (text.length < size) throw cutOff(label, length - size + text.length);
  return { ...describe(label, text.toString(major === 3 ? 'utf8' : 'latin1')), length };
}

function cutOff(label: string, bytes: number): DataError {
  return new DataError(`${label}: the header is cut off after ${bytes} bytes; expected it to be complete`);
}

function describe(label: string, text: string): Omit<NpyHeader, 'length'> {
  try {
    const { type, ...others } = parseNpyDictionary(text);
    return { type: elementType(type), ...others };
  } catch (error) {
    if (!(error instanceof NpyHeaderError)) throw error;
    const Kind = error.code === 'NOT_NUMERIC' ? ElementTypeError : DataError;
    throw new Kind(`${label}: ${error.message}`);
  }
}

/** What the header's values take, in words. */
export function describeValues({ shape, type }: Pick<NpyHeader, 'shape' | 'type'>, bytes: number): string {
  return `${bytes} (${[...shape, type.name].join(' x ')})`;
}

/**
 * Reads the rows of a .npy file, versions 1 to 3, of any numeric type, byte order and index order.
 * @throws {DataError} where the file cannot be read, differs in any way from what its header says, or has no rows of
 *   finite numbers
 */
export function readNpy(path: string, store: RowStore, onProgress?: DataProgress): Promise<StoredRows> {
  return withSourceFile(path, 'a .npy file', async (file, stats) => {
    const stream = new ByteStream(plainBytes(file, 0, stats.size));
    try {
      const header = await readNpyHeader(path, stream);
      const bytes = byteLength(path, header.shape, header.type);
      const description = describeValues(header, bytes);
      if (stats.size - header.length !== bytes) {
        throw new DataError(
          `${path}: there are ${stats.size - header.length} bytes of values; expected ${description}`,
        );
      }
      const array: NumberArray = {
        label: path,
        ...header,
        values: () => stream.rest(path, bytes, description),
        place: { path, file, offset: header.length, stamp: stampOf(stats) },
      };
      return await storeArray(array, store, new Fingerprint('npy').add(path, stats).digest(), onProgress);
    } finally {
      await stream.close();
    }
  });
}
