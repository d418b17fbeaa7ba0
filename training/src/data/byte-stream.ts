import type { FileHandle } from 'node:fs/promises';
import { pipeline } from 'node:stream';
import { createGunzip, createInflateRaw } from 'node:zlib';
import { DataError } from './data-error.js';
import { oneLine } from './source-file.js';

/** Deflate cannot shrink data by more than this factor (zlib technical details, "Maximum Compression Factor"). */
export const MAX_DEFLATE_RATIO = 1032;

/** Real data seldom shrink by more than this; what does, and is large besides, was made to fill disks. */
const MAX_LARGE_RATIO = 100;
const LARGE_BYTES = 128 << 20;

const CHUNK_BYTES = 1 << 20;

/**
 * @param label the file, and what in it is so large
 * @throws {DataError} where so many compressed bytes cannot, or in earnest do not, hold so many uncompressed ones
 */
export function checkRatio(label: string, compressed: number, uncompressed: number): void {
  if (uncompressed > compressed * MAX_DEFLATE_RATIO) {
    throw new DataError(
      `${label}, ${uncompressed} bytes, more than ${compressed} compressed bytes can hold; expected a header that fits`,
    );
  }
  if (uncompressed > LARGE_BYTES && uncompressed > compressed * MAX_LARGE_RATIO) {
    throw new DataError(
      `${label}, ${uncompressed} bytes, in ${compressed} compressed ones; expected at most ${MAX_LARGE_RATIO} times as many above 128 MiB`,
    );
  }
}

/**
 * The bytes of a file from `start` up to, not including, `end`, or to its end. Unlike a stream of Node's, it leaves the
 * file open when it is given up half-way.
 */
export async function* plainBytes(file: FileHandle, start: number, end: number): AsyncGenerator<Buffer> {
  for (let position = start; position < end; ) {
    const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, end - position));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
    position += bytesRead;
  }
}

/**
 * Decompresses the bytes of a file from `start` up to, not including, `end`. The file stays open.
 * @throws {DataError} where the stream is corrupt, is cut off, or ends before `end`
 */
export async function* decompressed(
  label: string,
  file: FileHandle,
  format: 'gzip' | 'deflate',
  start: number,
  end: number,
): AsyncGenerator<Buffer> {
  const decompress = format === 'gzip' ? createGunzip : createInflateRaw;
  // The callback is empty because what goes wrong also ends the iteration.
  const stream = pipeline(plainBytes(file, start, end), decompress({ chunkSize: CHUNK_BYTES }), () => {});
  try {
    yield* stream;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'Z_BUF_ERROR') {
      throw new DataError(`${label}: the ${format} stream is cut off; expected it to be complete`, { cause: error });
    }
    if (code?.startsWith('Z_')) {
      throw new DataError(`${label}: the ${format} stream is corrupt (${oneLine(message)})`, { cause: error });
    }
    throw error;
  }
  const left = end - start - stream.bytesWritten;
  if (left !== 0) {
    throw new DataError(`${label}: ${left} bytes follow the ${format} stream; expected the file to end with it`);
  }
}

/** Bytes that come in chunks of any size, of which the first ones are taken in pieces. */
export class ByteStream {
  readonly #chunks: AsyncIterator<Buffer>;
  #buffered: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** The next `length` bytes; fewer where the stream ends before. */
  async take(length: number): Promise<Buffer> {
    while (this.#buffered.length < length) {
      const { done, value } = await this.#chunks.next();
      if (done) break;
      this.#buffered = Buffer.concat([this.#buffered, value]);
    }
    const taken = this.#buffered.subarray(0, length);
    this.#buffered = this.#buffered.subarray(taken.length);
    return taken;
  }

  /**
   * All bytes that were not taken, which must be `length`.
   * @throws {DataError} where there are more or fewer; more are noticed before they are read
   */
  async *rest(label: string, length: number, description: string): AsyncGenerator<Buffer> {
    let seen = 0;
    const checked = (chunk: Buffer): Buffer => {
      seen += chunk.length;
      if (seen <= length) return chunk;
      throw new DataError(`${label}: there are more bytes than the header says; expected ${description}`);
    };
    if (this.#buffered.length > 0) yield checked(this.#buffered);
    for (;;) {
      const { done, value } = await this.#chunks.next();
      if (done) break;
      yield checked(value);
    }
    if (seen !== length) {
      throw new DataError(`${label}: there are ${seen} bytes of values; expected ${description}`);
    }
  }

  /** Gives up what was not read. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

/** Bytes in blocks of a whole number of records, up to `records` each; what is left over is a block, too. */
export async function* inBlocks(
  chunks: AsyncIterable<Uint8Array>,
  recordBytes: number,
  records: number,
): AsyncGenerator<Uint8Array> {
  const block = new Uint8Array(recordBytes * records);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let from = 0; from < chunk.length; ) {
      const length = Math.min(chunk.length - from, block.length - filled);
      block.set(chunk.subarray(from, from + length), filled);
      from += length;
      filled += length;
      if (filled === block.length) {
        yield block;
        filled = 0;
      }
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}
