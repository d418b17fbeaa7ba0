import { type Clock, systemClock } from './clock.js';
import { InferenceError } from './errors.js';
import type { RunTimes } from './run-times.js';

/** What to run; calls with the same key may share a batch. */
export interface GraphCall {
  readonly key: string;
  /** Calls of one model take turns with those of others as one. */
  readonly model: string;
  /** Numbers in one row of the input. */
  readonly rowSize: number;
}

/** Outputs by name, each `rows` rows of whatever width the graph gives. */
export type Outputs = Readonly<Record<string, Float32Array>>;

/** Something that runs one batch at a time. */
export interface BatchRunner<Call extends GraphCall> {
  /** Whether calls of this model may come here. */
  holds(model: string): boolean;
  /**
   * @param data `rows` rows, whose memory the runner may take
   * @throws {InferenceError} WORKER_LOST where the runner can't be used again
   */
  run(call: Call, data: Float32Array, rows: number): Promise<Outputs>;
}

export interface SubmitOptions {
  /** Drops what hasn't been handed to a runner yet. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds from now after which nobody wants the outputs any more; the scheduler's own limit where unset. */
  readonly timeout?: number | undefined;
  /** To be filled in. */
  readonly times?: RunTimes | undefined;
}

/** Is told what the scheduler does. */
export interface SchedulerObserver<Call extends GraphCall> {
  /** A request, or a part of a large one, waited so many milliseconds for a runner. */
  waited?(call: Call, milliseconds: number): void;
  /** A batch of so many rows, padding not counted, of so many requests is back after so many milliseconds. */
  ran?(call: Call, rows: number, requests: number, milliseconds: number): void;
}

export interface SchedulerOptions<Call extends GraphCall> {
  /** Rows in one batch at most. */
  readonly maxBatch: number;
  /** Rows that a batch of so many rows is filled up to with zeros. */
  readonly padRows: (rows: number) => number;
  /** Milliseconds that a batch which is not full waits for more; 0 unless set. */
  readonly batchDelay?: number;
  /** Milliseconds from `submit` after which a request is given up; none unless set. */
  readonly timeout?: number | undefined;
  readonly observer?: SchedulerObserver<Call>;
  readonly clock?: Clock;
}

interface Job<Call extends GraphCall> {
  readonly call: Call;
  readonly data: Float32Array;
  readonly rows: number;
  readonly submitted: number;
  readonly times: RunTimes | undefined;
  /** Rows handed to runners so far. */
  handedOut: number;
  /** Rows whose outputs are back. */
  done: number;
  outputs: Record<string, Float32Array> | undefined;
  settled: boolean;
  /** Resolves or rejects the caller's promise, once. */
  readonly settle: (outcome: Outputs | Error) => void;
}

interface Slice<Call extends GraphCall> {
  readonly job: Job<Call>;
  readonly start: number;
  readonly rows: number;
}

type Slices<Call extends GraphCall> = readonly [Slice<Call>, ...Slice<Call>[]];

/**
 * Decides who runs when. A runner that comes free takes what waits for one call, up to the batch limit, at once: waiting
 * for a fuller batch costs latency and wins little, since the next batch fills while this one runs (`batchDelay` is for
 * those who want it all the same). Models take turns, and the calls of a model among themselves; a request larger than a
 * batch goes back behind the small ones after each slice, and is put together again at the end.
 */
export class Scheduler<Call extends GraphCall> {
  readonly #options: SchedulerOptions<Call>;
  readonly #clock: Clock;
  readonly #batchDelay: number;
  readonly #runners = new Set<BatchRunner<Call>>();
  /** Those of them that run nothing; the one that ran last stands last. */
  #idle: BatchRunner<Call>[] = [];
  /** Waiting jobs by model, then by call key; first come, first served next. Never holds anything empty. */
  readonly #queues = new Map<string, Map<string, Job<Call>[]>>();
  /** Takes back the call that comes when the oldest batch has waited long enough. */
  #cancelWake: (() => void) | undefined;
  #unavailable: string | undefined;

  constructor(options: SchedulerOptions<Call>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#batchDelay = options.batchDelay ?? 0;
  }

  /**
   * Runs a call on one or more rows.
   * @param data whole rows; the scheduler takes its memory, so it can't be read afterwards
   * @throws {InferenceError} CANCELLED, TIMED_OUT, WORKER_LOST, UNAVAILABLE, or what the runner throws
   */
  submit(call: Call, data: Float32Array, { signal, timeout, times }: SubmitOptions = {}): Promise<Outputs> {
    return new Promise((resolve, reject) => {
      if (this.#unavailable !== undefined) throw new InferenceError('UNAVAILABLE', this.#unavailable);
      if (signal?.aborted === true) throw cancelled();
      const limit = timeout ?? this.#options.timeout;
      const job: Job<Call> = {
        call,
        data,
        rows: data.length / call.rowSize,
        submitted: this.#clock.now(),
        times,
        handedOut: 0,
        done: 0,
        outputs: undefined,
        settled: false,
        settle: (outcome) => {
          if (job.settled) return;
          job.settled = true;
          cancelTimer?.();
          signal?.removeEventListener('abort', onAbort);
          if (outcome instanceof Error) reject(outcome);
          else resolve(outcome);
        },
      };
      const onAbort = () => job.settle(cancelled());
      signal?.addEventListener('abort', onAbort);
      const cancelTimer = limit === undefined ? undefined : this.#clock.after(limit, () => job.settle(timedOut(limit)));
      this.#enqueue(job);
      this.#dispatch();
    });
  }

  add(runner: BatchRunner<Call>): void {
    this.#unavailable = undefined;
    this.#runners.add(runner);
    this.#idle.push(runner);
    this.#dispatch();
  }

  /** Gives the runner nothing more; a batch that it has ends as the runner says. */
  remove(runner: BatchRunner<Call>): void {
    this.#runners.delete(runner);
    this.#idle = this.#idle.filter((candidate) => candidate !== runner);
  }

  /** Answers what waits for a model that nobody holds any more with UNAVAILABLE. */
  discard(model: string, reason: string): void {
    const jobs = [...(this.#queues.get(model)?.values() ?? [])].flat();
    this.#queues.delete(model);
    for (const job of jobs) job.settle(new InferenceError('UNAVAILABLE', reason));
  }

  /** Answers everything that waits, and everything that comes until a runner is added, with UNAVAILABLE. */
  suspend(reason: string): void {
    this.#unavailable = reason;
    for (const model of [...this.#queues.keys()]) this.discard(model, reason);
  }

  #enqueue(job: Job<Call>): void {
    const { model, key } = job.call;
    const calls = this.#queues.get(model) ?? new Map<string, Job<Call>[]>();
    this.#queues.set(model, calls);
    const jobs = calls.get(key);
    if (jobs === undefined) calls.set(key, [job]);
    else jobs.push(job);
  }

  #dispatch(): void {
    while (this.#idle.length > 0) {
      const work = this.#nextBatch();
      if (work === undefined) return;
      this.#idle.splice(this.#idle.indexOf(work.runner), 1);
      void this.#run(work.runner, work.slices);
    }
  }

  #nextBatch(): { runner: BatchRunner<Call>; slices: Slices<Call> } | undefined {
    let wake = Number.POSITIVE_INFINITY;
    for (const [model, calls] of this.#queues) {
      // The one that was used last has its memory in the caches.
      const runner = this.#idle.findLast((candidate) => candidate.holds(model));
      for (const [key, jobs] of calls) {
        const waiting = jobs.filter(({ settled }) => !settled);
        const ready = this.#readyAt(waiting);
        if (waiting.length > 0 && (runner === undefined || ready > this.#clock.now())) {
          calls.set(key, waiting);
          if (runner !== undefined) wake = Math.min(wake, ready);
          continue;
        }
        calls.delete(key);
        const [slices, left] = this.#takeBatch(waiting);
        // What is left goes behind the other calls, and the model behind the other models.
        if (left.length > 0) calls.set(key, left);
        this.#queues.delete(model);
        if (calls.size > 0) this.#queues.set(model, calls);
        const [first, ...others] = slices;
        if (runner !== undefined && first !== undefined) return { runner, slices: [first, ...others] };
      }
    }
    this.#wakeAt(wake);
    return undefined;
  }

  /** When a batch of these may start: at once where it is full. */
  #readyAt(waiting: readonly Job<Call>[]): number {
    const [oldest] = waiting;
    if (this.#batchDelay === 0 || oldest === undefined) return Number.NEGATIVE_INFINITY;
    let rows = 0;
    for (const job of waiting) rows += job.rows - job.handedOut;
    return rows >= this.#options.maxBatch ? Number.NEGATIVE_INFINITY : oldest.submitted + this.#batchDelay;
  }

  #wakeAt(time: number): void {
    this.#cancelWake?.();
    this.#cancelWake =
      time === Number.POSITIVE_INFINITY
        ? undefined
        : this.#clock.after(Math.max(0, time - this.#clock.now()), () => this.#dispatch());
  }

  #takeBatch(jobs: readonly Job<Call>[]): [slices: Slice<Call>[], left: Job<Call>[]] {
    const slices: Slice<Call>[] = [];
    const unfinished: Job<Call>[] = [];
    let room = this.#options.maxBatch;
    let taken = 0;
    for (; taken < jobs.length && room > 0; taken++) {
      const job = jobs[taken] as Job<Call>;
      const rows = Math.min(room, job.rows - job.handedOut);
      slices.push({ job, start: job.handedOut, rows });
      job.handedOut += rows;
      room -= rows;
      if (job.handedOut < job.rows) unfinished.push(job);
    }
    return [slices, [...jobs.slice(taken), ...unfinished]];
  }

  async #run(runner: BatchRunner<Call>, slices: Slices<Call>): Promise<void> {
    const { observer, padRows } = this.#options;
    const { call } = slices[0].job;
    const rows = slices.reduce((sum, slice) => sum + slice.rows, 0);
    const padded = padRows(rows);
    const started = this.#clock.now();
    for (const { job } of slices) {
      const wait = started - job.submitted;
      if (job.times !== undefined) job.times.queue = wait;
      observer?.waited?.(call, wait);
    }
    let usable = true;
    try {
      const outputs = await runner.run(call, gather(slices, padded * call.rowSize), padded);
      const ended = this.#clock.now();
      observer?.ran?.(call, rows, slices.length, ended - started);
      scatter(slices, outputs, padded, ended - started);
    } catch (error) {
      usable = !(error instanceof InferenceError && error.code === 'WORKER_LOST');
      for (const { job } of slices) job.settle(error as Error);
    }
    if (usable && this.#runners.has(runner)) {
      this.#idle.push(runner);
      this.#dispatch();
    }
  }
}

function gather<Call extends GraphCall>(slices: Slices<Call>, length: number): Float32Array {
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

function scatter<Call extends GraphCall>(
  slices: Slices<Call>,
  outputs: Outputs,
  padded: number,
  milliseconds: number,
): void {
  let row = 0;
  for (const { job, start, rows } of slices) {
    if (job.times !== undefined) job.times.inference += milliseconds;
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
      if (job.done === job.rows) job.settle(job.outputs);
    }
    row += rows;
  }
}

function cancelled(): InferenceError {
  return new InferenceError('CANCELLED', 'the client is gone');
}

function timedOut(milliseconds: number): InferenceError {
  return new InferenceError('TIMED_OUT', `the request was not answered within ${milliseconds} ms`);
}
