import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
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

const get = (path: string) => request(running.url).get(path);
const score = '/anomaly-score?model=table&values=1,2,3,4,5';

describe('an answer that is the same each time', () => {
  it.each(['/models', '/models/grey', '/openapi.json', score])(
    '%s has an ETag, and is not sent twice',
    async (path) => {
      const first = await get(path);
      expect(first.status).toBe(200);
      expect(first.headers['cache-control']).toBe('no-cache');
      const etag = String(first.headers.etag);
      expect(etag).toMatch(/^W\/"[\w-]{43}"$/);
      expect((await get(path)).headers.etag).toBe(etag);
      for (const known of [etag, etag.slice(2), `"other", ${etag}`, '*']) {
        const again = await get(path).set('if-none-match', known);
        expect(again.status, known).toBe(304);
        expect(again.text).toBe('');
        expect(again.headers).toMatchObject({ etag, 'cache-control': 'no-cache' });
      }
      expect((await get(path).set('if-none-match', '"other"')).body).toEqual(first.body);
    },
  );

  it('is scored once only', async () => {
    const { headers } = await get(score);
    const spy = vi.spyOn(running.service, 'score');
    try {
      expect((await get(score).set('if-none-match', String(headers.etag))).status).toBe(304);
      expect(spy).not.toHaveBeenCalled();
      expect((await get(score)).status).toBe(200);
      expect(spy).toHaveBeenCalledOnce();
    } finally {
      spy.mockRestore();
    }
  });

  it('has another ETag for anything that makes another answer', async () => {
    const etags = await Promise.all([
      ...[score, `${score}&fpr=0.01`, `${score}&explain=1`, score.replace('5', '6')].map(
        async (path) => (await get(path)).headers.etag,
      ),
      get(score)
        .set('accept', 'application/octet-stream')
        .then(({ headers }) => headers.etag),
    ]);
    expect(new Set(etags).size).toBe(5);
    expect((await get(score)).headers.vary).toMatch(/\baccept\b/);
  });

  it('has another ETag when another version answers under the same URL', async () => {
    const before = (await get(score)).headers.etag;
    const directory = await writeFixture(
      store.directory,
      fixtureModel({ name: 'table', input: VECTOR_INPUT, latentSize: 3, seed: 9 }),
    );
    const service = await startService(store.directory);
    try {
      const { headers, status } = await request(service.url).get(score).set('if-none-match', String(before));
      expect(status).toBe(200);
      expect(headers.etag).not.toBe(before);
      // The same version has the same ETag in another process.
      const old = score.replace('table', 'table&version=1');
      expect((await request(service.url).get(old)).headers.etag).toBe((await get(old)).headers.etag);
    } finally {
      await service.close();
      await rm(join(directory), { recursive: true });
    }
  });
});

describe('an answer that changes', () => {
  it.each(['/health/live', '/health/ready', '/metrics'])('%s is never kept', async (path) => {
    const { headers } = await get(path).set('if-none-match', '*');
    expect(headers['cache-control']).toBe('no-store');
    expect(headers.etag).toBeUndefined();
  });

  it.each(['/models/nope', `${score},6`, '/anomaly-score', `${score}&fpr=0`])(
    '%s, an error, is never kept',
    async (path) => {
      const { status, headers } = await get(path).set('if-none-match', '*');
      expect(status).toBeGreaterThanOrEqual(400);
      expect(headers['cache-control']).toBe('no-store');
      expect(headers.etag).toBeUndefined();
    },
  );
});
