// The format: NumPy Enhancement Proposal 1, and numpy/lib/format.py for versions 2.0 and 3.0.

/** What every .npy array begins with. */
export const NPY_MAGIC: Uint8Array = Buffer.from('\x93NUMPY', 'latin1');

/** NumPy itself writes headers of a hundred bytes, and refuses ones above 10,000 where it does not trust them. */
export const MAX_NPY_HEADER_BYTES = 65_536;

/** Bytes that a written header takes, whatever the shape: a multiple of 64, as NumPy writes them. */
export const NPY_HEADER_BYTES = 128;

const MAX_DIMENSIONS = 32;

/** The types by NumPy's letter and size. */
const TYPES = {
  b1: 'bool',
  i1: 'int8',
  i2: 'int16',
  i4: 'int32',
  i8: 'int64',
  u1: 'uint8',
  u2: 'uint16',
  u4: 'uint32',
  u8: 'uint64',
  f2: 'float16',
  f4: 'float32',
  f8: 'float64',
} as const;
export type NpyTypeName = (typeof TYPES)[keyof typeof TYPES];

/** What the header of an array says of its values. */
export interface NpyDescription {
  readonly type: NpyTypeName;
  readonly littleEndian: boolean;
  readonly fortranOrder: boolean;
  readonly shape: readonly number[];
}

/** A header that is none, or one of values that are no numbers; the message goes on after what the caller calls it. */
export class NpyHeaderError extends Error {
  override readonly name = 'NpyHeaderError';
  readonly code: 'MALFORMED' | 'NOT_NUMERIC';

  constructor(code: 'MALFORMED' | 'NOT_NUMERIC', message: string) {
    super(message);
    this.code = code;
  }
}

/** The header of an array in C order, format version 1.0. */
export function npyHeader(type: string, shape: readonly number[]): Buffer {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const dictionary = `{'descr': '${type}', 'fortran_order': False, 'shape': ${tuple}, }`;
  const header = Buffer.alloc(NPY_HEADER_BYTES, ' ', 'latin1');
  header.write('\x93NUMPY\x01\x00', 'latin1');
  header.writeUInt16LE(NPY_HEADER_BYTES - 10, 8);
  header.write(dictionary, 10, 'latin1');
  header.write('\n', NPY_HEADER_BYTES - 1, 'latin1');
  return header;
}

/**
 * Reads a header's text, a Python dictionary of exactly these three entries, each once, in any order.
 * @throws {NpyHeaderError} NOT_NUMERIC where the values are no numbers, MALFORMED for all else
 */
export function parseNpyDictionary(text: string): NpyDescription {
  const entries = new Map<string, string>();
  const body = /^\s*\{(.*)\}\s*$/s.exec(text)?.[1];
  const entry = /\s*(['"])(\w+)\1\s*:\s*('[^']*'|"[^"]*"|\([^()]*\)|True|False)\s*(?:,|$)\s*/y;
  if (body !== undefined) {
    while (entry.lastIndex < body.length) {
      const [, , key, value] = entry.exec(body) ?? [];
      if (key === undefined || value === undefined || entries.has(key)) break;
      entries.set(key, value);
    }
  }
  const [descr, order, shape] = ['descr', 'fortran_order', 'shape'].map((key) => entries.get(key));
  // A structured type is a list of fields, which no entry above matches.
  if (body !== undefined && /'descr'\s*:\s*\[/.test(body)) {
    throw new NpyHeaderError('NOT_NUMERIC', 'the type is a record of fields; expected an array of one numeric type');
  }
  if (descr === undefined || order === undefined || shape === undefined || entries.size !== 3) {
    throw malformed(
      `the header is ${JSON.stringify(text.trim().slice(0, 80))}; expected {'descr': …, 'fortran_order': …, 'shape': …}`,
    );
  }
  if (order !== 'True' && order !== 'False') {
    throw malformed(`fortran_order is ${order.slice(0, 40)}; expected True or False`);
  }
  return { ...parseType(descr.slice(1, -1)), fortranOrder: order === 'True', shape: parseShape(shape) };
}

function parseType(descr: string): Pick<NpyDescription, 'type' | 'littleEndian'> {
  const [, order, code = ''] = /^([<>|=])([a-zA-Z]\d*)$/.exec(descr) ?? [];
  if (!isTypeCode(code)) {
    const kind = /^[<>|=]?O/.test(descr) ? ' (Python objects, which are never unpickled)' : '';
    throw new NpyHeaderError(
      'NOT_NUMERIC',
      `the type is ${JSON.stringify(descr.slice(0, 40))}${kind}; expected bool, int8 to int64, uint8 to uint64, or float16 to float64`,
    );
  }
  return { type: TYPES[code], littleEndian: order !== '>' };
}

function isTypeCode(code: string): code is keyof typeof TYPES {
  return Object.hasOwn(TYPES, code);
}

function parseShape(text: string): number[] {
  const items = text
    .slice(1, -1)
    .split(',')
    .map((item) => item.trim());
  // One number needs its comma, as Python's tuples do; more may have one at the end.
  if (items.at(-1) === '') items.pop();
  // Python 2 wrote long numbers with an L.
  const shape = items.map((item) => (/^\d{1,19}L?$/.test(item) ? Number.parseInt(item, 10) : Number.NaN));
  if (!text.startsWith('(') || shape.some(Number.isNaN) || shape.length > MAX_DIMENSIONS) {
    throw malformed(`the shape is ${text.slice(0, 60)}; expected up to ${MAX_DIMENSIONS} whole numbers in parentheses`);
  }
  return shape;
}

function malformed(message: string): NpyHeaderError {
  return new NpyHeaderError('MALFORMED', message);
}
