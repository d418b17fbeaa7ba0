import { conformalPValue, RandomSource, thresholdAt } from '@elbo/models';
import { InferenceError } from './errors.js';
import type { Log } from './log.js';
import type { ModelCall, ServedModel } from './model.js';
import { type PoolOptions, WorkerPool } from './pool.js';
import type { Provider } from './provider.js';
import { paddedRows } from './provider.js';
import { ModelRegistry } from './registry.js';
import { withLabels } from './rows.js';
import type { RunTimes } from './run-times.js';
import { type Outputs, Scheduler } from './scheduler.js';

export interface ServiceOptions extends PoolOptions {
  readonly modelsDirectory: string;
  readonly defaultModel: string | undefined;
  readonly maxQueue: number;
}

export interface RunOptions {
  /** Class numbers, one an item; only for models with a condition, and always for these. */
  readonly labels?: readonly number[] | undefined;
  readonly signal?: AbortSignal;
  /** Filled with how long the request's runs took. */
  readonly times?: RunTimes;
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

/** Is told of every item that was scored. */
export type ScoreObserver = (model: ServedModel, scores: readonly Score[]) => void;

export interface ServiceStatus {
  readonly notReady: string | undefined;
  readonly provider: Provider;
  readonly providerNote: string | undefined;
  readonly workersAlive: number;
  readonly workers: number;
}

/**
 * The models, the workers and what can be asked of them. Every method takes the memory of the tensors it is given, and
 * throws {InferenceError} OVERLOADED-like errors as the scheduler does; a `signal` drops work that nobody waits for.
 */
export class InferenceService {
  readonly registry: ModelRegistry;
  readonly pool: WorkerPool;
  readonly #observers: ScoreObserver[] = [];
  #scheduler: Scheduler<ModelCall>;
  #workers: number;

  private constructor(registry: ModelRegistry, pool: WorkerPool, scheduler: Scheduler<ModelCall>, workers: number) {
    this.registry = registry;
    this.pool = pool;
    this.#scheduler = scheduler;
    this.#workers = workers;
  }

  /**
   * Starts the workers, loads every model of the store and warms them up.
   * @throws {InferenceError} PROVIDER_UNAVAILABLE
   */
  static async start(options: ServiceOptions, log: Log): Promise<InferenceService> {
    const pool = await WorkerPool.start(options, log);
    if (pool.providerNote !== undefined) log.warn(`running on the ${pool.provider}: ${pool.providerNote}`);
    const registry = await ModelRegistry.load(options.modelsDirectory, pool, options.defaultModel, log);
    const scheduler = new Scheduler<ModelCall>({
      maxBatch: options.maxBatch,
      maxItems: options.maxQueue,
      padRows: (rows) => paddedRows(pool.provider, rows),
    });
    pool.serve(scheduler);
    return new InferenceService(registry, pool, scheduler, options.workers);
  }

  get status(): ServiceStatus {
    return {
      notReady: this.pool.alive === 0 ? 'no inference worker is alive' : this.registry.notReady,
      provider: this.pool.provider,
      providerNote: this.pool.providerNote,
      workersAlive: this.pool.alive,
      workers: this.#workers,
    };
  }

  /** Items accepted and not yet answered. */
  get admitted(): number {
    return this.#scheduler.admitted;
  }

  /**
   * Counts `items` against the queue limit while `work` runs.
   * @throws {InferenceError} OVERLOADED, TOO_MANY_ITEMS
   */
  admit<T>(items: number, work: () => Promise<T>): Promise<T> {
    return this.#scheduler.admit(items, work);
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
    for (const observer of this.#observers) observer(model, scores);
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

  /** Calls `observer` with what is scored from now on. */
  onScored(observer: ScoreObserver): void {
    this.#observers.push(observer);
  }

  async close(): Promise<void> {
    await this.pool.close();
  }

  #run(
    { key, manifest }: ServedModel,
    call: ModelCall,
    items: Float32Array,
    { labels, signal }: RunOptions,
  ): Promise<Outputs> {
    const { condition } = manifest;
    if (condition === undefined && labels === undefined) return this.#scheduler.submit(call, items, signal);
    const rows = condition && labels && withLabels(items, labels, condition.classes);
    // Asked of the callers, who answer for what comes from outside.
    if (rows === undefined || rows.length !== call.rowSize * (labels?.length ?? 0)) {
      throw new TypeError(`${key}: expected a label for each item of a conditional model, and for no other's`);
    }
    return this.#scheduler.submit(call, rows, signal);
  }
}

/** One draw from each posterior: mean + exp(log_variance / 2) * noise, N x Z. */
export function drawPosterior({ mean, logVariance }: Encoding, seed: number): Float32Array {
  const noise = new RandomSource(seed).fillNormal(new Float32Array(mean.length));
  return noise.map((value, i) => (mean[i] ?? 0) + Math.exp((logVariance[i] ?? 0) / 2) * value);
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
  const bad = data.findIndex((value) => !Number.isFinite(value));
  if (bad !== -1) {
    throw new InferenceError(
      'OUTPUT_NOT_FINITE',
      `the model's ${name} for item ${Math.floor(bad / width)} is not a finite number; its input is too extreme for the model`,
    );
  }
  return data;
}
