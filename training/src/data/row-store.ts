import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Column } from '@elbo/models';
import { plainBytes } from './byte-stream.js';
import { DataError } from './data-error.js';
import { bytesPerValue, type ExampleDtype, exampleSize, type Storage, sharedValues } from './dataset.js';
import { openExamples } from './example-reader.js';
import { type FileStamp, oneLine, stampOf } from './source-file.js';

/** What was done, what there is to do, and what it is. */
export type DataProgress = (done: number, total: number, text: string) => void;

/** What rows are, besides their values. */
export interface RowDescription {
  readonly count: number;
  readonly shape: readonly number[];
  readonly dtype: ExampleDtype;
  /** Of each feature, where the source has them. */
  readonly columns?: readonly Column[];
}

export interface StoredRows extends RowDescription {
  readonly storage: Storage;
}

/** Takes rows in order, in pieces of any size. */
export type RowSink = (bytes: Uint8Array) => Promise<void>;

/** Rows of up to this many bytes are kept in memory. */
export const MEMORY_BUDGET = 128 << 20;

/** Goes up where the form of the files changes, so that old ones are made again. */
const FORM = 2;
const MAGIC = Buffer.from('ELBOROWS');
/** The footer's length, the checksum of all before the trailer, the magic number. */
const TRAILER_BYTES = 8 + MAGIC.length;
const MAX_FOOTER_BYTES = 256 << 20;

/** A write that was cut off a day ago has no process any more. */
const STALE_MS = 24 * 60 * 60 * 1000;

/** Growing rows of unknown number are kept in pieces of at least this many bytes. */
const PIECE_BYTES = 4 << 20;

/** Where converted rows are kept: ELBO_CACHE_DIR, else the operating system's directory for what can be made again. */
export function defaultCacheDirectory(): string {
  const { ELBO_CACHE_DIR, XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  if (ELBO_CACHE_DIR) return ELBO_CACHE_DIR;
  if (XDG_CACHE_HOME) return join(XDG_CACHE_HOME, 'elbo');
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Caches', 'elbo');
  if (process.platform === 'win32' && LOCALAPPDATA) return join(LOCALAPPDATA, 'elbo', 'cache');
  return join(homedir(), '.cache', 'elbo');
}

/** Names a conversion by where its sources lie, their sizes and times, and what is done to them. */
export class Fingerprint {
  readonly #hash = createHash('sha256').update(`elbo rows ${FORM}\n`);

  constructor(conversion: string) {
    this.#hash.update(`${JSON.stringify(conversion)}\n`);
  }

  add(path: string, { size, mtimeMs }: FileStamp): this {
    this.#hash.update(`${JSON.stringify([resolve(path), size, mtimeMs])}\n`);
    return this;
  }

  /** 32 hexadecimal digits. Nothing may be added afterwards. */
  digest(): string {
    return this.#hash.digest('hex').slice(0, 32);
  }
}

/** The footer of a cache file. */
interface Footer extends RowDescription {
  readonly key: string;
}

/**
 * Keeps rows in memory up to a budget, and in files of a cache directory beyond it. A file holds the rows from its
 * first byte on, then a JSON footer, the footer's length, the CRC-32 of rows and footer (both uint32, little-endian)
 * and a magic number; it appears at once or not at all, and is used again as long as its sources stay as they are.
 */
export class RowStore {
  readonly directory: string;
  readonly memoryBudget: number;

  constructor(options: { readonly cacheDir?: string | undefined; readonly memoryBudget?: number | undefined } = {}) {
    this.directory = options.cacheDir ?? defaultCacheDirectory();
    this.memoryBudget = options.memoryBudget ?? MEMORY_BUDGET;
  }

  /**
   * @param key fingerprint of the conversion
   * @param bytes how many the rows will be, where that is known before
   * @param produce writes the rows and says what they are; not called where they are there already
   * @throws {DataError} where the cache directory has no room or cannot be written
   */
  async keep(
    key: string,
    bytes: number | undefined,
    produce: (sink: RowSink) => Promise<RowDescription>,
  ): Promise<StoredRows> {
    if (bytes !== undefined && bytes <= this.memoryBudget) return this.#inMemory(bytes, produce);
    const path = this.#path(key);
    const kept = await this.kept(key);
    if (kept !== undefined) return kept;
    if (bytes === undefined) return this.#growing(path, key, produce);
    const file = await CacheFile.create(path, bytes);
    try {
      return await file.finish(key, await produce((chunk) => file.write(chunk)));
    } finally {
      await file.discard();
    }
  }

  /** The rows of a conversion that was kept in a file before, or undefined. */
  async kept(key: string): Promise<StoredRows | undefined> {
    const rows = await openCached(this.#path(key), key);
    if (rows === undefined) return undefined;
    const length = rows.count * exampleSize(rows);
    if (length * bytesPerValue(rows.dtype) > this.memoryBudget) return rows;
    // Made by a run that had less memory to spare.
    const values = sharedValues(rows.dtype, length);
    const reader = await openExamples(rows);
    try {
      await reader.read(
        Int32Array.from({ length: rows.count }, (_, i) => i),
        values,
      );
    } finally {
      await reader.close();
    }
    return { ...rows, storage: { kind: 'memory', values } };
  }

  /** A file for scratch, which has no name and is gone when it is closed. */
  async scratchFile(bytes: number): Promise<FileHandle> {
    return asCacheError(this.directory, async () => {
      await makeRoom(this.directory, bytes);
      const path = join(this.directory, temporaryName('scratch'));
      const file = await open(path, 'wx+');
      await rm(path);
      return file;
    });
  }

  #path(key: string): string {
    return join(this.directory, `${key}.rows`);
  }

  async #inMemory(bytes: number, produce: (sink: RowSink) => Promise<RowDescription>): Promise<StoredRows> {
    const values = sharedValues('uint8', bytes) as Uint8Array;
    let filled = 0;
    const description = await produce(async (chunk) => {
      values.set(chunk, filled);
      filled += chunk.length;
    });
    return inMemoryRows(values, description);
  }

  async #growing(path: string, key: string, produce: (sink: RowSink) => Promise<RowDescription>): Promise<StoredRows> {
    const pieces: Uint8Array[] = [];
    let room = new Uint8Array(0);
    let filled = 0;
    let file: CacheFile | undefined;
    try {
      const description = await produce(async (chunk) => {
        if (file === undefined && filled + chunk.length > this.memoryBudget) {
          file = await CacheFile.create(path, filled + chunk.length);
          for (const piece of pieces.splice(0)) await file.write(piece);
        }
        if (file !== undefined) return file.write(chunk);
        if (room.length < chunk.length) {
          room = new Uint8Array(Math.max(PIECE_BYTES, chunk.length));
        }
        room.set(chunk);
        pieces.push(room.subarray(0, chunk.length));
        room = room.subarray(chunk.length);
        filled += chunk.length;
      });
      if (file !== undefined) return await file.finish(key, description);
      const values = sharedValues('uint8', filled) as Uint8Array;
      let at = 0;
      for (const piece of pieces) {
        values.set(piece, at);
        at += piece.length;
      }
      return inMemoryRows(values, description);
    } finally {
      await file?.discard();
    }
  }
}

function inMemoryRows(bytes: Uint8Array, description: RowDescription): StoredRows {
  const values = description.dtype === 'uint8' ? bytes : new Float32Array(bytes.buffer, 0, bytes.length / 4);
  return { ...description, storage: { kind: 'memory', values } };
}

/** A cache file in the making, under another name until it is whole. */
class CacheFile {
  readonly #path: string;
  readonly #temporary: string;
  readonly #file: FileHandle;
  #bytes = 0;
  #crc = 0;
  #open = true;

  private constructor(path: string, temporary: string, file: FileHandle) {
    this.#path = path;
    this.#temporary = temporary;
    this.#file = file;
  }

  static create(path: string, bytes: number): Promise<CacheFile> {
    const directory = join(path, '..');
    return asCacheError(directory, async () => {
      await makeRoom(directory, bytes);
      const temporary = join(directory, temporaryName('rows'));
      return new CacheFile(path, temporary, await open(temporary, 'wx'));
    });
  }

  write(bytes: Uint8Array): Promise<void> {
    return asCacheError(this.#path, async () => {
      await writeAll(this.#file, bytes);
      this.#crc = crc32(bytes, this.#crc);
      this.#bytes += bytes.length;
    });
  }

  finish(key: string, description: RowDescription): Promise<StoredRows> {
    return asCacheError(this.#path, async () => {
      const footer: Footer = { ...description, key };
      const json = Buffer.from(JSON.stringify(footer));
      const trailer = Buffer.alloc(TRAILER_BYTES);
      trailer.writeUInt32LE(json.length, 0);
      trailer.writeUInt32LE(crc32(json, this.#crc), 4);
      MAGIC.copy(trailer, 8);
      await writeAll(this.#file, Buffer.concat([json, trailer]));
      await this.#file.sync();
      const stamp = stampOf(await this.#file.stat());
      this.#open = false;
      await this.#file.close();
      await rename(this.#temporary, this.#path);
      return { ...description, storage: { kind: 'file', path: this.#path, offset: 0, stamp } };
    });
  }

  /** Removes what was not finished. */
  async discard(): Promise<void> {
    if (this.#open) await this.#file.close();
    this.#open = false;
    await rm(this.#temporary, { force: true });
  }
}

/** @returns undefined where there is no such file, or not the one that was written */
async function openCached(path: string, key: string): Promise<StoredRows | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  try {
    const stats = await file.stat();
    if (!stats.isFile() || stats.size < TRAILER_BYTES) return undefined;
    const trailer = Buffer.alloc(TRAILER_BYTES);
    await file.read(trailer, 0, TRAILER_BYTES, stats.size - TRAILER_BYTES);
    const length = trailer.readUInt32LE(0);
    const end = stats.size - TRAILER_BYTES - length;
    if (!trailer.subarray(8).equals(MAGIC) || end < 0 || length > MAX_FOOTER_BYTES) return undefined;
    const json = Buffer.alloc(length);
    await file.read(json, 0, length, end);
    const footer = JSON.parse(json.toString()) as Footer;
    const { key: found, ...description } = footer;
    const bytes = description.count * exampleSize(description) * bytesPerValue(description.dtype);
    if (found !== key || bytes !== end) return undefined;
    let crc = 0;
    for await (const chunk of plainBytes(file, 0, end + length)) crc = crc32(chunk, crc);
    if (crc !== trailer.readUInt32LE(4)) return undefined;
    return {
      ...description,
      storage: { kind: 'file', path, offset: 0, stamp: stampOf(stats) },
    };
  } catch {
    // A footer that cannot be parsed is a damaged file; one that cannot be read shows when it is written anew.
    return undefined;
  } finally {
    await file.close();
  }
}

const TEMPORARY = /^\.(rows|scratch|survey)-[0-9]+-[0-9a-f]{16}$/;
const temporaryName = (kind: 'rows' | 'scratch') => `.${kind}-${process.pid}-${randomBytes(8).toString('hex')}`;

/** Makes the directory, clears away what killed processes left, and checks that the bytes fit. */
async function makeRoom(directory: string, bytes: number): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const name of await readdir(directory)) {
    if (!TEMPORARY.test(name)) continue;
    const path = join(directory, name);
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
    if (Date.now() - mtimeMs > STALE_MS) await rm(path, { force: true });
  }
  const { bavail, bsize } = await statfs(directory);
  if (bavail * bsize < bytes) {
    throw new DataError(
      `${directory}: ${mebibytes(bavail * bsize)} are free; expected ${mebibytes(bytes)} for converted data: free some, or name another directory by --cache-dir DIR`,
    );
  }
}

const mebibytes = (bytes: number) => `${Math.ceil(bytes / (1 << 20))} MiB`;

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done)).bytesWritten;
  }
}

async function asCacheError<Result>(path: string, action: () => Promise<Result>): Promise<Result> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw new DataError(
      `${path}: converted data cannot be kept there (${oneLine((error as Error).message)}); name another directory by --cache-dir DIR`,
      { cause: error },
    );
  }
}
