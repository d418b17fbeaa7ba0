import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { elboClient } from '@elbo/openapi';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectedMean } from './support/fixture-models.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

const ITEM = Array(64).fill(0.25);

let store: FixtureStore;
let running: RunningService;

beforeAll(async () => {
  store = await fixtureStore();
  running = await startService(store.directory);
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

describe('the typed client', () => {
  it('has the types of openapi.json; npm run openapi --workspace server writes both anew', async () => {
    const directory = new URL('../../openapi/', import.meta.url);
    const { resolve } = createRequire(new URL('package.json', directory));
    const cli = join(dirname(resolve('openapi-typescript')), '..', 'bin', 'cli.js');
    const run = promisify(execFile)(
      process.execPath,
      [cli, 'openapi.json', '-o', 'src/schema.ts', '--default-non-nullable', 'false', '--check'],
      { cwd: fileURLToPath(directory) },
    );
    await expect(run).resolves.toBeDefined();
  });

  it('encodes, decodes, samples and scores', async () => {
    const client = elboClient({ baseUrl: running.url });
    const params = { query: { model: 'grey' } };
    const { data: encoding } = await client.POST('/encode', { params, body: { inputs: [ITEM] } });
    const [mean = []] = encoding?.mean ?? [];
    expect(mean[0]).toBeCloseTo(expectedMean(store.grey, ITEM)[0] ?? Number.NaN, 5);
    const { data: decoding } = await client.POST('/decode', { params, body: { latents: [mean] } });
    expect(decoding?.shape).toEqual([1, 1, 8, 8]);
    const { data: samples } = await client.POST('/sample', { params, body: { count: 2, seed: 7 } });
    expect(samples?.latents).toHaveLength(2);
    const { data: scoring } = await client.POST('/anomaly-score', { params, body: { inputs: [ITEM, ITEM] } });
    expect(scoring?.scores.map(({ p_value }) => p_value > 0)).toEqual([true, true]);
    const { data: models } = await client.GET('/models');
    expect(models?.models.map(({ name }) => name)).toContain('grey');
  });

  it('gives errors as problem documents', async () => {
    const client = elboClient({ baseUrl: running.url });
    const { error, response } = await client.GET('/models/{name}', { params: { path: { name: 'absent' } } });
    expect(response.status).toBe(404);
    expect(error).toMatchObject({ code: 'MODEL_NOT_FOUND' });
  });
});
