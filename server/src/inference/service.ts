import { conformalPValue, thresholdAt } from '@elbo/models';
import { Admission } from './admission.js';
import type { Cancellation } from './cancellation.js';
import { InferenceError } from './errors.js';
import type { Log } from './log.js';
import type { ModelCall, ServedModel } from './model.js';
import { type PoolObserver, type PoolOptions, WorkerPool } from './pool.js';
import type { Provider } from './provider.js';
import { paddedRows } from './provider.js';
import { ModelRegistry, type RegistryObserver } from './registry.js';
import { withLabels } from './rows.js';
import type { RunTimes } from './run-times.js';
import { type Outputs, Scheduler, type SchedulerObserver } from './scheduler.js';

export interface ServiceOptions extends PoolOptions {
  readonly modelsDirectory: string;
  readonly defaultModel: string | undefined;
  /** Items accepted and not yet answered at most. */
  readonly maxQueue: number;
  /** Milliseconds that a batch which is not full waits for more; 0 unless set. */
  readonly batchDelay?: number;
  /** Milliseconds from its submission after which a request is given up; none unless set. */
  readonly requestTimeout?: number | undefined;
  /** Milliseconds between two looks at the store; it is not watched unless set. */
  readonly storePollInterval?: number | undefined;
}

export interface RunOptions {
  /** Class numbers, one an item; only for models with a condition, and always for these. */
  readonly labels?: readonly number[] | undefined;
  readonly cancellation?: Cancellation | undefined;
  /** Milliseconds after which nobody wants the answer any more; the service's own limit where unset. */
  readonly timeout?: number | undefined;
  /** To be filled in. */
  readonly times?: RunTimes | undefined;
}

/** Parameters of q(z|x), each N x Z. */
export interface Encoding {
  readonly mean: Float32Array;
  readonly logVariance: Float32Array;
}

export interface Score {
  readonly score: number;
  readonly pValue: number;
  readonly isAnomaly: boolean;
  readonly components: Readonly<Record<string, number>>;
}

export interface Scoring {
  readonly falsePositiveRate: number;
  readonly threshold: number;
  readonly scores: readonly Score[];
  /** Where it was asked for. */
  readonly parts?: ScoreParts;
}

/** What an item's error is made of, each N x input shape. */
export interface ScoreParts {
  /** In nats. */
  readonly errorMap: Float32Array;
  /** The values that the model expected; of tables alone. */
  readonly expected?: Float32Array;
}

/** Is told what the service does. */
export interface ServiceObserver extends SchedulerObserver<ModelCall>, PoolObserver, RegistryObserver {
  /** Items were scored. */
  scored?(model: ServedModel, scores: readonly Score[]): void;
}

/** How items are put together and shared out. */
export type Batching = Pick<ServiceOptions, 'maxBatch' | 'batchDelay' | 'workers' | 'devices'>;

export interface ServiceStatus {
  readonly notReady: string | undefined;
  readonly provider: Provider;
  readonly providerNote: string | undefined;
  readonly workersAlive: number;
  readonly workers: number;
}

/**
 * The models, the workers and what can be asked of them. Every method takes the memory of the tensors it is given, and
 * throws {InferenceError} OVERLOADED-like errors as the scheduler does; a `cancellation` drops work that nobody waits for.
 */
export class InferenceService {
  readonly registry: ModelRegistry;
  readonly batching: Batching;
  readonly #pool: WorkerPool;
  readonly #scheduler: Scheduler<ModelCall>;
  readonly #admission: Admission;
  readonly #observers: Set<ServiceObserver>;
  readonly #stopPolling: () => void;

  private constructor(parts: {
    registry: ModelRegistry;
    pool: WorkerPool;
    scheduler: Scheduler<ModelCall>;
    admission: Admission;
    observers: Set<ServiceObserver>;
    batching: Batching;
    stopPolling: () => void;
  }) {
    this.registry = parts.registry;
    this.#pool = parts.pool;
    this.#scheduler = parts.scheduler;
    this.#admission = parts.admission;
    this.#observers = parts.observers;
    this.batching = parts.batching;
    this.#stopPolling = parts.stopPolling;
  }

  /**
   * Starts the workers, loads every model of the store and warms them up.
   * @throws {InferenceError} PROVIDER_UNAVAILABLE
   */
  static async start(options: ServiceOptions, log: Log, ...observers: ServiceObserver[]): Promise<InferenceService> {
    const told = new Set(observers);
    const observer = tellingAll(told);
    const admission = new Admission(options.maxQueue);
    let scheduler: Scheduler<ModelCall> | undefined;
    const schedulerOf = (provider: Provider): Scheduler<ModelCall> => {
      scheduler = new Scheduler<ModelCall>({
        maxBatch: options.maxBatch,
        padRows: (rows) => paddedRows(provider, rows),
        ...(options.batchDelay !== undefined && { batchDelay: options.batchDelay }),
        timeout: options.requestTimeout,
        observer,
      });
      return scheduler;
    };
    const pool = await WorkerPool.start(options, schedulerOf, log, observer);
    if (pool.providerNote !== undefined) log.warn(`running on the ${pool.provider}: ${pool.providerNote}`);
    const registry = new ModelRegistry(
      { directory: options.modelsDirectory, defaultModel: options.defaultModel },
      async (candidates, moved) => {
        const { generation, ...acceptance } = await pool.prepare(candidates);
        moved(acceptance);
        pool.serve(generation, admission.drained());
      },
      log,
      observer,
    );
    await registry.refresh();
    return new InferenceService({
      registry,
      pool,
      scheduler: scheduler as Scheduler<ModelCall>,
      admission,
      observers: told,
      batching: options,
      stopPolling: poll(registry, options.storePollInterval, log),
    });
  }

  get status(): ServiceStatus {
    return {
      notReady: this.#pool.alive === 0 ? 'no inference worker is alive' : this.registry.notReady,
      provider: this.#pool.provider,
      providerNote: this.#pool.providerNote,
      workersAlive: this.#pool.alive,
      workers: this.batching.workers,
    };
  }

  /** Items accepted and not yet answered. */
  get admitted(): number {
    return this.#admission.items;
  }

  /** @throws {InferenceError} OVERLOADED where the queue has no room for a single item */
  checkRoom(): void {
    this.#admission.checkRoom();
  }

  /**
   * Counts `items` against the queue limit while `work` runs.
   * @throws {InferenceError} OVERLOADED, TOO_MANY_ITEMS
   */
  admit<T>(items: number, work: () => Promise<T>): Promise<T> {
    return this.#admission.admit(items, work);
  }

  /** @param items N x input shape */
  async encode(model: ServedModel, items: Float32Array, options: RunOptions = {}): Promise<Encoding> {
    const outputs = await this.#run(model, model.calls.encode, items, options);
    return {
      mean: finite(outputs, 'mean', model.latentSize),
      logVariance: finite(outputs, 'log_variance', model.latentSize),
    };
  }

  /**
   * @param latents N x Z
   * @returns N x input shape
   */
  async decode(model: ServedModel, latents: Float32Array, options: RunOptions = {}): Promise<Float32Array> {
    return finite(await this.#run(model, model.calls.decode, latents, options), 'x_mean', model.itemSize);
  }

  /** Decodes the posterior means of the items. */
  async reconstruct(model: ServedModel, items: Float32Array, options: RunOptions = {}): Promise<Float32Array> {
    const { mean } = await this.encode(model, items, options);
    return this.decode(model, mean, options);
  }

  /**
   * @param items N x input shape
   * @param falsePositiveRate of the threshold; the model's default where unset
   * @throws {InferenceError} RATE_NOT_STATED where the calibration set is too small for that rate
   */
  async score(
    model: ServedModel,
    items: Float32Array,
    options: RunOptions & { readonly falsePositiveRate?: number | undefined; readonly parts?: boolean },
  ): Promise<Scoring> {
    const { manifest, calibrationScores } = model;
    const falsePositiveRate = options.falsePositiveRate ?? manifest.calibration.default_false_positive_rate;
    const threshold = statedThreshold(model, falsePositiveRate);
    const call = options.parts === true ? model.calls.scoreInParts : model.calls.score;
    const outputs = await this.#run(model, call, items, options);
    const components = manifest.scorer.components.map((name) => ({ name, values: finite(outputs, name, 1) }));
    const scores = Array.from(finite(outputs, 'score', 1), (score, i) => ({
      score,
      pValue: conformalPValue(calibrationScores, score),
      isAnomaly: score > threshold,
      components: Object.fromEntries(components.map(({ name, values }) => [name, values[i] ?? 0])),
    }));
    for (const observer of this.#observers) observer.scored?.(model, scores);
    return {
      falsePositiveRate,
      threshold,
      scores,
      ...(options.parts === true && {
        parts: {
          errorMap: finite(outputs, 'error_map', model.itemSize),
          ...(outputs.x_mean !== undefined && { expected: finite(outputs, 'x_mean', model.itemSize) }),
        },
      }),
    };
  }

  /** Tells `observer` what happens from now on. */
  observe(observer: ServiceObserver): void {
    this.#observers.add(observer);
  }

  async close(): Promise<void> {
    this.#stopPolling();
    await this.#pool.close();
  }

  #run(
    { key, manifest }: ServedModel,
    call: ModelCall,
    items: Float32Array,
    { labels, ...options }: RunOptions,
  ): Promise<Outputs> {
    const { condition } = manifest;
    if (condition === undefined && labels === undefined) return this.#scheduler.submit(call, items, options);
    const rows = condition && labels && withLabels(items, labels, condition.classes);
    // Asked of the callers, who answer for what comes from outside.
    if (rows === undefined || rows.length !== call.rowSize * (labels?.length ?? 0)) {
      throw new TypeError(`${key}: expected a label for each item of a conditional model, and for no other's`);
    }
    return this.#scheduler.submit(call, rows, options);
  }
}

/** Looks at the store again and again, no sooner than the last look has ended. */
function poll(registry: ModelRegistry, interval: number | undefined, log: Log): () => void {
  if (interval === undefined) return () => {};
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  const wait = (): void => {
    if (!stopped) timer = setTimeout(look, interval).unref();
  };
  const look = (): void => {
    registry
      .refresh()
      .catch((error: Error) => log.error(`the store could not be followed: ${error.message}`))
      .finally(wait);
  };
  wait();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

/** One observer that passes everything on to those that are in the set at that time. */
function tellingAll(observers: ReadonlySet<ServiceObserver>): ServiceObserver {
  return {
    waited: (call, milliseconds) => {
      for (const observer of observers) observer.waited?.(call, milliseconds);
    },
    ran: (call, rows, requests, milliseconds) => {
      for (const observer of observers) observer.ran?.(call, rows, requests, milliseconds);
    },
    workerLost: () => {
      for (const observer of observers) observer.workerLost?.();
    },
    loaded: (model) => {
      for (const observer of observers) observer.loaded?.(model);
    },
    refused: (key) => {
      for (const observer of observers) observer.refused?.(key);
    },
    unloaded: (model) => {
      for (const observer of observers) observer.unloaded?.(model);
    },
  };
}

function statedThreshold({ manifest, calibrationScores }: ServedModel, rate: number): number {
  try {
    return thresholdAt(manifest.calibration, calibrationScores, rate);
  } catch (error) {
    throw new InferenceError('RATE_NOT_STATED', (error as Error).message, { cause: error });
  }
}

function finite(outputs: Outputs, name: string, width: number): Float32Array {
  const data = outputs[name];
  if (data === undefined) throw new InferenceError('RUN_FAILED', `the graph gave no ${name}`);
  for (let i = 0; i < data.length; i++) {
    if (Number.isFinite(data[i])) continue;
    throw new InferenceError(
      'OUTPUT_NOT_FINITE',
      `the model's ${name} for item ${Math.floor(i / width)} is not a finite number; its input is too extreme for the model`,
    );
  }
  return data;
}
