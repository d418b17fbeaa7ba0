import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { type FileHandle, mkdir, mkdtemp, open, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { NPY_HEADER_BYTES, npyHeader } from '@elbo/models';
import { stringify } from 'csv-stringify/sync';
import { ZipFile } from 'yazl';
import { encodePng, imageGrid } from '../pictures/image-grid.js';
import type { NumericField, RowBatch, RowField } from './row-batch.js';

/** How results are written. */
export const ROW_FORMATS = ['ndjson', 'csv', 'npz', 'png'] as const;
export type RowFormat = (typeof ROW_FORMATS)[number];
/** Those of numbers, not of pictures. */
export const NUMBER_FORMATS: readonly RowFormat[] = ['ndjson', 'csv', 'npz'];
/** Formats that are lines of text. */
export type TextFormat = 'ndjson' | 'csv';

/** Takes batches of results, which all have the same fields, and holds one at a time. */
export interface RowWriter {
  write(batch: RowBatch): Promise<void>;
  /** Makes the file appear, where there is one. */
  finish(): Promise<void>;
  /** Leaves nothing behind; does nothing after `finish`. */
  discard(): Promise<void>;
}

/** Writes text to a stream as it comes: lines of JSON or CSV. */
export function streamWriter(format: TextFormat, stream: Writable): RowWriter {
  const lines = linesOf(format);
  return {
    async write(batch) {
      // A reader that is slower than the model holds it up, instead of filling the memory.
      if (!stream.write(lines(batch))) await once(stream, 'drain');
    },
    async finish() {},
    async discard() {},
  };
}

/** Writes a file that appears at once, when it is finished, or not at all; its directory is made where it is not there. */
export async function fileWriter(format: RowFormat, path: string): Promise<RowWriter> {
  await mkdir(dirname(path), { recursive: true });
  if (format === 'npz') return NpzWriter.create(path);
  return format === 'png' ? pngWriter(path) : textFileWriter(format, path);
}

async function textFileWriter(format: TextFormat, path: string): Promise<RowWriter> {
  const lines = linesOf(format);
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

/** Images that one picture holds at most; those beyond are left out. */
const GRID_IMAGES = 1024;

/** One grid of the images among the results: the field that has the shape of images. */
function pngWriter(path: string): RowWriter {
  const images: Float32Array[] = [];
  let shape: readonly number[] = [];
  return {
    async write({ fields }) {
      const field = Object.values(fields).find((one): one is NumericField => 'shape' in one && one.shape?.length === 3);
      if (field?.kind !== 'float32' || field.shape === undefined) return;
      shape = field.shape;
      for (let at = 0; at < field.values.length && images.length < GRID_IMAGES; at += field.size) {
        images.push(field.values.slice(at, at + field.size));
      }
    },
    async finish() {
      const [channels, height, width] = shape;
      const columns = Math.ceil(Math.sqrt(images.length));
      const png = await encodePng(
        imageGrid(images, { shape: [channels, height, width], columns, gap: 2, background: 96 }),
      );
      const temporary = temporaryPath(path);
      await writeFile(temporary, png);
      await rename(temporary, path);
    },
    async discard() {},
  };
}

/** In the directory of the file, so that a rename stays within one file system. */
const temporaryPath = (path: string) => join(dirname(path), `.elbo-${process.pid}-${randomBytes(8).toString('hex')}`);

const linesOf = (format: TextFormat): ((batch: RowBatch) => string) => (format === 'csv' ? csvLines() : jsonLines);

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
    if (isFirst) rows.push(Object.entries(fields).flatMap(([name, field]) => columnNames(name, field)));
    isFirst = false;
    for (let row = 0; row < count; row++) rows.push(Object.values(fields).flatMap((field) => plainValue(field, row)));
    return stringify(rows, { cast: { boolean: String } });
  };
}

function columnNames(name: string, field: RowField): readonly string[] {
  if (field.kind !== 'text' && field.names !== undefined) return field.names;
  return field.size === 1 ? [name] : Array.from({ length: field.size }, (_, i) => `${name}_${i}`);
}

function plainValue(field: RowField, row: number): unknown {
  if (field.kind === 'bool' && field.size === 1) return field.values[row] === 1;
  if (field.size === 1) return field.values[row];
  return Array.from(field.values.slice(row * field.size, (row + 1) * field.size), Number);
}

const NPY_TYPES = { float32: '<f4', float64: '<f8', int32: '<i4', bool: '|b1' } as const;

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

  #numbered(name: string, texts: readonly string[]): NumericField {
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
  readonly #shape: readonly number[];
  #values = 0;
  #isOpen = true;

  private constructor(path: string, file: FileHandle, { kind, size, shape = size === 1 ? [] : [size] }: NumericField) {
    this.path = path;
    this.#file = file;
    this.#type = NPY_TYPES[kind];
    this.#size = size;
    this.#shape = shape;
  }

  static async create(path: string, field: NumericField): Promise<GrowingArray> {
    const file = await open(path, 'wx');
    await file.writeFile(new Uint8Array(NPY_HEADER_BYTES));
    return new GrowingArray(path, file, field);
  }

  async append(values: NumericField['values']): Promise<void> {
    await this.#file.writeFile(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    this.#values += values.length;
  }

  async finish(): Promise<void> {
    const header = npyHeader(this.#type, [this.#values / this.#size, ...this.#shape]);
    await this.#file.write(header, 0, header.length, 0);
    await this.close();
  }

  async close(): Promise<void> {
    if (this.#isOpen) await this.#file.close();
    this.#isOpen = false;
  }
}

/** An array of NumPy's `<U`: UTF-32, each text filled up with zeros to the length of the longest. */
function textArray(texts: readonly string[]): Buffer {
  const points = texts.map((text) => Array.from(text, (character) => character.codePointAt(0) ?? 0));
  const longest = points.reduce((length, { length: own }) => Math.max(length, own), 1);
  const values = new Uint32Array(texts.length * longest);
  for (const [i, text] of points.entries()) values.set(text, i * longest);
  return Buffer.concat([npyHeader(`<U${longest}`, [texts.length]), new Uint8Array(values.buffer)]);
}
