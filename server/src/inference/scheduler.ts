import { InferenceError } from './errors.js';

/** What to run; calls with the same key may share a batch. */
export interface GraphCall {
  readonly key: string;
  /** Numbers in one row of the input. */
  readonly rowSize: number;
}

/** Outputs by name, each `rows` rows of whatever width the graph gives. */
export type Outputs = Readonly<Record<string, Float32Array>>;

/** Something that runs one batch at a time. */
export interface BatchRunner<Call extends GraphCall> {
  /**
   * @param data `rows` rows, whose memory the runner may take
   * @throws {InferenceError} WORKER_LOST where the runner can't be used again
   */
  run(call: Call, data: Float32Array, rows: number): Promise<Outputs>;
}

export interface SchedulerOptions {
  /** Rows in one batch at most. */
  readonly maxBatch: number;
  /** Items admitted and not yet answered at most. */
  readonly maxItems: number;
  /** Rows that a batch of so many rows is filled up to with zeros. */
  readonly padRows: (rows: number) => number;
}

interface Job<Call extends GraphCall> {
  readonly call: Call;
  readonly data: Float32Array;
  readonly rows: number;
  /** Rows handed to runners so far. */
  handedOut: number;
  /** Rows whose outputs are back. */
  done: number;
  outputs: Record<string, Float32Array> | undefined;
  settled: boolean;
  readonly resolve: (outputs: Outputs) => void;
  readonly reject: (error: unknown) => void;
}

interface Slice<Call extends GraphCall> {
  readonly job: Job<Call>;
  readonly start: number;
  readonly rows: number;
}

/**
 * Decides who runs when. A runner that comes free takes what waits for one call, up to the batch limit, at once: waiting
 * for a fuller batch costs latency and wins nothing, since the next batch fills while this one runs. Calls take turns; a
 * request larger than a batch goes back behind the small ones after each slice, and is put together again at the end.
 */
export class Scheduler<Call extends GraphCall> {
  #options: SchedulerOptions;
  #idle: BatchRunner<Call>[] = [];
  /** Waiting jobs by call key; the first key is served next. Never holds an empty list. */
  #queues = new Map<string, Job<Call>[]>();
  #admitted = 0;
  #unavailable: string | undefined;

  constructor(options: SchedulerOptions) {
    this.#options = options;
  }

  /** Items admitted and not yet answered. */
  get admitted(): number {
    return this.#admitted;
  }

  /**
   * Counts `items` as accepted until `work` has settled, decoding of their bytes included.
   * @throws {InferenceError} OVERLOADED where they don't fit now, TOO_MANY_ITEMS where they never will
   */
  async admit<T>(items: number, work: () => Promise<T>): Promise<T> {
    const { maxItems } = this.#options;
    // Anything else would spoil the count for good.
    if (!(Number.isInteger(items) && items >= 0)) throw new RangeError(`items is ${items}; expected a whole number`);
    if (items > maxItems) {
      throw new InferenceError(
        'TOO_MANY_ITEMS',
        `${items} items in one request; this server takes ${maxItems} at most`,
      );
    }
    if (this.#admitted + items > maxItems) {
      throw new InferenceError('OVERLOADED', `${this.#admitted} items are waiting already, of ${maxItems} at most`);
    }
    this.#admitted += items;
    try {
      return await work();
    } finally {
      this.#admitted -= items;
    }
  }

  /**
   * Runs a call on one or more rows.
   * @param data whole rows; the scheduler takes its memory, so it can't be read afterwards
   * @param signal drops what hasn't been handed to a runner yet
   * @throws {InferenceError} CANCELLED, WORKER_LOST, UNAVAILABLE, or what the runner throws
   */
  submit(call: Call, data: Float32Array, signal?: AbortSignal): Promise<Outputs> {
    return new Promise((resolve, reject) => {
      if (this.#unavailable !== undefined) throw new InferenceError('UNAVAILABLE', this.#unavailable);
      if (signal?.aborted === true) throw cancelled();
      const job: Job<Call> = {
        call,
        data,
        rows: data.length / call.rowSize,
        handedOut: 0,
        done: 0,
        outputs: undefined,
        settled: false,
        resolve,
        reject,
      };
      signal?.addEventListener('abort', () => fail(job, cancelled()), { once: true });
      const queue = this.#queues.get(call.key);
      if (queue === undefined) this.#queues.set(call.key, [job]);
      else queue.push(job);
      this.#dispatch();
    });
  }

  add(runner: BatchRunner<Call>): void {
    this.#unavailable = undefined;
    this.#idle.push(runner);
    this.#dispatch();
  }

  /** Gives the runner nothing more; a batch that it has ends as the runner says. */
  remove(runner: BatchRunner<Call>): void {
    this.#idle = this.#idle.filter((candidate) => candidate !== runner);
  }

  /** Answers everything that waits, and everything that comes until a runner is added, with UNAVAILABLE. */
  suspend(reason: string): void {
    this.#unavailable = reason;
    for (const job of [...this.#queues.values()].flat()) fail(job, new InferenceError('UNAVAILABLE', reason));
    this.#queues.clear();
  }

  #dispatch(): void {
    while (this.#idle.length > 0) {
      const slices = this.#nextBatch();
      if (slices === undefined) return;
      const runner = this.#idle.pop();
      if (runner !== undefined) void this.#run(runner, slices);
    }
  }

  #nextBatch(): [Slice<Call>, ...Slice<Call>[]] | undefined {
    for (const [key, queue] of this.#queues) {
      this.#queues.delete(key);
      const slices: Slice<Call>[] = [];
      const unfinished: Job<Call>[] = [];
      let room = this.#options.maxBatch;
      while (room > 0) {
        const job = queue.shift();
        if (job === undefined) break;
        if (job.settled) continue;
        const rows = Math.min(room, job.rows - job.handedOut);
        slices.push({ job, start: job.handedOut, rows });
        job.handedOut += rows;
        room -= rows;
        if (job.handedOut < job.rows) unfinished.push(job);
      }
      queue.push(...unfinished);
      if (queue.length > 0) this.#queues.set(key, queue);
      const [first, ...others] = slices;
      if (first !== undefined) return [first, ...others];
    }
    return undefined;
  }

  async #run(runner: BatchRunner<Call>, slices: [Slice<Call>, ...Slice<Call>[]]): Promise<void> {
    const { call } = slices[0].job;
    const rows = slices.reduce((sum, slice) => sum + slice.rows, 0);
    const padded = this.#options.padRows(rows);
    let usable = true;
    try {
      const outputs = await runner.run(call, gather(slices, padded * call.rowSize), padded);
      scatter(slices, outputs, padded);
    } catch (error) {
      usable = !(error instanceof InferenceError && error.code === 'WORKER_LOST');
      for (const { job } of slices) fail(job, error);
    }
    if (usable) {
      this.#idle.push(runner);
      this.#dispatch();
    }
  }
}

function gather<Call extends GraphCall>(slices: [Slice<Call>, ...Slice<Call>[]], length: number): Float32Array {
  const [{ job: first, rows: firstRows }] = slices;
  const ownsMemory = first.data.byteLength === first.data.buffer.byteLength;
  // One whole request that fills its batch: hand it on as it is.
  if (firstRows === first.rows && first.data.length === length && ownsMemory) return first.data;
  const batch = new Float32Array(length);
  let offset = 0;
  for (const { job, start, rows } of slices) {
    const { rowSize } = job.call;
    batch.set(job.data.subarray(start * rowSize, (start + rows) * rowSize), offset);
    offset += rows * rowSize;
  }
  return batch;
}

function scatter<Call extends GraphCall>(slices: readonly Slice<Call>[], outputs: Outputs, padded: number): void {
  let row = 0;
  for (const { job, start, rows } of slices) {
    if (!job.settled) {
      job.outputs ??= Object.fromEntries(
        Object.entries(outputs).map(([name, data]) => [name, new Float32Array((data.length / padded) * job.rows)]),
      );
      for (const [name, target] of Object.entries(job.outputs)) {
        const width = target.length / job.rows;
        const part = outputs[name]?.subarray(row * width, (row + rows) * width);
        if (part !== undefined) target.set(part, start * width);
      }
      job.done += rows;
      if (job.done === job.rows) {
        job.settled = true;
        job.resolve(job.outputs);
      }
    }
    row += rows;
  }
}

function fail<Call extends GraphCall>(job: Job<Call>, error: unknown): void {
  if (job.settled) return;
  job.settled = true;
  job.reject(error);
}

function cancelled(): InferenceError {
  return new InferenceError('CANCELLED', 'the client is gone');
}
