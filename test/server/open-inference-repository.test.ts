import { makeApiKey, parseApiKey } from '@elbo/server/api-keys';
import { InferenceStatistics } from '@elbo/server/inference/statistics';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

const { key: ADMIN_KEY, entry } = makeApiKey('operator');
const ADMIN = parseApiKey(entry) ?? { name: '', hash: '' };

let store: FixtureStore;
let running: RunningService;

beforeAll(async () => {
  store = await fixtureStore();
  running = await startService(store.directory, { app: { security: { adminKeys: [ADMIN] } } });
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

const post = (path: string) => request(running.url).post(`/v2/repository${path}`).set('x-api-key', ADMIN_KEY);

describe('the index of the repository', () => {
  it('has every version of every model, and its graphs', async () => {
    for (const call of [post('/index'), post('/index').send({ ready: true })]) {
      const { status, body } = await call;
      expect(status).toBe(200);
      expect(body).toHaveLength(4 * 4);
      expect(body.filter(({ name }: { name: string }) => name.startsWith('grey')).slice(0, 5)).toEqual([
        ...['grey', 'grey:encoder', 'grey:decoder', 'grey:scorer'].map((name) => ({
          name,
          version: '1',
          state: 'READY',
          reason: '',
        })),
        { name: 'grey', version: '2', state: 'READY', reason: '' },
      ]);
    }
  });

  it.each([
    ['[]', 'the body is an array; expected an object'],
    ['{"ready":"yes"}', 'ready is the string "yes"; expected true or false'],
  ])('refuses %s', async (body, error) => {
    const answer = await post('/index').set('content-type', 'application/json').send(body);
    expect([answer.status, answer.body]).toEqual([400, { error }]);
  });
});

describe('loading and unloading', () => {
  it.each([
    [
      'a graph',
      '/models/grey:encoder/load',
      {},
      '"grey:encoder" is no model\'s name; the graphs of a model are loaded',
    ],
    ['a path', '/models/..%2Fgrey/unload', {}, '"../grey" is no model\'s name'],
    ['files in a request', '/models/grey/load', { parameters: { config: '{}' } }, 'parameters has the string "config"'],
    ['parameters of no kind', '/models/grey/unload', { parameters: 1 }, 'parameters is 1; expected an object'],
  ])('refuses %s', async (_name, path, body, error) => {
    const answer = await post(path).send(body);
    expect(answer.status).toBe(400);
    expect(answer.body.error).toContain(error);
  });
});

describe('a model that is unloaded', () => {
  it('answers nothing until it is loaded again', async () => {
    const ready = async () => (await request(running.url).get('/v2/models/rgb/ready')).status;
    expect(await ready()).toBe(200);
    expect((await post('/models/rgb/unload').send({ parameters: { unload_dependents: true } })).status).toBe(200);
    expect(await ready()).toBe(404);
    expect((await post('/models/rgb/unload')).status).toBe(404);
    expect((await post('/models/rgb/load')).status).toBe(200);
    expect(await ready()).toBe(200);
    expect((await post('/models/nothing/load')).status).toBe(404);
  });
});

describe('statistics', () => {
  const statistics = async (path: string) =>
    (await request(running.url).get(`/v2/models/${path}stats`)).body.model_stats;
  const infer = (data: number[], rows = 1) =>
    request(running.url)
      .post('/v2/models/table/infer')
      .send({ inputs: [{ name: 'x', shape: [rows, 5], datatype: 'FP32', data }] });

  it('count rows, requests that were answered and requests that were not', async () => {
    const [before] = await statistics('table:scorer/');
    expect(before).toMatchObject({ version: '1', last_inference: 0, inference_count: 0 });
    expect((await infer(Array(15).fill(1), 3)).status).toBe(200);
    expect((await infer([1])).status).toBe(400);
    const [after, ...others] = await statistics('table/versions/1/');
    expect(others).toEqual([]);
    expect(after).toMatchObject({ name: 'table', version: '1', inference_count: 3, batch_stats: [] });
    expect(after.last_inference).toBeGreaterThan(Date.now() - 60_000);
    const { success, fail, ...rest } = after.inference_stats;
    expect([success.count, fail.count]).toEqual([1, 1]);
    expect(success.ns).toBeGreaterThan(1000);
    expect(after.execution_count).toBe(1);
    expect(rest.compute_infer).toMatchObject({ count: 1, ns: expect.any(Number) });
    expect(Object.keys(rest)).toEqual([
      'queue',
      'compute_input',
      'compute_infer',
      'compute_output',
      'cache_hit',
      'cache_miss',
    ]);
  });

  it('are had of every version, and of every graph', async () => {
    const versions = (await statistics('grey:decoder/')).map(({ version }: { version: string }) => version);
    expect(versions).toEqual(['1', '2']);
    const names = (await statistics('')).map(({ name }: { name: string }) => name);
    expect(names).toHaveLength(4 * 3);
    expect(new Set(names)).toContain('rgb:decoder');
    const unknown = await request(running.url).get('/v2/models/nope/stats');
    expect(unknown.status).toBe(404);
  });

  it('keep graphs apart, and waiting from running', () => {
    const all = new InferenceStatistics();
    const scorer = { model: 'a/1', role: 'scorer' } as const;
    all.waited(scorer, 5);
    all.waited(scorer, 7);
    all.ran(scorer, 3, 2, 100);
    expect(all.read(scorer)).toMatchObject({
      executions: 1,
      queue: { count: 2, ns: 12_000_000 },
      compute: { count: 1, ns: 100_000_000 },
      success: { count: 0, ns: 0 },
    });
    expect(all.read({ model: 'a/1', role: 'encoder' }).queue.count).toBe(0);
  });
});
