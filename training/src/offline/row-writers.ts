import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { type FileHandle, mkdtemp, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { stringify } from 'csv-stringify/sync';
import { ZipFile } from 'yazl';
import type { RowBatch, RowField } from './row-batch.js';

/** How results are written. */
export const ROW_FORMATS = ['ndjson', 'csv', 'npz'] as const;
export type RowFormat = (typeof ROW_FORMATS)[number];

/** Takes batches of results, which all have the same fields, and holds one at a time. */
export interface RowWriter {
  write(batch: RowBatch): Promise<void>;
  /** Makes the file appear, where there is one. */
  finish(): Promise<void>;
  /** Leaves nothing behind; does nothing after `finish`. */
  discard(): Promise<void>;
}

/** Writes text to a stream as it comes: lines of JSON or CSV. */
export function streamWriter(format: Exclude<RowFormat, 'npz'>, stream: Writable): RowWriter {
  const lines = format === 'csv' ? csvLines() : jsonLines;
  return {
    async write(batch) {
      // A reader that is slower than the model holds it up, instead of filling the memory.
      if (!stream.write(lines(batch))) await once(stream, 'drain');
    },
    async finish() {},
    async discard() {},
  };
}

/** Writes a file that appears at once, when it is finished, or not at all. */
export async function fileWriter(format: RowFormat, path: string): Promise<RowWriter> {
  return format === 'npz' ? NpzWriter.create(path) : textFileWriter(format, path);
}

async function textFileWriter(format: Exclude<RowFormat, 'npz'>, path: string): Promise<RowWriter> {
  const lines = format === 'csv' ? csvLines() : jsonLines;
  const temporary = temporaryPath(path);
  const file = await open(temporary, 'wx');
  let isOpen = true;
  const close = async () => {
    if (isOpen) await file.close();
    isOpen = false;
  };
  return {
    async write(batch) {
      await file.writeFile(lines(batch));
    },
    async finish() {
      await close();
      await rename(temporary, path);
    },
    async discard() {
      await close();
      await rm(temporary, { force: true });
    },
  };
}

/** In the directory of the file, so that a rename stays within one file system. */
const temporaryPath = (path: string) => join(dirname(path), `.elbo-${process.pid}-${randomBytes(8).toString('hex')}`);

/** One JSON object a row; a dot in a field's name makes an object of the parts. */
function jsonLines({ count, fields }: RowBatch): string {
  const lines: string[] = [];
  for (let row = 0; row < count; row++) {
    const object: Record<string, unknown> = {};
    for (const [name, field] of Object.entries(fields)) {
      const [whole, part] = name.split('.');
      if (part === undefined) object[whole] = plainValue(field, row);
      else object[whole] = { ...(object[whole] as object | undefined), [part]: plainValue(field, row) };
    }
    lines.push(JSON.stringify(object));
  }
  return `${lines.join('\n')}\n`;
}

/** A header and a line a row, as RFC 4180 quotes them; a field of several numbers is as many columns. */
function csvLines(): (batch: RowBatch) => string {
  let isFirst = true;
  return ({ count, fields }) => {
    const rows: unknown[][] = [];
    if (isFirst) rows.push(Object.entries(fields).flatMap(([name, { size }]) => columnNames(name, size)));
    isFirst = false;
    for (let row = 0; row < count; row++) rows.push(Object.values(fields).flatMap((field) => plainValue(field, row)));
    return stringify(rows, { cast: { boolean: String } });
  };
}

const columnNames = (name: string, size: number) =>
  size === 1 ? [name] : Array.from({ length: size }, (_, i) => `${name}_${i}`);

function plainValue(field: RowField, row: number): unknown {
  if (field.kind === 'bool' && field.size === 1) return field.values[row] === 1;
  if (field.size === 1) return field.values[row];
  return Array.from(field.values.slice(row * field.size, (row + 1) * field.size), Number);
}

const NPY_TYPES = { float32: '<f4', float64: '<f8', int32: '<i4', bool: '|b1' } as const;

/** Bytes that a header takes, whatever the number of rows will be: a multiple of 64, as NumPy writes them. */
const NPY_HEADER_BYTES = 128;

/**
 * Arrays of a .npz file, one a field: each grows in a file of its own, and the archive is made of them at the end, when their
 * lengths are known. Texts become numbers of an array that lists them, as `source` of `sources`.
 */
class NpzWriter implements RowWriter {
  readonly #path: string;
  readonly #directory: string;
  readonly #arrays = new Map<string, GrowingArray>();
  readonly #texts = new Map<string, Map<string, number>>();

  private constructor(path: string, directory: string) {
    this.#path = path;
    this.#directory = directory;
  }

  static async create(path: string): Promise<NpzWriter> {
    return new NpzWriter(path, await mkdtemp(join(dirname(path), '.elbo-npz-')));
  }

  async write({ fields }: RowBatch): Promise<void> {
    for (const [name, field] of Object.entries(fields)) {
      const numbers = field.kind === 'text' ? this.#numbered(name, field.values) : field;
      let array = this.#arrays.get(name);
      if (array === undefined) {
        array = await GrowingArray.create(join(this.#directory, `${name}.npy`), numbers);
        this.#arrays.set(name, array);
      }
      await array.append(numbers.values);
    }
  }

  #numbered(name: string, texts: readonly string[]): Exclude<RowField, { kind: 'text' }> {
    const known = this.#texts.get(name) ?? new Map<string, number>();
    this.#texts.set(name, known);
    const numbers = Int32Array.from(texts, (text) => {
      const number = known.get(text) ?? known.size;
      known.set(text, number);
      return number;
    });
    return { kind: 'int32', size: 1, values: numbers };
  }

  async finish(): Promise<void> {
    const zip = new ZipFile();
    for (const [name, array] of this.#arrays) {
      await array.finish();
      zip.addFile(array.path, `${name}.npy`, { compress: false });
    }
    for (const [name, known] of this.#texts) {
      zip.addBuffer(textArray([...known.keys()]), `${name}s.npy`, { compress: false });
    }
    zip.end();
    const whole = join(this.#directory, 'whole.npz');
    await pipeline(zip.outputStream, createWriteStream(whole));
    await rename(whole, this.#path);
    await this.discard();
  }

  async discard(): Promise<void> {
    for (const array of this.#arrays.values()) await array.close();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** A .npy file whose header is written last. */
class GrowingArray {
  readonly path: string;
  readonly #file: FileHandle;
  readonly #type: string;
  readonly #size: number;
  #values = 0;
  #isOpen = true;

  private constructor(path: string, file: FileHandle, type: string, size: number) {
    this.path = path;
    this.#file = file;
    this.#type = type;
    this.#size = size;
  }

  static async create(path: string, { kind, size }: Exclude<RowField, { kind: 'text' }>): Promise<GrowingArray> {
    const file = await open(path, 'wx');
    await file.writeFile(new Uint8Array(NPY_HEADER_BYTES));
    return new GrowingArray(path, file, NPY_TYPES[kind], size);
  }

  async append(values: Exclude<RowField, { kind: 'text' }>['values']): Promise<void> {
    await this.#file.writeFile(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    this.#values += values.length;
  }

  async finish(): Promise<void> {
    const rows = this.#values / this.#size;
    const header = npyHeader(this.#type, this.#size === 1 ? [rows] : [rows, this.#size]);
    await this.#file.write(header, 0, header.length, 0);
    await this.close();
  }

  async close(): Promise<void> {
    if (this.#isOpen) await this.#file.close();
    this.#isOpen = false;
  }
}

/** Format version 1.0 of NumPy Enhancement Proposal 1. */
function npyHeader(type: string, shape: readonly number[]): Buffer {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const dictionary = `{'descr': '${type}', 'fortran_order': False, 'shape': ${tuple}, }`;
  const header = Buffer.alloc(NPY_HEADER_BYTES, ' ', 'latin1');
  header.write('\x93NUMPY\x01\x00', 'latin1');
  header.writeUInt16LE(NPY_HEADER_BYTES - 10, 8);
  header.write(dictionary, 10, 'latin1');
  header.write('\n', NPY_HEADER_BYTES - 1, 'latin1');
  return header;
}

/** An array of NumPy's `<U`: UTF-32, each text filled up with zeros to the length of the longest. */
function textArray(texts: readonly string[]): Buffer {
  const points = texts.map((text) => Array.from(text, (character) => character.codePointAt(0) ?? 0));
  const longest = points.reduce((length, { length: own }) => Math.max(length, own), 1);
  const values = new Uint32Array(texts.length * longest);
  for (const [i, text] of points.entries()) values.set(text, i * longest);
  return Buffer.concat([npyHeader(`<U${longest}`, [texts.length]), new Uint8Array(values.buffer)]);
}
