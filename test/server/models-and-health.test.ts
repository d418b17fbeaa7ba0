import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ManifestDraft } from '@elbo/models';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixtureModel, VECTOR_INPUT, writeFixture } from './support/fixture-models.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

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

describe('GET /models', () => {
  it('lists every loaded version, and says which one is the default', async () => {
    const { body } = await request(running.url).get('/models');
    const listed = body.models.map((m: Record<string, unknown>) => [m.name, m.version, m.is_default]);
    expect(listed).toEqual([
      ['grey', '1', false],
      ['grey', '2', true],
      ['rgb', '1', false],
      ['table', '1', false],
    ]);
    expect(body.models[3]).toMatchObject({ input: { kind: 'vector', shape: [5] }, latent: { size: 3 } });
  });

  it('describes one model', async () => {
    const { body } = await request(running.url).get('/models/grey');
    expect(body).toMatchObject({
      name: 'grey',
      version: '2',
      versions: ['1', '2'],
      input: { shape: [1, 8, 8], value_range: [0, 1] },
      calibration: { default_false_positive_rate: 0.05 },
      metrics: { elbo: { value: -90, unit: 'nats' } },
    });
    expect((await request(running.url).get('/models/grey?version=1')).body.version).toBe('1');
  });
});

describe('the latent space of a model', () => {
  const latent = {
    size: 2,
    active_units: 2,
    kl_per_dimension: [1, 2],
    aggregate_posterior: {
      split: 'test',
      examples: 50,
      mean: [0, 0.5],
      standard_deviation_of_means: [0.9, 0.8],
      variance: [1, 1.5],
      strongest_correlations: [
        { dimension: 1, correlation: 0.25 },
        { dimension: 0, correlation: 0.25 },
      ],
      covariance: [
        [1, 0.3],
        [0.3, 1.5],
      ],
    },
    traversal_ranges: [
      [-2, 2],
      [-1.5, 2.5],
    ] as [number, number][],
  };

  it('is told in full of one model, and in brief of all', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'elbo-latent-'));
    const change = (draft: ManifestDraft): ManifestDraft => ({ ...draft, latent });
    await writeFixture(directory, fixtureModel({ name: 'known', input: VECTOR_INPUT, latentSize: 2, change }));
    const service = await startService(directory);
    try {
      expect((await request(service.url).get('/models/known')).body.latent).toEqual(latent);
      const { size, active_units, kl_per_dimension } = latent;
      const { models } = (await request(service.url).get('/models')).body;
      expect(models[0].latent).toEqual({ size, active_units, kl_per_dimension });
    } finally {
      await service.close();
      await rm(directory, { recursive: true });
    }
  });

  it('of an older model is what its manifest has', async () => {
    const { body } = await request(running.url).get('/models/table');
    expect(body.latent).toEqual({ size: 3, active_units: 3, kl_per_dimension: [1, 1, 1] });
  });
});

describe('health', () => {
  it('is ready, and says on what', async () => {
    const { status, body } = await request(running.url).get('/health/ready');
    expect(status).toBe(200);
    expect(body).toEqual({
      status: 'ready',
      provider: 'cpu',
      workers: { alive: 2, configured: 2 },
      models: ['grey/1', 'grey/2', 'rgb/1', 'table/1'],
    });
    expect((await request(running.url).get('/health/live')).body).toEqual({ status: 'live' });
  });

  it('is live but not ready without a model', async () => {
    const empty = await mkdtemp(join(tmpdir(), 'elbo-empty-'));
    for (const [directory, why] of [
      [empty, `there is none in the store ${empty}`],
      [join(empty, 'missing'), 'the log says which were refused and why'],
    ] as const) {
      const service = await startService(directory);
      expect((await request(service.url).get('/health/live')).status).toBe(200);
      const { status, body } = await request(service.url).get('/health/ready');
      expect(status).toBe(503);
      expect(body).toMatchObject({ code: 'NOT_READY', detail: `no model is loaded; ${why}` });
      expect((await request(service.url).post('/sample')).body).toMatchObject({ code: 'MODEL_NOT_FOUND' });
      expect((await request(service.url).get('/models')).body).toEqual({ models: [] });
      await service.close();
    }
    await rm(empty, { recursive: true });
  });

  it('is not ready without the default model that was asked for', async () => {
    const service = await startService(store.directory, { defaultModel: 'absent' });
    const { status, body } = await request(service.url).get('/health/ready');
    expect(status).toBe(503);
    expect(body.detail).toBe('the default model absent is not loaded');
    expect((await request(service.url).post('/sample?model=grey&count=1')).status).toBe(200);
    await service.close();
  });

  it('takes the default model from the configuration', async () => {
    const service = await startService(store.directory, { defaultModel: 'table' });
    expect((await request(service.url).post('/sample?count=1')).body.model).toBe('table');
    await service.close();
  });
});
