import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { type Entry, fromFdPromise, type ZipFile } from 'yauzl';
import { ByteStream, checkRatio, decompressed, plainBytes } from './byte-stream.js';
import { DataError } from './data-error.js';
import { describeValues, ElementTypeError, readNpyHeader } from './npy.js';
import { byteLength, type NumberArray, readNumbers, storeArray } from './number-array.js';
import { type DataProgress, Fingerprint, type RowStore, type StoredRows } from './row-store.js';
import { oneLine, stampOf, withSourceFile } from './source-file.js';

/** What a .npz file holds for training. */
export interface NpzRows {
  readonly train: LabelledRows;
  /** Where the file has arrays for testing of its own. */
  readonly test?: LabelledRows;
  /** Which arrays were taken, and what was left out and why. */
  readonly description: string;
}

export interface LabelledRows extends StoredRows {
  readonly labels?: Uint8Array;
}

const STORED = 0;
const DEFLATED = 8;

/** More arrays than any data set has. */
const MAX_ARRAYS = 10_000;

/** The last is what `elbo sample` and `elbo reconstruct` write beside latents. */
const VALUE_NAMES = ['X', 'x', 'data', 'x_mean'];
/** Beside values of the same shape: what single-cell files keep of which these were computed. */
const COUNTS_NAME = 'counts';
const LABEL_NAMES = ['y', 'labels'];

/**
 * Reads the rows of a .npz file: of the array X, x, data or x_mean, else of the only or first one that is not labels; of counts, where
 * that array has the same shape, since the other was then computed from the counts; with y or labels as their labels, where those are whole numbers from 0 to 255. Of a file with x_train and x_test, both parts.
 * Sizes, checksums and how far data may grow are checked for every array that is read.
 * @throws {DataError} where the file cannot be read, is damaged, or has no array of examples
 */
export function readNpz(path: string, store: RowStore, onProgress?: DataProgress): Promise<NpzRows> {
  return withSourceFile(path, 'a .npz file', async (file, stats) => {
    const archive = new Archive(path, file, stats);
    const names = await archive.names();
    const read = async (values: string, labels: string | undefined): Promise<[LabelledRows, string]> => {
      const key = new Fingerprint(`npz ${values}`).add(path, stats).digest();
      const rows = await archive.open(values, (array) => storeArray(array, store, key, onProgress));
      if (labels === undefined) return [rows, values];
      const found = await archive
        .open(labels, (array) => readLabels(array, rows.count, values))
        .catch((error: unknown) => {
          if (error instanceof ElementTypeError) return 'it has no numbers';
          throw error;
        });
      if (typeof found === 'string') return [rows, `${values} (${labels} left out: ${found})`];
      return [{ ...rows, labels: found }, `${values} with labels ${labels}`];
    };
    const has = (name: string) => (names.includes(name) ? name : undefined);
    const trainName = has('x_train') ?? has('X_train');
    const testName = has('x_test') ?? has('X_test');
    if (trainName !== undefined && testName !== undefined) {
      const [train, trainText] = await read(trainName, has('y_train'));
      const [test, testText] = await read(testName, has('y_test'));
      if (train.dtype !== test.dtype || train.shape.join() !== test.shape.join()) {
        throw new DataError(
          `${path}: ${testName} is of ${test.dtype} ${test.shape.join(' x ')}; expected ${train.dtype} ${train.shape.join(' x ')}, as ${trainName}`,
        );
      }
      return { train, test, description: `arrays ${trainText} and ${testText}` };
    }
    const labels = LABEL_NAMES.find(has);
    const values = VALUE_NAMES.find(has) ?? names.find((name) => !LABEL_NAMES.includes(name));
    if (values === undefined) {
      throw new DataError(
        `${path}: the arrays are ${names.join(', ') || 'none'}; expected one named ${VALUE_NAMES.join(', ')}`,
      );
    }
    const shapeOf = (name: string) => archive.open(name, async ({ shape }) => shape.join());
    const areCounts = has(COUNTS_NAME) !== undefined && (await shapeOf(COUNTS_NAME)) === (await shapeOf(values));
    const [train, text] = await read(areCounts ? COUNTS_NAME : values, labels);
    return { train, description: `array ${text}` };
  });
}

/** @returns the labels, or why they are none */
async function readLabels(array: NumberArray, count: number, values: string): Promise<Uint8Array | string> {
  const { shape } = array;
  if (shape[0] !== count || shape.slice(1).some((dimension) => dimension !== 1)) {
    throw new DataError(
      `${array.label}: dimensions are ${shape.join(' x ') || 'none'}; expected ${count}, a label for each row of ${values}`,
    );
  }
  const numbers = await readNumbers(array);
  const isTrue = array.type.name === 'bool' ? 255 : 1;
  const odd = numbers.find((number) => !(Number.isInteger(number) && number >= 0 && number <= 255));
  return odd === undefined
    ? Uint8Array.from(numbers, (number) => number / isTrue)
    : `it has ${odd}, and labels are whole numbers from 0 to 255`;
}

/** A zip archive whose central directory was read. */
class Archive {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #stats: { readonly size: number; readonly mtimeMs: number };
  readonly #entries = new Map<string, Entry>();
  #zip: ZipFile | undefined;

  constructor(path: string, file: FileHandle, stats: { readonly size: number; readonly mtimeMs: number }) {
    this.#path = path;
    this.#file = file;
    this.#stats = stats;
  }

  /** Names of the arrays without .npy, in the order of the central directory. */
  async names(): Promise<string[]> {
    const signature = Buffer.alloc(4);
    const { bytesRead } = await this.#file.read(signature, 0, 4, 0);
    const found = signature.toString('hex', 0, bytesRead);
    if (found !== '504b0304' && found !== '504b0506') {
      throw new DataError(
        `${this.#path}: it begins with 0x${found}; expected 0x504b0304, as every .npz file (a zip archive)`,
      );
    }
    try {
      const zip = await fromFdPromise(this.#file.fd, { lazyEntries: true, autoClose: false, strictFileNames: true });
      this.#zip = zip;
      if (zip.entryCount > MAX_ARRAYS) {
        throw new DataError(`${this.#path}: there are ${zip.entryCount} arrays; expected at most ${MAX_ARRAYS}`);
      }
      for await (const entry of zip.eachEntry()) {
        const name = entry.fileName.replace(/\.npy$/, '');
        if (this.#entries.has(name)) {
          throw new DataError(`${this.#path}: there are two arrays ${JSON.stringify(name)}; expected one of each name`);
        }
        this.#entries.set(name, entry);
      }
    } catch (error) {
      throw this.#damaged(error);
    }
    return [...this.#entries.keys()];
  }

  /** Opens an array, runs `use`, and checks that what was read is what the archive says it holds. */
  async open<Result>(name: string, use: (array: NumberArray) => Promise<Result>): Promise<Result> {
    const label = `${this.#path}: ${name}`;
    const entry = this.#entries.get(name);
    if (entry === undefined || this.#zip === undefined) throw new DataError(`${label}: there is no such array`);
    const { compressedSize, uncompressedSize, compressionMethod } = entry;
    if (entry.isEncrypted()) throw new DataError(`${label}: the array is encrypted; expected a plain one`);
    if (compressionMethod !== STORED && compressionMethod !== DEFLATED) {
      throw new DataError(
        `${label}: the compression method is ${compressionMethod}; expected 0 (stored) or 8 (deflate)`,
      );
    }
    if (compressionMethod === DEFLATED) checkRatio(`${label}: an array`, compressedSize, uncompressedSize);
    const { fileDataStart: start } = await this.#zip
      .readLocalFileHeaderPromise(entry, { minimal: true })
      .catch((error: unknown) => {
        throw this.#damaged(error);
      });
    const end = start + compressedSize;
    const content = (): AsyncIterable<Buffer> =>
      compressionMethod === DEFLATED
        ? decompressed(label, this.#file, 'deflate', start, end)
        : plainBytes(this.#file, start, end);
    const stream = new ByteStream(checked(label, content(), entry));
    try {
      const header = await readNpyHeader(label, stream);
      const bytes = byteLength(label, header.shape, header.type);
      const description = describeValues(header, bytes);
      if (uncompressedSize - header.length !== bytes) {
        throw new DataError(
          `${label}: there are ${uncompressedSize - header.length} bytes of values; expected ${description}`,
        );
      }
      const values = () => stream.rest(label, bytes, description);
      const place = { path: this.#path, file: this.#file, offset: start + header.length, stamp: stampOf(this.#stats) };
      return await use({
        label,
        ...header,
        values,
        ...(compressionMethod === STORED && {
          place,
          check: async () => {
            for await (const chunk of values()) void chunk;
          },
        }),
      });
    } finally {
      await stream.close();
    }
  }

  #damaged(error: unknown): DataError {
    if (error instanceof DataError) return error;
    return new DataError(`${this.#path}: the zip archive is damaged (${oneLine((error as Error).message)})`, {
      cause: error,
    });
  }
}

/** Passes an entry's bytes on, and checks their number and checksum against the central directory. */
async function* checked(label: string, content: AsyncIterable<Buffer>, entry: Entry): AsyncGenerator<Buffer> {
  let crc = 0;
  let seen = 0;
  for await (const chunk of content) {
    seen += chunk.length;
    if (seen > entry.uncompressedSize) break;
    crc = crc32(chunk, crc);
    yield chunk;
  }
  if (seen !== entry.uncompressedSize) {
    const found = seen > entry.uncompressedSize ? 'more' : seen;
    throw new DataError(`${label}: there are ${found} bytes; expected ${entry.uncompressedSize}, as the archive says`);
  }
  if (crc !== entry.crc32) {
    const hex = (value: number) => `0x${value.toString(16).padStart(8, '0')}`;
    throw new DataError(`${label}: the checksum is ${hex(crc)}; expected ${hex(entry.crc32)}, as the archive says`);
  }
}
