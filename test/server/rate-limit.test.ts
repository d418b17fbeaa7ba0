import { makeApiKey, parseApiKey } from '@elbo/server/api-keys';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FixtureStore, fixtureStore, startService } from './support/running-service.js';

const entryOf = (name: string) => {
  const { key, entry } = makeApiKey(name);
  const parsed = parseApiKey(entry);
  if (parsed === undefined) throw new Error(entry);
  return { key, parsed };
};

let store: FixtureStore;
beforeAll(async () => {
  store = await fixtureStore();
});
afterAll(() => store.remove());

describe('a limit of requests a minute', () => {
  const rateLimit = { requests: 3, windowMs: 60_000 };

  it('holds for each address, with the time after which to try again', async () => {
    const running = await startService(store.directory, { workers: 1, app: { security: { rateLimit } } });
    const call = () => request(running.url).get('/models');
    const answers = [await call(), await call(), await call()];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(answers.map(({ headers }) => headers['ratelimit-remaining'])).toEqual(['2', '1', '0']);
    const { status, headers, body } = await call();
    expect(status).toBe(429);
    expect(headers['content-type']).toMatch(/^application\/problem\+json/);
    expect(Number(headers['retry-after'])).toBeGreaterThan(0);
    expect(Number(headers['retry-after'])).toBeLessThanOrEqual(60);
    expect(body).toMatchObject({
      code: 'RATE_LIMITED',
      detail: expect.stringContaining('limit of 3 requests a minute'),
    });
    for (let i = 0; i < 5; i++) expect((await request(running.url).get('/health/ready')).status).toBe(200);
    await running.close();
  });

  it('holds for each key, wherever it comes from', async () => {
    const [first, second] = [entryOf('first'), entryOf('second')];
    const running = await startService(store.directory, {
      workers: 1,
      app: { security: { rateLimit, apiKeys: [first.parsed, second.parsed] } },
    });
    const call = (key: string) => request(running.url).get('/models').set('x-api-key', key);
    for (let i = 0; i < 3; i++) expect((await call(first.key)).status).toBe(200);
    expect((await call(first.key)).status).toBe(429);
    expect((await call(second.key)).status).toBe(200);
    await running.close();
  });

  it('takes the address from a proxy that is trusted, and from no other', async () => {
    const statuses = async (trustedProxies: string[]): Promise<number[]> => {
      const running = await startService(store.directory, {
        workers: 1,
        app: { security: { rateLimit, trustedProxies } },
      });
      const answers: number[] = [];
      for (let i = 0; i < 4; i++) {
        answers.push((await request(running.url).get('/models').set('x-forwarded-for', `192.0.2.${i}`)).status);
      }
      await running.close();
      return answers;
    };
    expect(await statuses(['127.0.0.0/8'])).toEqual([200, 200, 200, 200]);
    expect(await statuses([])).toEqual([200, 200, 200, 429]);
  });
});
