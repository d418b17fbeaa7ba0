import type { FileHandle } from 'node:fs/promises';
import { inBlocks } from './byte-stream.js';
import { DataError } from './data-error.js';
import { bytesPerValue, type ExampleDtype } from './dataset.js';
import type { ElementType } from './element-types.js';
import type { DataProgress, RowSink, RowStore, StoredRows } from './row-store.js';
import type { FileStamp } from './source-file.js';

/** An array of numbers inside a file: its header was read and checked, its values come when they are asked for. */
export interface NumberArray {
  /** The file, and which array in it, for messages. */
  readonly label: string;
  readonly shape: readonly number[];
  readonly type: ElementType;
  readonly littleEndian: boolean;
  readonly fortranOrder: boolean;
  /** The values' bytes, as many as shape and type say; asked for once. */
  values(): AsyncIterable<Uint8Array>;
  /** Where the values lie uncompressed. */
  readonly place?: {
    readonly path: string;
    readonly file: FileHandle;
    readonly offset: number;
    readonly stamp: FileStamp;
  };
  /** Reads to the end and checks what can only be checked there, where the values are used in place. */
  check?(): Promise<void>;
}

/** How rows come out of an array's dimensions. */
export interface RowLayout {
  /** Of one row: [features] or [channels, height, width]. */
  readonly shape: readonly number[];
  /** Where each value of a row goes, in the order that it comes in; undefined: where it is. */
  readonly places?: Int32Array;
}

const MAX_ROWS = 2 ** 31 - 1;
/** The largest dimension that a model's manifest allows. */
const MAX_VALUES = 1 << 24;

/** Values that are converted at a time. */
const BLOCK_VALUES = 1 << 20;

/** What a tile of a column-major array takes at most. */
const TILE_BYTES = 32 << 20;

/** Column-major values are put in memory as a whole up to this size. */
const RAW_BUDGET = 64 << 20;

/** Number of bytes of values, once it is a number that can be counted with. */
export function byteLength(label: string, shape: readonly number[], type: ElementType): number {
  const zero = shape.indexOf(0);
  if (zero >= 0) throw new DataError(`${label}: dimension ${zero} is 0; expected at least 1`);
  const bytes = shape.reduce((product, dimension) => product * dimension, type.bytes);
  if (bytes > Number.MAX_SAFE_INTEGER) {
    throw new DataError(`${label}: dimensions are ${shape.join(' x ')}; expected a product below 2^53`);
  }
  return bytes;
}

/**
 * What an array is of: [N, features] vectors, [N, height, width] grey images, [N, channels, height, width] or
 * [N, height, width, channels] images of 1 or 3 channels. Of the last two, channels first is taken where both would do.
 * @throws {DataError} for any other shape
 */
export function rowLayout(label: string, shape: readonly number[]): RowLayout {
  const [count, ...item] = shape;
  const found = `${label}: dimensions are ${shape.length === 0 ? 'none' : shape.join(' x ')}`;
  if (count > MAX_ROWS) throw new DataError(`${found}; expected at most ${MAX_ROWS} examples`);
  if (item.reduce((product, dimension) => product * dimension, 1) > MAX_VALUES) {
    throw new DataError(`${found}; expected at most ${MAX_VALUES} numbers an example`);
  }
  const isChannels = (dimension: number) => dimension === 1 || dimension === 3;
  if (item.length === 1) return { shape: item };
  if (item.length === 2) return { shape: [1, ...item] };
  if (item.length === 3 && isChannels(item[0])) return { shape: item };
  if (item.length === 3 && isChannels(item[2])) {
    const [height, width, channels] = item;
    if (channels === 1) return { shape: [1, height, width] };
    return { shape: [channels, height, width], places: channelsFirst(height * width, channels) };
  }
  throw new DataError(
    `${found}; expected examples x features, examples x height x width, examples x channels x height x width or examples x height x width x channels, with 1 or 3 channels`,
  );
}

/** Where a value of [pixels, channels] goes in [channels, pixels]. */
function channelsFirst(pixels: number, channels: number): Int32Array {
  return Int32Array.from({ length: pixels * channels }, (_, i) => (i % channels) * pixels + Math.floor(i / channels));
}

/**
 * Makes rows of an array: bytes for images of bytes or bools, float32 for all else. Large ones that lie in their file as
 * rows do are left there; others are converted once, in a pass, to memory or to the store.
 * @param key fingerprint of the file and of what is taken from it
 * @throws {DataError} where the shape is not one of examples, or a value has no finite float32
 */
export async function storeArray(
  array: NumberArray,
  store: RowStore,
  key: string,
  onProgress?: DataProgress,
): Promise<StoredRows> {
  const { label, shape, type } = array;
  const layout = rowLayout(label, shape);
  // A vector's bytes are numbers of their own, not shares of 255.
  const dtype: ExampleDtype =
    layout.shape.length === 3 && (type.name === 'uint8' || type.name === 'bool') ? 'uint8' : 'float32';
  const description = { count: shape[0], shape: layout.shape, dtype };
  const size = layout.shape.reduce((product, dimension) => product * dimension, 1);
  const bytes = shape[0] * size * bytesPerValue(dtype);
  const asItIs = type.name === dtype && array.littleEndian && !array.fortranOrder && layout.places === undefined;
  if (asItIs && array.place !== undefined && bytes > store.memoryBudget) {
    await array.check?.();
    const { path, offset, stamp } = array.place;
    return { ...description, storage: { kind: 'file', path, offset, stamp } };
  }
  return store.keep(key, bytes, async (sink) => {
    const done = progressOf(label, shape[0], onProgress);
    if (array.fortranOrder && shape.length > 1) await convertColumns(array, layout, dtype, store, sink, done);
    else await convertRows(array, layout, dtype, sink, done);
    return description;
  });
}

function progressOf(label: string, total: number, onProgress: DataProgress | undefined): (rows: number) => void {
  return (rows) => onProgress?.(rows, total, `reading ${label}`);
}

async function convertRows(
  array: NumberArray,
  { shape, places }: RowLayout,
  dtype: ExampleDtype,
  sink: RowSink,
  done: (rows: number) => void,
): Promise<void> {
  const size = shape.reduce((product, dimension) => product * dimension, 1);
  const rowBytes = size * array.type.bytes;
  const rows = Math.min(array.shape[0], Math.max(1, Math.floor(BLOCK_VALUES / size)));
  const target = newValues(dtype, rows * size);
  let row = 0;
  for await (const raw of inBlocks(array.values(), rowBytes, rows)) {
    const count = raw.length / rowBytes;
    const values = target.subarray(0, count * size);
    decode(array, raw, values, places);
    checkFinite(array, values, shape, row);
    await sink(bytesOf(values));
    row += count;
    done(row);
  }
}

/** Column-major: the first index runs fastest, so the values of a row lie far apart and are gathered tile by tile. */
async function convertColumns(
  array: NumberArray,
  layout: RowLayout,
  dtype: ExampleDtype,
  store: RowStore,
  sink: RowSink,
  done: (rows: number) => void,
): Promise<void> {
  const { type, shape } = array;
  const [count, ...item] = shape;
  const places = placesOfColumns(item, layout.places);
  const columns = places.length;
  const raw = await randomAccess(array, count * columns * type.bytes, store);
  try {
    const rows = Math.max(1, Math.min(count, Math.floor(TILE_BYTES / (columns * 4))));
    const tile = newValues(dtype, rows * columns);
    for (let start = 0; start < count; start += rows) {
      const height = Math.min(rows, count - start);
      const values = tile.subarray(0, height * columns);
      for (let column = 0; column < columns; column++) {
        const piece = await raw.read((column * count + start) * type.bytes, height * type.bytes);
        const view = new DataView(piece.buffer, piece.byteOffset, piece.byteLength);
        for (let row = 0, at = places[column]; row < height; row++, at += columns) {
          values[at] = type.read(view, row * type.bytes, array.littleEndian);
        }
      }
      checkFinite(array, values, layout.shape, start);
      await sink(bytesOf(values));
      done(start + height);
    }
  } finally {
    await raw.close();
  }
}

/** Where the value of each column, counted with the first dimension running fastest, goes in a row. */
function placesOfColumns(item: readonly number[], places: Int32Array | undefined): Int32Array {
  const columns = item.reduce((product, dimension) => product * dimension, 1);
  return Int32Array.from({ length: columns }, (_, column) => {
    let rest = column;
    let stride = columns;
    let at = 0;
    for (const dimension of item) {
      stride /= dimension;
      at += (rest % dimension) * stride;
      rest = Math.floor(rest / dimension);
    }
    return places?.[at] ?? at;
  });
}

interface RandomAccess {
  read(position: number, length: number): Uint8Array | Promise<Uint8Array>;
  close(): Promise<void>;
}

/** The values where any of them can be read: in their file, in memory, or unpacked into a scratch file. */
async function randomAccess(array: NumberArray, bytes: number, store: RowStore): Promise<RandomAccess> {
  if (array.place !== undefined) {
    await array.check?.();
    const { file, offset } = array.place;
    return { read: pieceReader(array.label, file, offset), close: async () => {} };
  }
  if (bytes <= RAW_BUDGET) {
    const all = new Uint8Array(bytes);
    let filled = 0;
    for await (const chunk of array.values()) {
      all.set(chunk, filled);
      filled += chunk.length;
    }
    return { read: (position, length) => all.subarray(position, position + length), close: async () => {} };
  }
  const file = await store.scratchFile(bytes);
  try {
    for await (const chunk of array.values()) {
      for (let written = 0; written < chunk.length; ) {
        written += (await file.write(chunk, written, chunk.length - written)).bytesWritten;
      }
    }
    return { read: pieceReader(array.label, file, 0), close: () => file.close() };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function pieceReader(label: string, file: FileHandle, offset: number): RandomAccess['read'] {
  let buffer = new Uint8Array(0);
  return async (position, length) => {
    if (buffer.length < length) buffer = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await file.read(buffer, done, length - done, offset + position + done);
      if (bytesRead === 0) throw new DataError(`${label}: the file became shorter; expected it to stay as it is`);
      done += bytesRead;
    }
    return buffer.subarray(0, length);
  };
}

/** Decodes raw numbers into values, each row's in their places. */
function decode(
  { type, littleEndian }: NumberArray,
  raw: Uint8Array,
  values: Uint8Array | Float32Array,
  places: Int32Array | undefined,
): void {
  if (places === undefined && (type.name === 'uint8' || (type.name === 'float32' && littleEndian))) {
    if (values instanceof Float32Array && type.name === 'float32') bytesOf(values).set(raw);
    else values.set(raw);
    return;
  }
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const size = places?.length ?? values.length;
  for (let start = 0; start < values.length; start += size) {
    for (let i = 0; i < size; i++) {
      values[start + (places === undefined ? i : places[i])] = type.read(view, (start + i) * type.bytes, littleEndian);
    }
  }
}

function checkFinite(
  array: NumberArray,
  values: Uint8Array | Float32Array,
  shape: readonly number[],
  firstRow: number,
): void {
  if (values instanceof Uint8Array) return;
  const bad = firstUnusable(values, shape);
  if (bad < 0) return;
  const size = shape.reduce((product, dimension) => product * dimension, 1);
  throw notFinite(array.label, firstRow + Math.floor(bad / size), bad % size, values[bad]);
}

/**
 * The first number that is not finite. In a table, of shape [columns], NaN is a missing value, and no such.
 * @returns its index, or −1 where there is none
 */
export function firstUnusable(values: Float32Array, shape: readonly number[]): number {
  // x − x is 0 for finite numbers alone; sums of zeros tell in one comparison whether to look closer.
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] - values[i];
  if (sum === 0) return -1;
  const mayMiss = shape.length === 1;
  return values.findIndex((value) => !Number.isFinite(value) && !(mayMiss && Number.isNaN(value)));
}

export function notFinite(label: string, row: number, feature: number, value: number): DataError {
  const found = Number.isNaN(value) ? 'NaN' : `${value > 0 ? '' : '-'}infinity, or beyond float32`;
  return new DataError(
    `${label}: the value of row ${row}, feature ${feature} (from 0) is ${found}; expected finite numbers`,
  );
}

function newValues(dtype: ExampleDtype, length: number): Uint8Array | Float32Array {
  return dtype === 'uint8' ? new Uint8Array(length) : new Float32Array(length);
}

function bytesOf(values: Uint8Array | Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** One number each, in order; for arrays that are known to be small. */
export async function readNumbers(array: NumberArray): Promise<Float64Array> {
  const { type } = array;
  const numbers = new Float64Array(array.shape.reduce((product, dimension) => product * dimension, 1));
  let at = 0;
  for await (const raw of inBlocks(array.values(), type.bytes, Math.min(numbers.length, BLOCK_VALUES))) {
    const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
    for (let i = 0; i < raw.length; i += type.bytes) numbers[at++] = type.read(view, i, array.littleEndian);
  }
  return numbers;
}
