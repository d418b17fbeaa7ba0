import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { type AppOptions, buildApp } from '@elbo/server/app';
import { InferenceService, type ServiceOptions } from '@elbo/server/inference/service';
import type { FastifyInstance } from 'fastify';
import {
  type FixtureModel,
  fixtureModel,
  GREY_INPUT,
  RGB_INPUT,
  VECTOR_INPUT,
  writeFixture,
} from './fixture-models.js';

export interface RunningService {
  readonly url: string;
  readonly app: FastifyInstance;
  readonly service: InferenceService;
  /** Every line that the inference side logged. */
  readonly log: readonly string[];
  /** The inference threads, in the order in which they were started. */
  readonly workers: readonly Worker[];
  close(): Promise<void>;
}

export interface StartOptions extends Partial<ServiceOptions> {
  readonly bodyLimit?: number;
  readonly app?: Partial<AppOptions>;
  /** Adds to the app before it listens. */
  readonly prepare?: (app: FastifyInstance) => void;
}

/** A service over a store, listening on a port of the system's choice. */
export async function startService(
  modelsDirectory: string,
  { bodyLimit = 1 << 20, app: appOptions = {}, prepare = () => {}, ...options }: StartOptions = {},
): Promise<RunningService> {
  const log: string[] = [];
  const write = (message: string): void => {
    log.push(message);
  };
  const workers: Worker[] = [];
  const record = (worker: Worker): void => {
    workers.push(worker);
  };
  process.on('worker', record);
  const service = await InferenceService.start(
    {
      provider: 'cpu',
      workers: 2,
      threads: 1,
      maxBatch: 8,
      maxQueue: 256,
      defaultModel: undefined,
      ...options,
      modelsDirectory,
    },
    { info: write, warn: write, error: write },
  );
  const app = await buildApp({ service, bodyLimit, ...appOptions });
  prepare(app);
  await app.listen({ host: '127.0.0.1', port: 0 });
  return {
    url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`,
    app,
    service,
    log,
    workers,
    close: async () => {
      await app.close();
      await service.close();
      process.off('worker', record);
    },
  };
}

export interface FixtureStore {
  readonly directory: string;
  readonly grey: FixtureModel;
  readonly rgb: FixtureModel;
  readonly table: FixtureModel;
  remove(): Promise<void>;
}

/** A store with `grey` (two versions), `rgb` and `table`. */
export async function fixtureStore(): Promise<FixtureStore> {
  const directory = await mkdtemp(join(tmpdir(), 'elbo-store-'));
  const grey = fixtureModel({ name: 'grey', input: GREY_INPUT, seed: 2 });
  const rgb = fixtureModel({ name: 'rgb', input: RGB_INPUT, seed: 3 });
  const table = fixtureModel({ name: 'table', input: VECTOR_INPUT, latentSize: 3, seed: 4 });
  await writeFixture(directory, fixtureModel({ name: 'grey', input: GREY_INPUT, seed: 1 }));
  for (const model of [grey, rgb, table]) await writeFixture(directory, model);
  return { directory, grey, rgb, table, remove: () => rm(directory, { recursive: true, force: true }) };
}
