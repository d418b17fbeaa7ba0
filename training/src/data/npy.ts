import { ByteStream, plainBytes } from './byte-stream.js';
import { DataError } from './data-error.js';
import { type ElementType, elementType } from './element-types.js';
import { byteLength, type NumberArray, storeArray } from './number-array.js';
import { type DataProgress, Fingerprint, type RowStore, type StoredRows } from './row-store.js';
import { stampOf, withSourceFile } from './source-file.js';

// The format: NumPy Enhancement Proposal 1, and numpy/lib/format.py for versions 2.0 and 3.0.

const MAGIC = Buffer.from('\x93NUMPY', 'latin1');

/** NumPy itself writes headers of a hundred bytes, and refuses ones above 10,000 where it does not trust them. */
const MAX_HEADER_BYTES = 65_536;
const MAX_DIMENSIONS = 32;

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

/** The types by NumPy's letter and size. */
const TYPES: ReadonlyMap<string, string> = new Map([
  ['b1', 'bool'],
  ['i1', 'int8'],
  ['i2', 'int16'],
  ['i4', 'int32'],
  ['i8', 'int64'],
  ['u1', 'uint8'],
  ['u2', 'uint16'],
  ['u4', 'uint32'],
  ['u8', 'uint64'],
  ['f2', 'float16'],
  ['f4', 'float32'],
  ['f8', 'float64'],
]);

/**
 * Takes the header off the front of an array's bytes.
 * @throws {DataError} where it is no header, or its type is not a number's
 */
export async function readNpyHeader(label: string, stream: ByteStream): Promise<NpyHeader> {
  const start = await stream.take(8);
  if (!start.subarray(0, MAGIC.length).equals(MAGIC)) {
    const found = start.length === 0 ? 'nothing' : `0x${start.toString('hex', 0, MAGIC.length)}`;
    throw new DataError(`${label}: it begins with ${found}; expected 0x${MAGIC.toString('hex')}, as every .npy array`);
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
  if (size > MAX_HEADER_BYTES) {
    throw new DataError(`${label}: the header is ${size} bytes long; expected at most ${MAX_HEADER_BYTES}`);
  }
  const text = await stream.take(size);
  const length = 8 + sizeBytes + size;
  if (text.length < size) throw cutOff(label, length - size + text.length);
  return { ...parseDictionary(label, text.toString(major === 3 ? 'utf8' : 'latin1')), length };
}

function cutOff(label: string, bytes: number): DataError {
  return new DataError(`${label}: the header is cut off after ${bytes} bytes; expected it to be complete`);
}

/** A header is a Python dictionary of exactly these three entries, each once, in any order. */
function parseDictionary(label: string, text: string): Omit<NpyHeader, 'length'> {
  const entries = new Map<string, string>();
  const body = /^\s*\{(.*)\}\s*$/s.exec(text)?.[1];
  const entry = /\s*(['"])(\w+)\1\s*:\s*('[^']*'|"[^"]*"|\([^()]*\)|True|False)\s*(?:,|$)\s*/y;
  if (body !== undefined) {
    while (entry.lastIndex < body.length) {
      const [, , key, value] = entry.exec(body) ?? [];
      if (key === undefined || entries.has(key)) break;
      entries.set(key, value);
    }
  }
  const [descr, order, shape] = ['descr', 'fortran_order', 'shape'].map((key) => entries.get(key));
  // A structured type is a list of fields, which no entry above matches.
  if (body !== undefined && /'descr'\s*:\s*\[/.test(body)) {
    throw new ElementTypeError(`${label}: the type is a record of fields; expected an array of one numeric type`);
  }
  if (descr === undefined || order === undefined || shape === undefined || entries.size !== 3) {
    throw new DataError(
      `${label}: the header is ${JSON.stringify(text.trim().slice(0, 80))}; expected {'descr': …, 'fortran_order': …, 'shape': …}`,
    );
  }
  if (order !== 'True' && order !== 'False') {
    throw new DataError(`${label}: fortran_order is ${order.slice(0, 40)}; expected True or False`);
  }
  return { ...parseType(label, descr.slice(1, -1)), fortranOrder: order === 'True', shape: parseShape(label, shape) };
}

function parseType(label: string, descr: string): { type: ElementType; littleEndian: boolean } {
  const [, order, code] = /^([<>|=])([a-zA-Z]\d*)$/.exec(descr) ?? [];
  const name = TYPES.get(code ?? '');
  if (name === undefined) {
    const kind = /^[<>|=]?O/.test(descr) ? ' (Python objects, which are never unpickled)' : '';
    throw new ElementTypeError(
      `${label}: the type is ${JSON.stringify(descr.slice(0, 40))}${kind}; expected bool, int8 to int64, uint8 to uint64, or float16 to float64`,
    );
  }
  return { type: elementType(name), littleEndian: order !== '>' };
}

function parseShape(label: string, text: string): number[] {
  const items = text
    .slice(1, -1)
    .split(',')
    .map((item) => item.trim());
  // One number needs its comma, as Python's tuples do; more may have one at the end.
  if (items.at(-1) === '') items.pop();
  // Python 2 wrote long numbers with an L.
  const shape = items.map((item) => (/^\d{1,19}L?$/.test(item) ? Number.parseInt(item, 10) : Number.NaN));
  if (!text.startsWith('(') || shape.some(Number.isNaN) || shape.length > MAX_DIMENSIONS) {
    throw new DataError(
      `${label}: the shape is ${text.slice(0, 60)}; expected up to ${MAX_DIMENSIONS} whole numbers in parentheses`,
    );
  }
  return shape;
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
