import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { listModels, type ModelReference, readModel } from '@elbo/models';
import { quote } from '../quote.js';
import { InferenceError } from './errors.js';
import type { Log } from './log.js';
import { type ServedModel, servedModel } from './model.js';
import type { Acceptance, Candidate } from './pool.js';

/** Loads a set of models and moves the traffic to them, calling `moved` at that moment. */
export type MoveTraffic = (
  candidates: readonly Candidate[],
  moved: (acceptance: Acceptance) => void,
) => Promise<unknown>;

export interface RegistryOptions {
  readonly directory: string;
  readonly defaultModel: string | undefined;
}

export interface RegistryObserver {
  loaded?(model: ServedModel): void;
  refused?(key: string): void;
  unloaded?(model: ServedModel): void;
}

/** A version that a change of the store left out, and why. */
export interface Refusal {
  /** `name/version` */
  readonly key: string;
  readonly reason: string;
}

export interface Changes {
  readonly loaded: readonly ServedModel[];
  readonly unloaded: readonly ServedModel[];
  readonly refused: readonly Refusal[];
}

/** What was last seen of a version in the store. */
interface Seen {
  /** Names, sizes and times of its files. */
  readonly fingerprint: string;
  readonly refusal: string | undefined;
}

/**
 * The model versions that are loaded, and which one answers for what a caller leaves open. It follows the store: a version
 * that is new or changed is read, verified and warmed up before it answers anything, and one that fails changes nothing.
 */
export class ModelRegistry {
  /** By name, versions in ascending order. */
  #models: ReadonlyMap<string, readonly ServedModel[]> = new Map();
  /** Versions in the store by key, refused ones too. */
  #seen = new Map<string, Seen>();
  /** Names in the store by alphabet, of refused models too. */
  #stored: readonly string[] = [];
  /** Names that were unloaded by hand. */
  readonly #putAside = new Set<string>();
  readonly #options: RegistryOptions;
  readonly #moveTraffic: MoveTraffic;
  readonly #log: Log;
  readonly #observer: RegistryObserver;
  /** Changes come one after another. */
  #last: Promise<unknown> = Promise.resolve();
  /** What was wrong with the store itself at the last look. */
  #complaints: ReadonlySet<string> = new Set();
  #followed = false;

  constructor(options: RegistryOptions, moveTraffic: MoveTraffic, log: Log, observer: RegistryObserver = {}) {
    this.#options = options;
    this.#moveTraffic = moveTraffic;
    this.#log = log;
    this.#observer = observer;
  }

  /**
   * Name of the model that answers where a caller names none. It depends on the store alone: were it refused, another
   * model's answer would not be what the caller asked for.
   */
  get defaultModel(): string | undefined {
    if (this.#options.defaultModel !== undefined) return this.#options.defaultModel;
    return this.#stored.includes('mnist') ? 'mnist' : this.#stored[0];
  }

  /** Why the service can't do its work; undefined where it can. */
  get notReady(): string | undefined {
    if (this.#models.size === 0) {
      return this.#stored.length === 0 && this.#complaints.size === 0
        ? `no model is loaded; there is none in the store ${this.#options.directory}`
        : 'no model is loaded; the log says which were refused and why';
    }
    const { defaultModel } = this.#options;
    if (defaultModel !== undefined && !this.#models.has(defaultModel)) {
      return `the default model ${defaultModel} is not loaded`;
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

  /** Versions that stand in the store and are not loaded as they stand there, by key. */
  refusals(): Refusal[] {
    return [...this.#seen].flatMap(([key, { refusal }]) => (refusal === undefined ? [] : [{ key, reason: refusal }]));
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

  /** Loads what is new or changed in the store, and unloads what is gone from it. */
  refresh(): Promise<Changes> {
    return this.#inTurn(() => this.#follow(undefined));
  }

  /**
   * Reads every version of one model anew, whether its files look changed or not; one that was unloaded comes back.
   * @throws {InferenceError} MODEL_NOT_FOUND where neither the store nor the service has it; MODEL_REFUSED where one of its
   * versions was refused, after the others were loaded
   */
  load(name: string): Promise<Changes> {
    return this.#inTurn(async () => {
      this.#putAside.delete(name);
      const changes = await this.#follow(name);
      const refused = changes.refused.filter(({ key }) => key.startsWith(`${name}/`));
      if (refused.length === 0) return changes;
      const reasons = refused.map(({ key, reason }) => `${key}: ${reason}`).join('; ');
      throw new InferenceError('MODEL_REFUSED', `${reasons}; what served before goes on`);
    });
  }

  /**
   * Unloads every version of one model, until `load` brings it back.
   * @throws {InferenceError} MODEL_NOT_FOUND where it isn't loaded
   */
  unload(name: string): Promise<Changes> {
    return this.#inTurn(() => {
      if (!this.#models.has(name)) this.get(name);
      this.#putAside.add(name);
      return this.#follow(undefined);
    });
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#last.then(change);
    this.#last = result.catch(() => {});
    return result;
  }

  /** @param anew name of a model whose versions are read although they look as before */
  async #follow(anew: string | undefined): Promise<Changes> {
    const listed = await this.#versionsInStore();
    // A store that can't be listed any more says nothing of what is in it.
    if (listed === undefined && this.#followed) return { loaded: [], unloaded: [], refused: [] };
    const stored = listed ?? [];
    if (anew !== undefined && !stored.some(({ name }) => name === anew) && !this.#models.has(anew)) {
      throw new InferenceError('MODEL_NOT_FOUND', `model ${quote(anew)} is not in the store`);
    }
    const before = new Map(this.list().map((model) => [model.key, model]));
    const seen = new Map<string, Seen>();
    const candidates: Candidate[] = [];
    const refused: Refusal[] = [];
    const refuse = (key: string, fingerprint: string, { message }: Error): void => {
      const directory = join(this.#options.directory, key);
      const reason = message.includes(directory) ? message : `${directory}: ${message}`;
      refused.push({ key, reason });
      seen.set(key, { fingerprint, refusal: reason });
    };
    for (const reference of stored) {
      const key = `${reference.name}/${reference.version}`;
      if (this.#putAside.has(reference.name)) continue;
      const fallback = before.get(key);
      const last = this.#seen.get(key);
      const fingerprint = await fingerprintOf(reference.directory);
      if (last?.fingerprint === fingerprint && reference.name !== anew) {
        seen.set(key, last);
        if (fallback !== undefined) candidates.push({ model: fallback });
        continue;
      }
      try {
        const model = servedModel(await readModel(reference.directory));
        candidates.push(model.id === fallback?.id ? { model: fallback } : { model, fallback });
        seen.set(key, { fingerprint, refusal: undefined });
      } catch (error) {
        refuse(key, fingerprint, error as Error);
        if (fallback !== undefined) candidates.push({ model: fallback });
      }
    }
    const asBefore =
      candidates.length === before.size && candidates.every(({ model }) => before.get(model.key)?.id === model.id);
    // The first look starts the workers, whatever it finds.
    if (!asBefore || !this.#followed) {
      this.#followed = true;
      await this.#moveTraffic(candidates, (acceptance) => {
        this.#models = groupedByName(acceptance.models);
        for (const [model, error] of acceptance.refused) {
          refuse(model.key, seen.get(model.key)?.fingerprint ?? '', error);
        }
      });
    }
    this.#seen = seen;
    this.#stored = stored.map(({ name }) => name);
    const after = new Set(this.list());
    const known = new Set(before.values());
    const changes = {
      loaded: [...after].filter((model) => !known.has(model)),
      unloaded: [...known].filter((model) => !after.has(model)),
      refused,
    };
    this.#report(changes);
    return changes;
  }

  #report({ loaded, unloaded, refused }: Changes): void {
    const keys = new Set(loaded.map(({ key }) => key));
    for (const model of unloaded) {
      if (!keys.has(model.key)) this.#log.info(`unloaded ${model.key}`);
      this.#observer.unloaded?.(model);
    }
    for (const model of loaded) {
      this.#log.info(`loaded ${model.key}`);
      this.#observer.loaded?.(model);
    }
    for (const { key, reason } of refused) {
      this.#log.error(`refused ${key}: ${reason}`);
      this.#observer.refused?.(key);
    }
  }

  async #versionsInStore(): Promise<ModelReference[] | undefined> {
    const complaints = new Set<string>();
    try {
      return await listModels(this.#options.directory, ({ message }) => complaints.add(`refused ${message}`));
    } catch (error) {
      complaints.add((error as Error).message);
      return undefined;
    } finally {
      // Once for as long as it stays so, however often the store is looked at.
      for (const complaint of complaints) if (!this.#complaints.has(complaint)) this.#log.error(complaint);
      this.#complaints = complaints;
    }
  }
}

function groupedByName(models: readonly ServedModel[]): ReadonlyMap<string, readonly ServedModel[]> {
  const groups = new Map<string, ServedModel[]>();
  for (const model of models) groups.set(model.manifest.name, [...(groups.get(model.manifest.name) ?? []), model]);
  return groups;
}

/** What changes whenever a file of a version does, without reading them. */
async function fingerprintOf(directory: string): Promise<string> {
  try {
    const names = (await readdir(directory)).sort();
    const files = await Promise.all(
      names.map(async (name) => {
        const { size, mtimeMs, ino } = await stat(join(directory, name));
        return `${name} ${size} ${mtimeMs} ${ino}`;
      }),
    );
    return files.join('\n');
  } catch (error) {
    return (error as Error).message;
  }
}
