import { setTimeout as delay } from 'node:timers/promises';
import { InferenceError } from './errors.js';
import type { Log } from './log.js';
import {
  checkDescriptions,
  checkGolden,
  checkOutputs,
  goldenInput,
  type ModelCall,
  type ServedModel,
  warmUpInput,
} from './model.js';
import type { OutputTensor } from './onnxruntime.js';
import { type Provider, warmUpRows } from './provider.js';
import type { BatchRunner, Outputs, Scheduler } from './scheduler.js';
import { allStarted, type StartedThreads, startThread, startThreads, type ThreadOptions } from './start-threads.js';
import type { WorkerThread } from './worker-thread.js';

export interface PoolOptions extends ThreadOptions {
  readonly maxBatch: number;
  /** Milliseconds that one batch may run before its worker counts as hung; no limit where unset. */
  readonly runTimeout?: number | undefined;
  /** Threads of these options that were started ahead; the pool starts its own where unset. */
  readonly started?: StartedThreads;
  /** Called whenever models have been read and the workers begin to load them. */
  readonly onLoading?: () => void;
}

export interface PoolObserver {
  workerLost?(): void;
}

/** A model to load, and what to keep where it is refused. */
export interface Candidate {
  readonly model: ServedModel;
  readonly fallback?: ServedModel | undefined;
}

/** What came of the candidates. */
export interface Acceptance {
  readonly models: readonly ServedModel[];
  readonly refused: ReadonlyMap<ServedModel, InferenceError>;
}

/** Workers that all hold the same models. */
interface Generation {
  readonly models: readonly ServedModel[];
  readonly runners: Set<ModelRunner>;
}

const RESTART_DELAYS_MS = [0, 100, 1000, 10_000];

/**
 * Keeps so many inference workers alive, all with the same models, and hands them to the scheduler. Other models come with
 * other workers: the new ones load, check and warm up while the old ones serve, and what the old ones held is returned when
 * they end (releasing sessions in a thread that lives on does not: onnxruntime issue 25325).
 */
export class WorkerPool {
  readonly provider: Provider;
  /** Why the provider is not the one that was hoped for. */
  readonly providerNote: string | undefined;
  readonly #options: PoolOptions;
  readonly #scheduler: Scheduler<ModelCall>;
  readonly #log: Log;
  readonly #observer: PoolObserver;
  /** What serves. */
  #current: Generation = { models: [], runners: new Set() };
  /** What still answers requests for models that are gone. */
  readonly #retiring = new Set<Generation>();
  /** Threads without a model by worker, which the first generation takes. */
  readonly #spares: Map<number, WorkerThread>;
  readonly #closing = new AbortController();
  /** What starts threads, or stops those that were not given work. */
  readonly #changes = new Set<Promise<unknown>>();

  private constructor(
    options: PoolOptions,
    scheduler: Scheduler<ModelCall>,
    log: Log,
    observer: PoolObserver,
    { provider, note, threads }: StartedThreads,
  ) {
    this.#options = options;
    this.#scheduler = scheduler;
    this.#log = log;
    this.#observer = observer;
    this.provider = provider;
    this.providerNote = note;
    this.#spares = new Map(threads.entries());
  }

  /**
   * Starts threads with the first provider that can be used here.
   * @throws {InferenceError} PROVIDER_UNAVAILABLE, naming the provider that was asked for and ONNX Runtime's reason
   */
  static async start(
    options: PoolOptions,
    schedulerOf: (provider: Provider) => Scheduler<ModelCall>,
    log: Log,
    observer: PoolObserver = {},
  ): Promise<WorkerPool> {
    const started = options.started ?? (await startThreads(options));
    return new WorkerPool(options, schedulerOf(started.provider), log, observer, started);
  }

  /** Workers that can be given work. */
  get alive(): number {
    return this.#current.runners.size;
  }

  /**
   * Starts workers with these models beside those that serve. A candidate that doesn't load, doesn't keep to its manifest or
   * doesn't come back from its warm-up is refused, and its fallback is loaded in its place.
   * @returns what to hand to `serve`
   */
  prepare(candidates: readonly Candidate[]): Promise<Acceptance & { readonly generation: Generation }> {
    return this.#untilEnded(this.#prepare(candidates));
  }

  /**
   * Gives all work to the workers of `prepare` from now on. Those before it answer for the models that are gone until
   * `drained`, and end.
   */
  serve(generation: Generation, drained: Promise<void>): void {
    if (this.#closing.signal.aborted) {
      // Nobody would stop them any more.
      void this.#untilEnded(Promise.all([...generation.runners].map((runner) => runner.stop())));
      return;
    }
    const before = this.#current;
    this.#current = generation;
    for (const runner of generation.runners) {
      void runner.thread.lost.then((reason) => this.#onLost(generation, runner, reason));
      this.#scheduler.add(runner);
    }
    const kept = new Set(generation.models.map(({ id }) => id));
    const gone = before.models.filter(({ id }) => !kept.has(id));
    for (const runner of before.runners) runner.answersFor = new Set(gone.map(({ id }) => id));
    this.#retiring.add(before);
    void (gone.length === 0 ? Promise.resolve() : drained).then(() => this.#retire(before, gone));
  }

  /** Waits until every thread has ended, those that were starting, too: to exit sooner ends the process as `abort` does. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#scheduler.suspend('the service is stopping');
    const all = [this.#current, ...this.#retiring].flatMap(({ runners }) => [...runners]);
    await Promise.all([...this.#spares.values(), ...all].map((one) => one.stop()));
    while (this.#changes.size > 0) await Promise.allSettled(this.#changes);
  }

  #untilEnded<T>(change: Promise<T>): Promise<T> {
    this.#changes.add(change);
    const ended = () => this.#changes.delete(change);
    change.then(ended, ended);
    return change;
  }

  async #prepare(candidates: readonly Candidate[]): Promise<Acceptance & { readonly generation: Generation }> {
    this.#options.onLoading?.();
    const refused = new Map<ServedModel, InferenceError>();
    const accepted = new AcceptedModels();
    // One worker finds out what is wrong with a bad model; the others load each model once it is accepted.
    const others = Array.from({ length: this.#options.workers - 1 }, (_, i) => this.#startRunner(i + 1, accepted));
    const runners = new Set(await allStarted([this.#tryOut(candidates, accepted, refused), ...others]));
    const { models } = accepted;
    return { generation: { models, runners }, models, refused };
  }

  async #retire(generation: Generation, gone: readonly ServedModel[]): Promise<void> {
    for (const runner of generation.runners) this.#scheduler.remove(runner);
    for (const { id, key } of gone) this.#scheduler.discard(id, `${key} was unloaded`);
    await Promise.all([...generation.runners].map((runner) => runner.stop()));
    this.#retiring.delete(generation);
  }

  /** Tells `accepted` what may be served, at the latest when it ends. */
  async #tryOut(
    candidates: readonly Candidate[],
    accepted: AcceptedModels,
    refused: Map<ServedModel, InferenceError>,
  ): Promise<ModelRunner> {
    let runner: ModelRunner | undefined;
    try {
      runner = await this.#startRunner(0, []);
      for (const { model, fallback } of candidates) {
        for (const choice of [model, ...(fallback === undefined ? [] : [fallback])]) {
          try {
            await runner.prepare(choice, this.#warmUpRows());
            accepted.add(choice);
            break;
          } catch (error) {
            refused.set(choice, refusal(error as Error));
            if ((error as InferenceError).code === 'WORKER_LOST') runner = await this.#startRunner(0, accepted.models);
            else await runner.forget(choice);
          }
        }
      }
      return runner;
    } catch (error) {
      await runner?.stop();
      throw error;
    } finally {
      accepted.end();
    }
  }

  async #startRunner(index: number, models: Iterable<ServedModel> | AsyncIterable<ServedModel>): Promise<ModelRunner> {
    const spare = this.#spares.get(index);
    this.#spares.delete(index);
    const thread = spare ?? (await startThread(this.#options, this.provider, index));
    const runner = new ModelRunner(thread, index, this.#options.runTimeout);
    try {
      for await (const model of models) await runner.prepare(model, this.#warmUpRows());
      return runner;
    } catch (error) {
      await runner.stop();
      throw error;
    }
  }

  #warmUpRows(): readonly number[] {
    return warmUpRows(this.provider, this.#options.maxBatch);
  }

  #onLost(generation: Generation, runner: ModelRunner, reason: string): void {
    generation.runners.delete(runner);
    this.#scheduler.remove(runner);
    if (this.#closing.signal.aborted || generation !== this.#current) return;
    this.#log.error(`inference worker lost: ${reason}; starting another`);
    this.#observer.workerLost?.();
    void this.#untilEnded(this.#replace(generation, runner.index));
  }

  async #replace(generation: Generation, index: number): Promise<void> {
    const { signal } = this.#closing;
    const wanted = () => !signal.aborted && generation === this.#current;
    for (let attempt = 0; wanted(); attempt++) {
      try {
        await delay(RESTART_DELAYS_MS[Math.min(attempt, RESTART_DELAYS_MS.length - 1)], undefined, { signal });
        const runner = await this.#startRunner(index, generation.models);
        if (!wanted()) {
          await runner.stop();
          return;
        }
        generation.runners.add(runner);
        void runner.thread.lost.then((reason) => this.#onLost(generation, runner, reason));
        this.#scheduler.add(runner);
        return;
      } catch (error) {
        if (!wanted()) return;
        const reason = (error as Error).message;
        this.#log.error(`inference worker could not be started: ${reason}`);
        if (this.alive === 0) this.#scheduler.suspend(`no inference worker could be started: ${reason}`);
      }
    }
  }
}

/** Models as they are accepted, one after another; each reader gets all of them. */
class AcceptedModels implements AsyncIterable<ServedModel> {
  readonly models: ServedModel[] = [];
  #ended = false;
  #waiting: (() => void)[] = [];

  add(model: ServedModel): void {
    this.models.push(model);
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ServedModel, void> {
    for (let read = 0; !this.#ended || read < this.models.length; ) {
      const model = this.models[read];
      if (model === undefined) {
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
      } else {
        read++;
        yield model;
      }
    }
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** A worker thread as the scheduler sees it. */
class ModelRunner implements BatchRunner<ModelCall> {
  readonly thread: WorkerThread;
  /** Which of the pool's workers it is. */
  readonly index: number;
  /** Models that it is there for; all that it holds where unset. */
  answersFor: ReadonlySet<string> | undefined;
  readonly #models = new Set<string>();
  readonly #timeout: number | undefined;
  #answersDue = 0;
  #watchdog: NodeJS.Timeout | undefined;

  constructor(thread: WorkerThread, index: number, timeout: number | undefined) {
    this.thread = thread;
    this.index = index;
    this.#timeout = timeout;
  }

  holds(model: string): boolean {
    return (this.answersFor ?? this.#models).has(model);
  }

  async run(call: ModelCall, data: Float32Array, rows: number): Promise<Outputs> {
    const tensors = await this.#call(call, data, rows);
    return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, tensor.data]));
  }

  async prepare(model: ServedModel, warmUp: readonly number[]): Promise<void> {
    const { id, graphs } = model;
    checkDescriptions(model, await this.#watched(this.thread.call({ kind: 'load', model: id, graphs })));
    for (const call of Object.values(model.calls)) {
      for (const rows of warmUp) {
        checkOutputs(model, call, rows, await this.#call(call, warmUpInput(model, call, rows), rows));
      }
      if (model.manifest.golden === undefined) continue;
      const [rows = 1] = warmUp;
      checkGolden(model, call, rows, await this.#call(call, goldenInput(model, call, rows), rows));
    }
    this.#models.add(id);
  }

  async forget(model: ServedModel): Promise<void> {
    await this.thread.call({ kind: 'unload', model: model.id });
  }

  async stop(): Promise<void> {
    await this.#watched(this.thread.stop()).catch(() => {});
  }

  #call(call: ModelCall, data: Float32Array, rows: number): Promise<Readonly<Record<string, OutputTensor>>> {
    const { model, role, inputs, outputs } = call;
    return this.#watched(
      this.thread.call({ kind: 'run', model, role, inputs, data, rows, outputs }, [data.buffer as ArrayBuffer]),
    );
  }

  /** Gives the thread up where it gives no answer for too long. */
  async #watched<T>(answer: Promise<T>): Promise<T> {
    if (this.#answersDue === 0) this.#watch();
    this.#answersDue++;
    return answer.finally(() => {
      this.#answersDue--;
      clearTimeout(this.#watchdog);
      if (this.#answersDue > 0) this.#watch();
    });
  }

  #watch(): void {
    const limit = this.#timeout;
    if (limit === undefined) return;
    this.#watchdog = setTimeout(() => this.thread.abandon(`it did not answer within ${limit} ms`), limit);
  }
}

/** Why a model is refused; an error that is no refusal yet becomes one. */
function refusal(error: Error): InferenceError {
  if (error instanceof InferenceError && error.code === 'MODEL_REFUSED') return error;
  return new InferenceError('MODEL_REFUSED', error.message, { cause: error });
}
