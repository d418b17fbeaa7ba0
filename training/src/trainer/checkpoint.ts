import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { WeightValues } from '../nn/parameters.js';
import type { TrainerState } from './trainer.js';

/** A checkpoint that cannot be read or does not fit the run. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError';
}

/** Everything that an interrupted run goes on from. */
export interface Checkpoint<Epoch> {
  readonly trainer: TrainerState;
  readonly best: BestWeights | undefined;
  /** What is recorded of each epoch: plain data. */
  readonly history: readonly Epoch[];
  readonly epoch: EpochSums;
  /** When the run began, and how long it has trained since, without the pauses. */
  readonly startedAt: string;
  readonly seconds: number;
}

/** Sums over the steps of the epoch that training is in, without those that were skipped. */
export interface EpochSums {
  readonly steps: number;
  readonly terms: Readonly<Record<string, number>>;
}

/** The weights with the lowest loss on the validation part so far. */
export interface BestWeights {
  readonly epoch: number;
  readonly loss: number;
  readonly weights: WeightValues;
}

/** A tensor's name and the number of its values. */
type Size = readonly [name: string, values: number];

interface Header<Epoch> extends Omit<Checkpoint<Epoch>, 'trainer' | 'best'> {
  readonly trainer: Omit<TrainerState, 'tensors'> & { readonly tensors: readonly Size[] };
  readonly best?: Omit<BestWeights, 'weights'> & { readonly tensors: readonly Size[] };
}

// Layout: magic, length of the header (uint32), JSON header, float32 blocks in the header's order, SHA-256 of all
// before it. Numbers are little-endian, as on every machine that ONNX Runtime runs on.
const MAGIC = Buffer.from('ELBOCKP3');
const DIGEST_BYTES = 32;

/** Checkpoints of a run that stay: should the last be damaged, the one before it serves. */
const KEPT = 3;
const FILE_NAME = /^step-\d{10}\.checkpoint$/;
const fileName = (step: number) => `step-${String(step).padStart(10, '0')}.checkpoint`;

/** The checkpoints of one run, in a directory of its own. */
export class CheckpointStore<Epoch> {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /**
   * For a run that begins anew. A checkpoint of step 0 holds no work.
   * @throws {CheckpointError} where an interrupted run, or one that still goes on, left checkpoints
   */
  async begin(): Promise<void> {
    await mkdir(this.#directory, { recursive: true });
    const names = await readdir(this.#directory);
    if (names.some((file) => FILE_NAME.test(file) && file !== fileName(0))) {
      throw new CheckpointError(
        `${this.#directory}: holds the checkpoints of a run of this configuration and data that was interrupted or still goes on; go on from them by --resume (resume: true), or delete the directory to train anew`,
      );
    }
  }

  /** Whether there is a checkpoint, whole or damaged. */
  async hasAny(): Promise<boolean> {
    const names = await readdir(this.#directory).catch(() => []);
    return names.some((file) => FILE_NAME.test(file));
  }

  /** Writes a checkpoint so that the file is always a whole one or none, and removes the oldest of many. */
  async save(checkpoint: Checkpoint<Epoch>): Promise<void> {
    await mkdir(this.#directory, { recursive: true });
    await writeCheckpoint(join(this.#directory, fileName(checkpoint.trainer.step)), checkpoint);
    const names = await readdir(this.#directory);
    const old = names
      .filter((file) => FILE_NAME.test(file))
      .sort()
      .slice(0, -KEPT);
    // What a killed process left half-written.
    const unfinished = names.filter((file) => isUnfinished(file));
    for (const file of [...old, ...unfinished]) await rm(join(this.#directory, file), { force: true });
  }

  /**
   * The newest checkpoint that is whole.
   * @throws {CheckpointError} where there is none
   */
  async latest(): Promise<Checkpoint<Epoch>> {
    const names = await readdir(this.#directory).catch(() => []);
    let damaged: unknown;
    for (const name of names
      .filter((file) => FILE_NAME.test(file))
      .sort()
      .reverse()) {
      try {
        return await readCheckpoint<Epoch>(join(this.#directory, name));
      } catch (error) {
        damaged ??= error;
      }
    }
    throw (
      damaged ?? new CheckpointError(`${this.#directory}: no checkpoint of this configuration and data to resume from`)
    );
  }

  /** Removes all of them. */
  clear(): Promise<void> {
    return rm(this.#directory, { recursive: true, force: true });
  }
}

const UNFINISHED = 'unfinished';

/** Whether a file is of a process that ended before it was done with it. */
function isUnfinished(file: string): boolean {
  if (!file.startsWith(`${UNFINISHED}-`)) return false;
  try {
    // Signal 0 only asks whether the process is there.
    process.kill(Number(file.slice(UNFINISHED.length + 1)), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'EPERM';
  }
}

async function writeCheckpoint<Epoch>(path: string, checkpoint: Checkpoint<Epoch>): Promise<void> {
  const { trainer, best, ...rest } = checkpoint;
  const blocks = [...trainer.tensors.values(), ...(best?.weights.values() ?? [])];
  const described: Header<Epoch> = {
    ...rest,
    trainer: { ...trainer, tensors: sizesOf(trainer.tensors) },
    ...(best && { best: { epoch: best.epoch, loss: best.loss, tensors: sizesOf(best.weights) } }),
  };
  const header = Buffer.from(JSON.stringify(described));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(header.length);
  const parts = [
    MAGIC,
    length,
    header,
    ...blocks.map((block) => Buffer.from(block.buffer, block.byteOffset, block.byteLength)),
  ];
  const digest = createHash('sha256');
  for (const part of parts) digest.update(part);
  const directory = dirname(path);
  const unfinished = join(directory, `${UNFINISHED}-${process.pid}`);
  const file = await open(unfinished, 'w');
  try {
    for (const part of [...parts, digest.digest()]) await file.writeFile(part);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(unfinished, path);
  await syncDirectory(directory);
}

/** Makes a rename survive a loss of power; some systems cannot open directories, and have no need to. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r').catch(() => undefined);
  try {
    await directory?.sync();
  } catch {
    // The file itself is on disk.
  } finally {
    await directory?.close();
  }
}

/** @throws {CheckpointError} where it cannot be read, or was cut short or altered */
async function readCheckpoint<Epoch>(path: string): Promise<Checkpoint<Epoch>> {
  let content: Buffer;
  try {
    content = await readFile(path);
  } catch (error) {
    throw new CheckpointError(`${path}: cannot be read (${(error as Error).message})`, { cause: error });
  }
  const body = content.subarray(0, -DIGEST_BYTES);
  const intact =
    body.length > MAGIC.length + 4 &&
    body.subarray(0, MAGIC.length).equals(MAGIC) &&
    createHash('sha256').update(body).digest().equals(content.subarray(-DIGEST_BYTES));
  if (!intact) throw new CheckpointError(`${path}: not a whole checkpoint; delete it and train anew`);

  try {
    return decodeCheckpoint(body);
  } catch (error) {
    throw new CheckpointError(
      `${path}: not a checkpoint of this version of Elbo (${(error as Error).message}); delete it and train anew`,
      { cause: error },
    );
  }
}

function decodeCheckpoint<Epoch>(body: Buffer): Checkpoint<Epoch> {
  const headerStart = MAGIC.length + 4;
  const headerEnd = headerStart + body.readUInt32LE(MAGIC.length);
  const { trainer, best, ...rest } = JSON.parse(
    body.toString('utf8', headerStart, headerEnd),
    notFinite,
  ) as Header<Epoch>;
  let at = headerEnd;
  const takeBlocks = (sizes: readonly Size[]) =>
    new Map(
      sizes.map(([name, size]) => {
        // Copied, since a Float32Array must start at a multiple of four bytes.
        const bytes = Uint8Array.prototype.slice.call(body, at, at + 4 * size);
        if (bytes.length !== 4 * size) throw new RangeError(`${name} has ${bytes.length} of ${4 * size} bytes`);
        at += 4 * size;
        return [name, new Float32Array(bytes.buffer)];
      }),
    );
  return {
    ...rest,
    trainer: { ...trainer, tensors: takeBlocks(trainer.tensors) },
    best: best && { epoch: best.epoch, loss: best.loss, weights: takeBlocks(best.tensors) },
  };
}

/** JSON has null for numbers that are not finite, such as the means of an epoch whose steps were all skipped. */
function notFinite(_: string, value: unknown): unknown {
  return value === null ? Number.NaN : value;
}

function sizesOf(tensors: ReadonlyMap<string, Float32Array>): Size[] {
  return [...tensors].map(([name, values]) => [name, values.length]);
}
