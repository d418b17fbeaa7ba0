import { once } from 'node:events';
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import request from 'supertest';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { expectedMean } from './support/fixture-models.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

let store: FixtureStore;
let running: RunningService;
const item = Array(64).fill(0.25);

beforeAll(async () => {
  store = await fixtureStore();
});
beforeEach(async () => {
  running = await startService(store.directory, { maxQueue: 8 });
});
afterEach(() => running.close());
afterAll(() => store.remove());

const encode = (items = 1) =>
  request(running.url)
    .post('/encode')
    .send({ inputs: Array(items).fill(item) });

describe('overload', () => {
  it('is answered at once with 503 and when to come back, and health goes on', async () => {
    let finish: () => void = () => {};
    const busy = running.service.admit(6, () => new Promise<void>((resolve) => (finish = resolve)));
    const refused = await encode(3);
    expect(refused.status).toBe(503);
    expect(refused.headers['retry-after']).toBe('1');
    expect(refused.body).toMatchObject({ code: 'OVERLOADED', detail: '6 items are waiting already, of 8 at most' });
    expect((await encode(2)).status).toBe(200);
    expect((await request(running.url).get('/health/ready')).status).toBe(200);
    finish();
    await busy;
    expect((await encode(8)).status).toBe(200);
  });

  it('is answered before the body is read, where there is no room for a single item', async () => {
    let finish: () => void = () => {};
    const busy = running.service.admit(8, () => new Promise<void>((resolve) => (finish = resolve)));
    for (const path of ['/encode', '/decode', '/reconstruct', '/sample', '/interpolate', '/anomaly-score']) {
      // Not a byte of the body is sent.
      const headers = { 'content-type': 'application/json', 'content-length': '1000' };
      const client = httpRequest(`${running.url}${path}`, { method: 'POST', headers });
      client.on('error', () => {});
      client.flushHeaders();
      const [answer] = (await once(client, 'response')) as [IncomingMessage];
      expect([path, answer.statusCode, answer.headers['retry-after']]).toEqual([path, 503, '1']);
      client.destroy();
    }
    finish();
    await busy;
    expect((await encode(8)).status).toBe(200);
  });

  it('never comes from a request that fails or whose items are bad', async () => {
    for (let i = 0; i < 20; i++) {
      expect(
        (
          await request(running.url)
            .post('/encode')
            .send({ inputs: Array(8).fill([1]) })
        ).status,
      ).toBe(422);
    }
    expect((await encode(8)).status).toBe(200);
  });

  it('of 100 requests at once, each is answered rightly or refused with 503', async () => {
    const answers = await Promise.all(Array.from({ length: 100 }, () => encode(2)));
    const expected = expectedMean(store.grey, item);
    for (const { status, body } of answers) {
      expect([200, 503]).toContain(status);
      if (status === 200) expect(body.mean[1][0]).toBeCloseTo(expected[0] ?? 0, 5);
      else expect(body.code).toBe('OVERLOADED');
    }
    expect((await encode(8)).status).toBe(200);
  });
});

describe('a client that goes away', () => {
  it('leaves nothing behind', async () => {
    let aborted = false;
    const submitted = new Promise<ClientRequest>((resolve) => {
      vi.spyOn(running.service, 'encode').mockImplementationOnce((_model, _items, options) => {
        resolve(client);
        return new Promise((_resolve, reject) => {
          options?.cancellation?.add({
            cancel: () => {
              aborted = true;
              reject(new Error('gone'));
            },
          });
        });
      });
    });
    const client = httpRequest(`${running.url}/encode`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
    });
    client.on('error', () => {});
    client.end(JSON.stringify({ inputs: Array(8).fill(item) }));
    (await submitted).destroy();
    await vi.waitFor(() => expect(aborted).toBe(true));
    await vi.waitFor(async () => expect((await encode(8)).status).toBe(200));
  });
});

describe('a worker that dies', () => {
  /** A message that no worker expects ends its thread with an uncaught error. */
  const kill = () => {
    for (const worker of running.workers.slice(0, 2)) worker.postMessage(null);
  };
  const replaced = () =>
    vi.waitFor(async () => {
      const { body } = await request(running.url).get('/health/ready');
      expect(body.workers).toEqual({ alive: 2, configured: 2 });
      expect(running.workers).toHaveLength(4);
    }, 20_000);

  it('fails what it had with 503, keeps what waits, and is replaced', async () => {
    const { service } = running;
    const model = service.registry.get('grey');
    // Just before the work is handed out, so that nobody knows of it by then.
    setImmediate(kill);
    // Each of another graph, so that none shares a batch: the first two go to the two workers, the third waits.
    const outcomes = await Promise.allSettled([
      service.decode(model, new Float32Array(model.latentSize)),
      service.score(model, new Float32Array(64), {}),
      service.encode(model, new Float32Array(64)),
    ]);
    expect(outcomes).toMatchObject([
      { status: 'rejected', reason: { code: 'WORKER_LOST' } },
      { status: 'rejected', reason: { code: 'WORKER_LOST' } },
      { status: 'fulfilled', value: { mean: expect.any(Float32Array) } },
    ]);
    await replaced();
    expect((await encode(8)).status).toBe(200);
    expect(running.log.filter((line) => line.startsWith('inference worker lost'))).toHaveLength(2);
  });

  it('is answered for over HTTP with 503 and when to come back', async () => {
    const answers = Promise.all(Array.from({ length: 6 }, () => encode()));
    kill();
    for (const { status, body, headers } of await answers) {
      expect([200, 503]).toContain(status);
      if (status === 503) {
        expect(body.code).toBe('WORKER_LOST');
        expect(headers['retry-after']).toBe('1');
      }
    }
    await replaced();
  });
});
