import { makeApiKey, parseApiKey } from '@elbo/server/api-keys';
import type { Clock } from '@elbo/server/inference/clock';
import { ItemRate } from '@elbo/server/item-rate';
import type { ProblemError } from '@elbo/server/problems';
import { RecentMap } from '@elbo/server/recent-map';
import fc from 'fast-check';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseLines } from './support/bodies.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

/** Time that passes when a test says so. */
class Watch implements Pick<Clock, 'now'> {
  milliseconds = 0;
  now = () => this.milliseconds;
}

const limit = { items: 60, windowMs: 60_000 };
const refusal = (work: () => void): ProblemError | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    return error as ProblemError;
  }
};

describe('the items of a caller', () => {
  it('may come at once up to the limit, and then as fast as it says', () => {
    const watch = new Watch();
    const rate = new ItemRate(limit, watch);
    rate.take('a', 50);
    rate.take('a', 10);
    expect(refusal(() => rate.take('a', 5))).toMatchObject({
      code: 'RATE_LIMITED',
      headers: { 'retry-after': '5' },
      message: 'the limit of 60 items a minute of one caller is reached: 0 are left, not 5; these are taken in 5 s',
    });
    watch.milliseconds += 4999;
    expect(refusal(() => rate.take('a', 5))?.headers).toEqual({ 'retry-after': '1' });
    watch.milliseconds += 1;
    rate.take('a', 5);
    expect(refusal(() => rate.take('a', 1))?.code).toBe('RATE_LIMITED');
    watch.milliseconds += 3_600_000;
    rate.take('a', 60);
    expect(refusal(() => rate.take('a', 1))?.code).toBe('RATE_LIMITED');
  });

  it('are counted for each caller, and only where all are taken', () => {
    const rate = new ItemRate({ items: 10, windowMs: 1000 }, new Watch());
    rate.take('a', 6);
    expect(refusal(() => rate.take('a', 5))?.message).toContain('the limit of 10 items a second');
    rate.take('a', 4);
    rate.take('b', 10);
  });

  it('are refused for good where they are more than the limit ever allows', () => {
    const rate = new ItemRate(limit, new Watch());
    expect(refusal(() => rate.take('a', 61))).toMatchObject({
      code: 'TOO_MANY_ITEMS',
      message: '61 items in one request are more than the limit of 60 items a minute of one caller',
    });
    rate.take('a', 60);
  });

  it('are never more than the limit and what came back since, and come after retry-after', () => {
    const steps = fc.array(fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 3000 })), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(steps, (calls) => {
        const watch = new Watch();
        const rate = new ItemRate({ items: 12, windowMs: 6000 }, watch);
        let taken = 0;
        for (const [items, wait] of calls) {
          watch.milliseconds += wait;
          const error = refusal(() => rate.take('a', items));
          if (error === undefined) taken += items;
          else {
            const later = new Watch();
            later.milliseconds = watch.milliseconds + 1000 * Number(error.headers['retry-after']);
            watch.milliseconds = later.milliseconds;
            rate.take('a', items);
            taken += items;
          }
          expect(taken).toBeLessThanOrEqual(12 + (watch.milliseconds * 12) / 6000 + 1e-6);
        }
      }),
    );
  });

  it('are kept of as many callers as there is room for, those that came last', () => {
    const map = new RecentMap<string, number>(2);
    map.set('a', 1);
    map.set('b', 2);
    expect(map.get('a')).toBe(1);
    map.set('c', 3);
    expect([map.get('a'), map.get('b'), map.get('c')]).toEqual([1, undefined, 3]);
  });
});

describe('the service with a limit of items', () => {
  let store: FixtureStore;
  let running: RunningService;
  const watch = new Watch();
  const keys = ['first', 'second'].map((name) => {
    const { key, entry } = makeApiKey(name);
    const parsed = parseApiKey(entry);
    if (parsed === undefined) throw new Error(entry);
    return { key, parsed };
  });
  const [first = '', second = ''] = keys.map(({ key }) => key);

  beforeAll(async () => {
    store = await fixtureStore();
    running = await startService(store.directory, {
      workers: 1,
      maxQueue: 100,
      app: { clock: watch, security: { itemRateLimit: limit, apiKeys: keys.map(({ parsed }) => parsed) } },
    });
  });
  afterAll(async () => {
    await running.close();
    await store.remove();
  });

  const item = new Array<number>(64).fill(0.5);
  const items = (count: number) => new Array<number[]>(count).fill(item);
  const encode = (count: number, key = first) =>
    request(running.url)
      .post('/encode')
      .set('x-api-key', key)
      .send({ inputs: items(count) });

  it.each<[string, (count: number) => request.Test]>([
    ['/encode', (count) => encode(count)],
    [
      '/reconstruct',
      (count) =>
        request(running.url)
          .post('/reconstruct')
          .send({ inputs: items(count) }),
    ],
    [
      '/anomaly-score',
      (count) =>
        request(running.url)
          .post('/anomaly-score')
          .send({ inputs: items(count) }),
    ],
    [
      '/decode',
      (count) =>
        request(running.url)
          .post('/decode')
          .send({ latents: items(count).map(() => [0, 0, 0, 0]) }),
    ],
    ['/sample', (count) => request(running.url).post(`/sample?count=${count}`)],
    [
      '/interpolate',
      (count) =>
        request(running.url)
          .post(`/interpolate?steps=${count}`)
          .send({ inputs: items(2) }),
    ],
    [
      '/v2',
      (count) =>
        request(running.url)
          .post('/v2/models/grey:encoder/infer')
          .send({ inputs: [{ name: 'x', shape: [count, 1, 8, 8], datatype: 'FP32', data: items(count).flat() }] }),
    ],
  ])('counts what %s is asked', async (_name, call) => {
    watch.milliseconds += 60_000;
    expect((await call(40).set('x-api-key', first)).status).toBe(200);
    const { status, headers, body } = await call(21).set('x-api-key', first);
    expect([status, headers['retry-after']]).toEqual([429, '1']);
    expect(body.detail ?? body.error).toContain('the limit of 60 items a minute of one caller is reached: 20 are left');
    expect((await call(40).set('x-api-key', second)).status).toBe(200);
    expect((await call(20).set('x-api-key', first)).status).toBe(200);
    const never = await call(61).set('x-api-key', first);
    expect([never.status, never.body.detail ?? never.body.error]).toEqual([
      413,
      expect.stringContaining('limit of 60'),
    ]);
    expect(running.service.admitted).toBe(0);
  });

  it('does not count what the queue has no room for, nor routes that run nothing', async () => {
    watch.milliseconds += 60_000;
    await running.service.admit(90, async () => expect((await encode(20)).status).toBe(503));
    for (let i = 0; i < 3; i++) {
      expect((await request(running.url).get('/models').set('x-api-key', first)).status).toBe(200);
    }
    expect((await encode(60)).status).toBe(200);
  });

  it('ends a stream with the problem, after the lines that it had room for', async () => {
    watch.milliseconds += 60_000;
    const stream = () =>
      request(running.url)
        .post('/encode')
        .set({ 'x-api-key': first, 'content-type': 'application/x-ndjson' })
        .buffer()
        .parse((response, done) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('end', () => done(null, Buffer.concat(chunks).toString()));
        })
        .send(`${JSON.stringify(item)}\n`.repeat(100));
    const { status, body } = await stream();
    expect(status).toBe(200);
    const lines = parseLines(body);
    expect(lines).toHaveLength(61);
    expect(lines.at(-1)).toMatchObject({ error: { status: 429, code: 'RATE_LIMITED' } });
    const again = await stream();
    expect([again.status, again.headers['retry-after']]).toEqual([429, '1']);
  });

  it('goes by the address where there are no keys', async () => {
    const open = await startService(store.directory, {
      workers: 1,
      app: { clock: watch, security: { itemRateLimit: limit, trustedProxies: ['127.0.0.0/8'] } },
    });
    try {
      const from = async (address: string) =>
        (
          await request(open.url)
            .post('/encode')
            .set('x-forwarded-for', address)
            .send({ inputs: items(60) })
        ).status;
      expect(await from('192.0.2.1')).toBe(200);
      expect(await from('192.0.2.1')).toBe(429);
      expect(await from('192.0.2.2')).toBe(200);
      expect(await from('2001:db8::1')).toBe(200);
      // An IPv6 network of one customer.
      expect(await from('2001:db8::2')).toBe(429);
      expect(await from('2001:db8:0:1::1')).toBe(200);
    } finally {
      await open.close();
    }
  });
});
