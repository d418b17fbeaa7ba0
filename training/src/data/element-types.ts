/** How a file writes a number, and how to read it. */
export interface ElementType {
  readonly name: string;
  readonly bytes: number;
  /** The number at a byte; integers beyond ±2^53 are rounded. A bool is 255 where it is true, as bytes of images are. */
  read(view: DataView, at: number, littleEndian: boolean): number;
}

const HIGH = 2 ** 32;

const types: readonly ElementType[] = [
  { name: 'bool', bytes: 1, read: (view, at) => (view.getUint8(at) === 0 ? 0 : 255) },
  { name: 'int8', bytes: 1, read: (view, at) => view.getInt8(at) },
  { name: 'int16', bytes: 2, read: (view, at, little) => view.getInt16(at, little) },
  { name: 'int32', bytes: 4, read: (view, at, little) => view.getInt32(at, little) },
  {
    name: 'int64',
    bytes: 8,
    read: (view, at, little) =>
      view.getInt32(at + (little ? 4 : 0), little) * HIGH + view.getUint32(at + (little ? 0 : 4), little),
  },
  { name: 'uint8', bytes: 1, read: (view, at) => view.getUint8(at) },
  { name: 'uint16', bytes: 2, read: (view, at, little) => view.getUint16(at, little) },
  { name: 'uint32', bytes: 4, read: (view, at, little) => view.getUint32(at, little) },
  {
    name: 'uint64',
    bytes: 8,
    read: (view, at, little) =>
      view.getUint32(at + (little ? 4 : 0), little) * HIGH + view.getUint32(at + (little ? 0 : 4), little),
  },
  { name: 'float16', bytes: 2, read: (view, at, little) => halfToNumber(view.getUint16(at, little)) },
  { name: 'float32', bytes: 4, read: (view, at, little) => view.getFloat32(at, little) },
  { name: 'float64', bytes: 8, read: (view, at, little) => view.getFloat64(at, little) },
];

const byName = new Map(types.map((type) => [type.name, type]));

/** @throws {RangeError} where there is no such type */
export function elementType(name: string): ElementType {
  const type = byName.get(name);
  if (type === undefined) throw new RangeError(`${name} is no element type`);
  return type;
}

/** IEEE 754 binary16: a sign, 5 bits of exponent, 10 of mantissa. */
function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}
