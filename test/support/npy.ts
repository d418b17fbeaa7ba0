/** The numeric types of NumPy: a letter and a size in bytes. */
export const NPY_TYPES = ['b1', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'f2', 'f4', 'f8'] as const;
export type NpyType = (typeof NPY_TYPES)[number];

export interface NpyOptions {
  readonly type: NpyType;
  readonly shape: readonly number[];
  /** Row-major, whatever the order in the file. */
  readonly values: ArrayLike<number>;
  readonly bigEndian?: boolean;
  readonly fortranOrder?: boolean;
  readonly version?: 1 | 2 | 3;
}

/** A .npy file, as NumPy's format description says. */
export function encodeNpy({ type, shape, values, bigEndian, fortranOrder, version = 1 }: NpyOptions): Buffer {
  const bytes = Number(type[1]);
  const data = Buffer.alloc(values.length * bytes);
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const places = fortranOrder ? fortranPlaces(shape) : undefined;
  for (let i = 0; i < values.length; i++) WRITERS[type](view, (places?.[i] ?? i) * bytes, values[i], !bigEndian);
  const order = bytes === 1 ? '|' : bigEndian ? '>' : '<';
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  return Buffer.concat([
    npyHeader(
      `{'descr': '${order}${type}', 'fortran_order': ${fortranOrder ? 'True' : 'False'}, 'shape': ${tuple}, }`,
      version,
    ),
    data,
  ]);
}

/** Everything before the values, for any dictionary. */
export function npyHeader(dictionary: string, version = 1): Buffer {
  const sizeBytes = version === 1 ? 2 : 4;
  const length = Math.ceil((8 + sizeBytes + dictionary.length + 1) / 64) * 64 - 8 - sizeBytes;
  const start = Buffer.from(`\x93NUMPY${String.fromCharCode(version, 0)}`, 'latin1');
  const size = Buffer.alloc(sizeBytes);
  size.writeUIntLE(length, 0, sizeBytes);
  return Buffer.concat([start, size, Buffer.from(`${dictionary.padEnd(length - 1)}\n`, 'latin1')]);
}

/** Where each row-major value lies when the first index runs fastest. */
function fortranPlaces(shape: readonly number[]): number[] {
  const count = shape.reduce((product, dimension) => product * dimension, 1);
  return Array.from({ length: count }, (_, i) => {
    const index: number[] = [];
    let rest = i;
    for (const dimension of shape.toReversed()) {
      index.unshift(rest % dimension);
      rest = Math.floor(rest / dimension);
    }
    let place = 0;
    for (const [axis, dimension] of [...shape.entries()].reverse()) place = place * dimension + index[axis];
    return place;
  });
}

const WRITERS: Readonly<Record<NpyType, (view: DataView, at: number, value: number, little: boolean) => void>> = {
  b1: (view, at, value) => view.setUint8(at, value),
  i1: (view, at, value) => view.setInt8(at, value),
  i2: (view, at, value, little) => view.setInt16(at, value, little),
  i4: (view, at, value, little) => view.setInt32(at, value, little),
  i8: (view, at, value, little) => view.setBigInt64(at, BigInt(value), little),
  u1: (view, at, value) => view.setUint8(at, value),
  u2: (view, at, value, little) => view.setUint16(at, value, little),
  u4: (view, at, value, little) => view.setUint32(at, value, little),
  u8: (view, at, value, little) => view.setBigUint64(at, BigInt(value), little),
  f2: (view, at, value, little) => view.setUint16(at, halfBits(value), little),
  f4: (view, at, value, little) => view.setFloat32(at, value, little),
  f8: (view, at, value, little) => view.setFloat64(at, value, little),
};

/** IEEE binary16 of a number that it holds exactly. */
function halfBits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size === 0) return sign;
  if (!Number.isFinite(size)) return sign | (Number.isNaN(size) ? 0x7e00 : 0x7c00);
  const exponent = Math.max(-14, Math.floor(Math.log2(size)));
  const mantissa = Math.round((size / 2 ** exponent) * 1024);
  return sign | (mantissa < 1024 ? mantissa : ((exponent + 15) << 10) + (mantissa - 1024));
}
