import { readSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { DataError } from './data-error.js';
import { bytesPerValue, type Examples, exampleSize } from './dataset.js';
import { asDataError, checkUnchanged } from './source-file.js';

/** Reads examples by number, wherever they lie. */
export interface ExampleReader {
  /**
   * Copies the examples at `indices` (numbers within these examples, in any order, repeated or not), row-major and in
   * that order, into a fresh or a given array. Beside the target it needs little memory, whatever the number.
   * @throws {RangeError} where an index is none of these examples, or the target is of another type or too small
   * @throws {DataError} where the file has changed since it was checked, or cannot be read
   */
  read(indices: ArrayLike<number>, target?: Uint8Array | Float32Array): Promise<Uint8Array | Float32Array>;
  /** The examples from `start` up to, not including, `end`. */
  range(start: number, end: number): Promise<Uint8Array | Float32Array>;
  /** Closes the file; what is still being read ends first. */
  close(): Promise<void>;
}

type Source = Pick<Examples, 'count' | 'shape' | 'dtype' | 'storage' | 'rows'>;

/** Rows with at most this many bytes between them are read together: one call costs as much as copying them. */
const GAP_BYTES = 8 << 10;

/** What is read together at most, where rows have to be put in another order afterwards. */
const SCRATCH_BYTES = 1 << 20;

/** A read of less is done at once: to hand it to another thread and back takes longer than the page cache. */
const BLOCKING_BYTES = 256 << 10;

/** Bytes read at once before others have their turn on this thread. */
const TURN_BYTES = 8 << 20;

/**
 * Opens examples for reading.
 * @throws {DataError} where their file cannot be opened, is too short, or has changed since it was checked
 */
export async function openExamples(examples: Source): Promise<ExampleReader> {
  const { storage, count, rows } = examples;
  if (storage.kind === 'memory') return new MemoryReader(examples, storage.values);
  const { path, offset, stamp } = storage;
  try {
    const file = await open(path, 'r');
    try {
      const stats = await file.stat();
      if (stamp !== undefined) checkUnchanged(path, stats, stamp);
      const needed = offset + (rows === undefined ? count : 0) * exampleSize(examples) * bytesPerValue(examples.dtype);
      if (stats.size < needed) throw new DataError(`${path}: there are ${stats.size} bytes; expected ${needed}`);
      return new FileReader(examples, file, { path, offset, stamp: stamp ?? stats });
    } catch (error) {
      await file.close();
      throw error;
    }
  } catch (error) {
    throw asDataError(error, path);
  }
}

/** What both kinds share: the checks, the target, and which row of the storage an index means. */
abstract class Reader implements ExampleReader {
  /** Numbers in one example. */
  protected readonly size: number;
  readonly #examples: Source;

  constructor(examples: Source) {
    this.#examples = examples;
    this.size = exampleSize(examples);
  }

  async read(indices: ArrayLike<number>, target = this.#fresh(indices.length)): Promise<Uint8Array | Float32Array> {
    const { count, rows } = this.#examples;
    const wanted = new Int32Array(indices.length);
    for (let i = 0; i < wanted.length; i++) {
      const index = indices[i];
      if (!(Number.isInteger(index) && index >= 0 && index < count)) {
        throw new RangeError(`example ${index} of ${count}; expected an index from 0 to ${count - 1}`);
      }
      wanted[i] = rows === undefined ? index : rows[index];
    }
    return this.#fill(wanted, target);
  }

  async range(start: number, end: number): Promise<Uint8Array | Float32Array> {
    const { count, rows } = this.#examples;
    if (!(Number.isInteger(start) && Number.isInteger(end) && 0 <= start && start <= end && end <= count)) {
      throw new RangeError(`examples ${start} to ${end} of ${count}; expected a range within them`);
    }
    const wanted =
      rows === undefined ? Int32Array.from({ length: end - start }, (_, i) => start + i) : rows.subarray(start, end);
    return this.#fill(wanted, this.#fresh(wanted.length));
  }

  abstract close(): Promise<void>;

  /** Copies rows of the storage into the target, in order. */
  protected abstract copy(rows: Int32Array, target: Uint8Array | Float32Array): Promise<void>;

  #fresh(length: number): Uint8Array | Float32Array {
    const values = length * this.size;
    return this.#examples.dtype === 'uint8' ? new Uint8Array(values) : new Float32Array(values);
  }

  async #fill(rows: Int32Array, target: Uint8Array | Float32Array): Promise<Uint8Array | Float32Array> {
    const { dtype } = this.#examples;
    if (target instanceof Float32Array !== (dtype === 'float32')) {
      throw new RangeError(`the target is a ${target.constructor.name}; expected an array of ${dtype}`);
    }
    if (target.length < rows.length * this.size) {
      throw new RangeError(`the target holds ${target.length} values; expected at least ${rows.length * this.size}`);
    }
    await this.copy(rows, target);
    return target;
  }
}

/** Calls `use` for every longest run of rows that follow each other, with the place of its first row in the order. */
function eachRun(rows: Int32Array, use: (first: number, length: number, at: number) => void): void {
  for (let at = 0; at < rows.length; ) {
    let length = 1;
    while (at + length < rows.length && rows[at + length] === rows[at] + length) length++;
    use(rows[at], length, at);
    at += length;
  }
}

class MemoryReader extends Reader {
  readonly #values: Uint8Array | Float32Array;

  constructor(examples: Source, values: Uint8Array | Float32Array) {
    super(examples);
    this.#values = values;
  }

  protected override async copy(rows: Int32Array, target: Uint8Array | Float32Array): Promise<void> {
    const { size } = this;
    eachRun(rows, (first, length, at) => {
      target.set(this.#values.subarray(first * size, (first + length) * size), at * size);
    });
  }

  override async close(): Promise<void> {}
}

class FileReader extends Reader {
  readonly #file: FileHandle;
  readonly #place: { path: string; offset: number; stamp: { size: number; mtimeMs: number } };
  readonly #rowBytes: number;
  #scratch: Uint8Array | undefined;
  /** Reads wait for each other: they share the scratch memory, and the disk is no faster for two. */
  #last: Promise<void> = Promise.resolve();

  constructor(
    examples: Source,
    file: FileHandle,
    place: { path: string; offset: number; stamp: { size: number; mtimeMs: number } },
  ) {
    super(examples);
    this.#file = file;
    this.#place = place;
    this.#rowBytes = this.size * bytesPerValue(examples.dtype);
  }

  protected override copy(rows: Int32Array, target: Uint8Array | Float32Array): Promise<void> {
    const turn = this.#last.then(() => this.#copy(rows, target));
    this.#last = turn.catch(() => {});
    return turn;
  }

  override async close(): Promise<void> {
    await this.#last;
    await this.#file.close();
  }

  async #copy(rows: Int32Array, target: Uint8Array | Float32Array): Promise<void> {
    const { path, stamp } = this.#place;
    const rowBytes = this.#rowBytes;
    const bytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
    const places = inRowOrder(rows);
    let sinceTurn = 0;
    try {
      checkUnchanged(path, await this.#file.stat(), stamp);
      for (let i = 0; i < places.length; ) {
        const first = rows[places[i]];
        let end = i + 1;
        // A run that lands in the target as it lies in the file needs no scratch memory.
        while (end < places.length && places[end] === places[end - 1] + 1 && rows[places[end]] === first + end - i)
          end++;
        if (end - i > 1 || rowBytes > GAP_BYTES) {
          const at = places[i] * rowBytes;
          await this.#readInto(bytes.subarray(at, at + (end - i) * rowBytes), first);
        } else {
          const reach = (place: number) => (rows[place] - first + 1) * rowBytes;
          while (
            end < places.length &&
            (rows[places[end]] - rows[places[end - 1]] - 1) * rowBytes <= GAP_BYTES &&
            reach(places[end]) <= SCRATCH_BYTES
          )
            end++;
          this.#scratch ??= new Uint8Array(SCRATCH_BYTES);
          const span = this.#scratch.subarray(0, reach(places[end - 1]));
          await this.#readInto(span, first);
          for (let j = i; j < end; j++) {
            const from = (rows[places[j]] - first) * rowBytes;
            bytes.set(span.subarray(from, from + rowBytes), places[j] * rowBytes);
          }
        }
        sinceTurn += (rows[places[end - 1]] - first + 1) * rowBytes;
        if (sinceTurn >= TURN_BYTES) {
          await setImmediate();
          sinceTurn = 0;
        }
        i = end;
      }
    } catch (error) {
      throw asDataError(error, path);
    }
  }

  /** Fills the target with the bytes from a row on. */
  async #readInto(target: Uint8Array, row: number): Promise<void> {
    const { path, offset } = this.#place;
    const position = offset + row * this.#rowBytes;
    for (let done = 0; done < target.length; ) {
      const left = target.length - done;
      const count =
        left < BLOCKING_BYTES
          ? readSync(this.#file.fd, target, done, left, position + done)
          : (await this.#file.read(target, done, left, position + done)).bytesRead;
      if (count === 0) {
        throw new DataError(
          `${path}: the file ends within row ${row}; expected it to stay as it was when it was opened`,
        );
      }
      done += count;
    }
  }
}

/** Places 0 … n − 1 in the order of their rows. */
function inRowOrder(rows: Int32Array): Int32Array {
  const places = Int32Array.from(rows, (_, place) => place);
  let ascending = true;
  for (let i = 1; ascending && i < rows.length; i++) ascending = rows[i - 1] <= rows[i];
  return ascending ? places : places.sort((a, b) => rows[a] - rows[b]);
}
