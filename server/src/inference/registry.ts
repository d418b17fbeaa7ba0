import { listModels, readModel } from '@elbo/models';
import { InferenceError } from './errors.js';
import type { Log } from './log.js';
import { type ServedModel, servedModel } from './model.js';
import type { WorkerPool } from './pool.js';

/** The model versions that are loaded, and which one answers for what a caller leaves open. */
export class ModelRegistry {
  /** By name, versions in ascending order. */
  #models: ReadonlyMap<string, readonly ServedModel[]>;
  /** Names in the store by alphabet, of refused models too. */
  #stored: readonly string[];
  #configuredDefault: string | undefined;

  private constructor(
    models: ReadonlyMap<string, readonly ServedModel[]>,
    stored: readonly string[],
    configuredDefault: string | undefined,
  ) {
    this.#models = models;
    this.#stored = stored;
    this.#configuredDefault = configuredDefault;
  }

  /**
   * Reads a store and loads every version in it. One that is altered, incomplete or doesn't keep to its manifest is
   * refused with one log line, and the others serve.
   */
  static async load(
    directory: string,
    pool: WorkerPool,
    configuredDefault: string | undefined,
    log: Log,
  ): Promise<ModelRegistry> {
    const models = new Map<string, ServedModel[]>();
    const stored = await versionsIn(directory, log);
    for (const reference of stored) {
      try {
        const model = servedModel(await readModel(reference.directory));
        await pool.load(model);
        models.set(reference.name, [...(models.get(reference.name) ?? []), model]);
        log.info(`loaded ${model.key}`);
      } catch (error) {
        const { message } = error as Error;
        const where = message.includes(reference.directory) ? '' : `${reference.directory}: `;
        log.error(`refused ${reference.name}/${reference.version}: ${where}${message}`);
      }
    }
    return new ModelRegistry(
      models,
      stored.map(({ name }) => name),
      configuredDefault,
    );
  }

  /**
   * Name of the model that answers where a caller names none. It depends on the store alone: were it refused, another
   * model's answer would not be what the caller asked for.
   */
  get defaultModel(): string | undefined {
    if (this.#configuredDefault !== undefined) return this.#configuredDefault;
    return this.#stored.includes('mnist') ? 'mnist' : this.#stored[0];
  }

  /** Why the service can't do its work; undefined where it can. */
  get notReady(): string | undefined {
    if (this.#models.size === 0) return 'no model is loaded; the log says which were refused and why';
    if (this.#configuredDefault !== undefined && !this.#models.has(this.#configuredDefault)) {
      return `the default model ${this.#configuredDefault} is not loaded`;
    }
    return undefined;
  }

  /** Every loaded version, by name, then by version. */
  list(): ServedModel[] {
    return [...this.#models.values()].flat();
  }

  /** Loaded versions of one model, ascending. */
  versions(name: string): readonly ServedModel[] {
    return this.#models.get(name) ?? [];
  }

  /**
   * @param name the default model where unset
   * @param version the latest where unset
   * @throws {InferenceError} MODEL_NOT_FOUND, saying what is loaded
   */
  get(name: string | undefined = this.defaultModel, version?: string): ServedModel {
    const versions = this.#models.get(name ?? '');
    if (versions === undefined) {
      const loaded = [...this.#models.keys()].join(', ');
      throw new InferenceError(
        'MODEL_NOT_FOUND',
        name === undefined ? 'no model is loaded' : `model ${quote(name)} is not loaded; loaded: ${loaded || 'none'}`,
      );
    }
    const model = version === undefined ? versions.at(-1) : versions.find((v) => v.manifest.version === version);
    if (model === undefined) {
      const loaded = versions.map(({ manifest }) => manifest.version).join(', ');
      throw new InferenceError(
        'MODEL_NOT_FOUND',
        `version ${quote(version ?? '')} of model ${name} is not loaded; loaded: ${loaded}`,
      );
    }
    return model;
  }
}

async function versionsIn(directory: string, log: Log): ReturnType<typeof listModels> {
  try {
    return await listModels(directory, ({ message }) => log.error(`refused ${message}`));
  } catch (error) {
    log.error((error as Error).message);
    return [];
  }
}

function quote(text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text);
}
