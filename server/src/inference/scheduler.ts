import type { Cancellable, Cancellation } from './cancellation.js';
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

/** Something that runs batches, one after another. */
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
  readonly cancellation?: Cancellation | undefined;
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
  /**
   * Milliseconds of full batches that a busy runner is given ahead, one batch at least; none where 0, and 20 unless set. Whoever
   * decides may not have a turn before a batch is done: reading requests, under overload those that are refused, can take
   * all of a thread's time, and what was accepted then waited for it.
   */
  readonly aheadMs?: number;
  readonly observer?: SchedulerObserver<Call>;
  readonly clock?: Clock;
}

/** One `submit`: its rows, how far they are, and who waits for them. */
class Job<Call extends GraphCall> implements Cancellable {
  readonly call: Call;
  readonly data: Float32Array;
  readonly rows: number;
  readonly submitted: number;
  readonly times: RunTimes | undefined;
  /** Rows handed to runners so far. */
  handedOut = 0;
  /** Rows whose outputs are back. */
  done = 0;
  /** Of a job that needed several batches. */
  outputs: Record<string, Float32Array> | undefined;
  settled = false;
  cancelTimer: (() => void) | undefined;
  readonly #cancellation: Cancellation | undefined;
  readonly #resolve: (outputs: Outputs) => void;
  readonly #reject: (error: Error) => void;

  constructor(
    call: Call,
    data: Float32Array,
    submitted: number,
    { cancellation, times }: SubmitOptions,
    resolve: (outputs: Outputs) => void,
    reject: (error: Error) => void,
  ) {
    this.call = call;
    this.data = data;
    this.rows = data.length / call.rowSize;
    this.submitted = submitted;
    this.times = times;
    this.#cancellation = cancellation;
    this.#resolve = resolve;
    this.#reject = reject;
    cancellation?.add(this);
  }

  cancel(): void {
    this.fail(new InferenceError('CANCELLED', 'the client is gone'));
  }

  succeed(outputs: Outputs): void {
    if (this.#settle()) this.#resolve(outputs);
  }

  fail(error: Error): void {
    if (this.#settle()) this.#reject(error);
  }

  /** @returns whether it is the first time */
  #settle(): boolean {
    if (this.settled) return false;
    this.settled = true;
    this.cancelTimer?.();
    this.#cancellation?.delete(this);
    return true;
  }
}

interface Slice<Call extends GraphCall> {
  readonly job: Job<Call>;
  readonly start: number;
  readonly rows: number;
}

/** What the scheduler knows of a runner. */
interface RunnerState {
  /** Batches that it has and has not given back. */
  batches: number;
  /** When it gave back the last one. */
  freeSince: number;
}

/** Milliseconds of full batches that a busy runner is given ahead. */
const AHEAD_MS = 20;
/** Batches that a runner has at most, whatever they take. */
const MOST_BATCHES = 32;

type Slices<Call extends GraphCall> = readonly [Slice<Call>, ...Slice<Call>[]];

/**
 * Decides who runs when. A runner that is free takes what waits for one call, up to the batch limit, as soon as everything
 * that has arrived was read: requests that came together run together, and no timer is waited for, since the next batch
 * fills while this one runs (`batchDelay` is for those who want it all the same). Where full batches wait, runners have
 * some ahead. Models take turns, and the calls of a model among themselves; a request larger than a
 * batch goes back behind the small ones after each slice, and is put together again at the end.
 */
export class Scheduler<Call extends GraphCall> {
  readonly #options: SchedulerOptions<Call>;
  readonly #clock: Clock;
  readonly #batchDelay: number;
  readonly #aheadMs: number;
  readonly #runners = new Map<BatchRunner<Call>, RunnerState>();
  /** Those of them that run nothing; the one that ran last stands last. */
  #idle: BatchRunner<Call>[] = [];
  /** Milliseconds that a batch of a call takes at least, as far as the last ones tell. */
  readonly #runTimes = new WeakMap<Call, number>();
  /** Waiting jobs by model, then by call key; first come, first served next. Never holds anything empty. */
  readonly #queues = new Map<string, Map<string, Job<Call>[]>>();
  /** Takes back the call that comes when the oldest batch has waited long enough. */
  #cancelWake: (() => void) | undefined;
  #unavailable: string | undefined;
  /** Whether a dispatch is to come anyway. */
  #dispatching = false;

  constructor(options: SchedulerOptions<Call>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#batchDelay = options.batchDelay ?? 0;
    this.#aheadMs = options.aheadMs ?? AHEAD_MS;
  }

  /**
   * Runs a call on one or more rows.
   * @param data whole rows; the scheduler takes its memory, so it can't be read afterwards
   * @throws {InferenceError} CANCELLED, TIMED_OUT, WORKER_LOST, UNAVAILABLE, or what the runner throws
   */
  submit(call: Call, data: Float32Array, options: SubmitOptions = {}): Promise<Outputs> {
    return new Promise((resolve, reject) => {
      if (this.#unavailable !== undefined) throw new InferenceError('UNAVAILABLE', this.#unavailable);
      const job = new Job(call, data, this.#clock.now(), options, resolve, reject);
      if (job.settled) return;
      const limit = options.timeout ?? this.#options.timeout;
      if (limit !== undefined) job.cancelTimer = this.#clock.after(limit, () => job.fail(timedOut(limit)));
      this.#enqueue(job);
      this.#dispatchSoon();
    });
  }

  add(runner: BatchRunner<Call>): void {
    this.#unavailable = undefined;
    this.#runners.set(runner, { batches: 0, freeSince: this.#clock.now() });
    this.#idle.push(runner);
    this.#dispatchSoon();
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
    for (const job of jobs) job.fail(new InferenceError('UNAVAILABLE', reason));
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

  /** Requests that have arrived together are to share a batch, so the first doesn't leave without the others. */
  #dispatchSoon(): void {
    if (this.#dispatching) return;
    this.#dispatching = true;
    this.#clock.soon(() => {
      this.#dispatching = false;
      this.#dispatch();
    });
  }

  #dispatch(): void {
    for (let work = this.#nextBatch(); work !== undefined; work = this.#nextBatch()) {
      const { runner } = work;
      this.#idle = this.#idle.filter((candidate) => candidate !== runner);
      void this.#run(runner, work.state, work.slices);
    }
  }

  /** Who may take a batch of these now. */
  #runnerFor(model: string, waiting: readonly Job<Call>[]): BatchRunner<Call> | undefined {
    // The one that was used last has its memory in the caches.
    const idle = this.#idle.findLast((candidate) => candidate.holds(model));
    const [oldest] = waiting;
    if (idle !== undefined || oldest === undefined || rowsOf(waiting) < this.#options.maxBatch) return idle;
    if (this.#aheadMs === 0) return undefined;
    let least: BatchRunner<Call> | undefined;
    let batches = Math.max(
      2,
      Math.min(MOST_BATCHES, Math.floor(this.#aheadMs / (this.#runTimes.get(oldest.call) ?? Infinity))),
    );
    for (const [runner, state] of this.#runners) {
      if (state.batches >= batches || !runner.holds(model)) continue;
      least = runner;
      batches = state.batches;
    }
    return least;
  }

  #nextBatch(): { runner: BatchRunner<Call>; state: RunnerState; slices: Slices<Call> } | undefined {
    let wake = Number.POSITIVE_INFINITY;
    for (const [model, calls] of this.#queues) {
      for (const [key, jobs] of calls) {
        const waiting = jobs.filter(({ settled }) => !settled);
        const runner = this.#runnerFor(model, waiting);
        const state = runner && this.#runners.get(runner);
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
        if (runner !== undefined && state !== undefined && first !== undefined) {
          return { runner, state, slices: [first, ...others] };
        }
      }
    }
    this.#wakeAt(wake);
    return undefined;
  }

  /** When a batch of these may start: at once where it is full. */
  #readyAt(waiting: readonly Job<Call>[]): number {
    const [oldest] = waiting;
    if (this.#batchDelay === 0 || oldest === undefined) return Number.NEGATIVE_INFINITY;
    return rowsOf(waiting) >= this.#options.maxBatch ? Number.NEGATIVE_INFINITY : oldest.submitted + this.#batchDelay;
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

  async #run(runner: BatchRunner<Call>, state: RunnerState, slices: Slices<Call>): Promise<void> {
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
    state.batches++;
    try {
      const outputs = await runner.run(call, gather(slices, padded * call.rowSize), padded);
      const ended = this.#clock.now();
      const runTime = ended - Math.max(started, state.freeSince);
      state.freeSince = ended;
      // The shortest counts: others are as long as this thread had no turn.
      this.#runTimes.set(call, Math.min(runTime, 1.05 * (this.#runTimes.get(call) ?? Infinity)));
      observer?.ran?.(call, rows, slices.length, runTime);
      scatter(slices, outputs, padded, ended - started);
    } catch (error) {
      usable = !(error instanceof InferenceError && error.code === 'WORKER_LOST');
      for (const { job } of slices) job.fail(error as Error);
    }
    state.batches--;
    if (usable && this.#runners.has(runner)) {
      if (state.batches === 0) this.#idle.push(runner);
      this.#dispatchSoon();
    }
  }
}

/** Rows that wait to be handed out. */
function rowsOf<Call extends GraphCall>(waiting: readonly Job<Call>[]): number {
  let rows = 0;
  for (const job of waiting) rows += job.rows - job.handedOut;
  return rows;
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

/** Gives each job its rows of a batch: those of a job that fits in one as views, and the others' put together. */
function scatter<Call extends GraphCall>(
  slices: Slices<Call>,
  outputs: Outputs,
  padded: number,
  milliseconds: number,
): void {
  const tensors = Object.entries(outputs);
  let row = 0;
  for (const { job, start, rows } of slices) {
    if (job.times !== undefined) job.times.inference += milliseconds;
    if (!job.settled) {
      const whole = rows === job.rows;
      const own: Record<string, Float32Array> = whole ? {} : (job.outputs ?? {});
      for (const [name, data] of tensors) {
        const width = data.length / padded;
        const part = data.subarray(row * width, (row + rows) * width);
        if (whole) {
          own[name] = part;
          continue;
        }
        own[name] ??= new Float32Array(width * job.rows);
        own[name].set(part, start * width);
      }
      if (!whole) job.outputs = own;
      job.done += rows;
      if (job.done === job.rows) job.succeed(own);
    }
    row += rows;
  }
}

function timedOut(milliseconds: number): InferenceError {
  return new InferenceError('TIMED_OUT', `the request was not answered within ${milliseconds} ms`);
}
