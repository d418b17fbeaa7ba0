import { setTimeout as delay } from 'node:timers/promises';
import { InferenceError } from './errors.js';
import type { Log } from './log.js';
import { checkDescriptions, checkOutputs, type ModelCall, type ServedModel, warmUpInput } from './model.js';
import type { OutputTensor } from './onnxruntime.js';
import { cudaLibraryMissing, type Provider, type ProviderChoice, providersToTry, warmUpRows } from './provider.js';
import type { BatchRunner, Outputs, Scheduler } from './scheduler.js';
import { WorkerThread } from './worker-thread.js';

export interface PoolOptions {
  readonly provider: ProviderChoice;
  readonly workers: number;
  readonly threads: number;
  readonly maxBatch: number;
}

const RESTART_DELAYS_MS = [0, 100, 1000, 10_000];

/** Keeps so many inference workers alive, all with the same models, and hands them to the scheduler. */
export class WorkerPool {
  readonly provider: Provider;
  /** Why the provider is not the one that was hoped for. */
  readonly providerNote: string | undefined;
  #options: PoolOptions;
  #log: Log;
  #workers = new Set<ModelRunner>();
  #models = new Map<string, ServedModel>();
  #scheduler: Scheduler<ModelCall> | undefined;
  #closing = new AbortController();

  private constructor(options: PoolOptions, provider: Provider, note: string | undefined, log: Log) {
    this.#options = options;
    this.#log = log;
    this.provider = provider;
    this.providerNote = note;
  }

  /**
   * Starts the workers on the first provider that can be used here.
   * @throws {InferenceError} PROVIDER_UNAVAILABLE, naming the provider that was asked for and ONNX Runtime's reason
   */
  static async start(options: PoolOptions, log: Log): Promise<WorkerPool> {
    const { provider: choice, threads, workers } = options;
    let note: string | undefined;
    if (choice === 'auto') note = cudaLibraryMissing();
    if (choice === 'cuda') {
      const missing = cudaLibraryMissing();
      if (missing !== undefined) throw unavailable('cuda', missing);
    }
    for (const provider of providersToTry(choice)) {
      try {
        const first = await WorkerThread.start({ provider, threads, probe: provider !== 'cpu' });
        const pool = new WorkerPool(options, provider, provider === 'cpu' ? note : undefined, log);
        const others = Array.from({ length: workers - 1 }, () =>
          WorkerThread.start({ provider, threads, probe: false }),
        );
        for (const thread of [first, ...(await Promise.all(others))]) pool.#adopt(thread);
        return pool;
      } catch (error) {
        if (choice !== 'auto' || provider === 'cpu') throw unavailable(provider, (error as Error).message);
        note = (error as Error).message;
      }
    }
    throw unavailable(choice, 'no provider can be used');
  }

  get alive(): number {
    return this.#workers.size;
  }

  /**
   * Loads a model into every worker, checks it against its manifest and warms it up.
   * @throws {InferenceError} MODEL_REFUSED with the reason; no worker has the model then
   */
  async load(model: ServedModel): Promise<void> {
    const [first, ...others] = this.#workers;
    try {
      // The first worker finds what is wrong with a bad model, before the others take the trouble.
      await first?.prepare(model, this.#warmUpRows());
      await Promise.all(others.map((runner) => runner.prepare(model, this.#warmUpRows())));
      this.#models.set(model.key, model);
    } catch (error) {
      await Promise.allSettled([...this.#workers].map((runner) => runner.forget(model)));
      if (error instanceof InferenceError && error.code === 'RUN_FAILED') {
        throw new InferenceError('MODEL_REFUSED', error.message, { cause: error });
      }
      throw error;
    }
  }

  /** From here on the scheduler has the workers, and lost ones are replaced. */
  serve(scheduler: Scheduler<ModelCall>): void {
    this.#scheduler = scheduler;
    for (const runner of this.#workers) scheduler.add(runner);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#scheduler?.suspend('the service is stopping');
    await Promise.all([...this.#workers].map((runner) => runner.stop()));
  }

  #warmUpRows(): readonly number[] {
    return warmUpRows(this.provider, this.#options.maxBatch);
  }

  #adopt(thread: WorkerThread): ModelRunner {
    const runner = new ModelRunner(thread);
    this.#workers.add(runner);
    void thread.lost.then((reason) => {
      this.#workers.delete(runner);
      this.#scheduler?.remove(runner);
      if (this.#closing.signal.aborted) return;
      this.#log.error(`inference worker lost: ${reason}; starting another`);
      void this.#replace();
    });
    return runner;
  }

  async #replace(): Promise<void> {
    for (let attempt = 0; !this.#closing.signal.aborted; attempt++) {
      try {
        await delay(RESTART_DELAYS_MS[Math.min(attempt, RESTART_DELAYS_MS.length - 1)], undefined, {
          signal: this.#closing.signal,
        });
        const thread = await WorkerThread.start({
          provider: this.provider,
          threads: this.#options.threads,
          probe: false,
        });
        const runner = new ModelRunner(thread);
        for (const model of this.#models.values()) await runner.prepare(model, this.#warmUpRows());
        if (this.#closing.signal.aborted) {
          await thread.stop();
          return;
        }
        this.#scheduler?.add(this.#adopt(thread));
        return;
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        const reason = (error as Error).message;
        this.#log.error(`inference worker could not be started: ${reason}`);
        if (this.alive === 0) this.#scheduler?.suspend(`no inference worker could be started: ${reason}`);
      }
    }
  }
}

/** A worker thread as the scheduler sees it. */
class ModelRunner implements BatchRunner<ModelCall> {
  #thread: WorkerThread;

  constructor(thread: WorkerThread) {
    this.#thread = thread;
  }

  async run(call: ModelCall, data: Float32Array, rows: number): Promise<Outputs> {
    const tensors = await this.#call(call, data, rows);
    return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, tensor.data]));
  }

  async prepare(model: ServedModel, warmUp: readonly number[]): Promise<void> {
    checkDescriptions(model, await this.#thread.call({ kind: 'load', model: model.key, graphs: model.graphs }));
    for (const call of Object.values(model.calls)) {
      for (const rows of warmUp) {
        checkOutputs(model, call, rows, await this.#call(call, warmUpInput(model, call, rows), rows));
      }
    }
  }

  async forget(model: ServedModel): Promise<void> {
    await this.#thread.call({ kind: 'unload', model: model.key });
  }

  async stop(): Promise<void> {
    await this.#thread.stop();
  }

  #call(call: ModelCall, data: Float32Array, rows: number): Promise<Readonly<Record<string, OutputTensor>>> {
    const { model, role, inputs, outputs } = call;
    return this.#thread.call({ kind: 'run', model, role, inputs, data, rows, outputs }, [data.buffer as ArrayBuffer]);
  }
}

function unavailable(provider: string, reason: string): InferenceError {
  return new InferenceError('PROVIDER_UNAVAILABLE', `provider ${provider} cannot be used: ${reason}`);
}
