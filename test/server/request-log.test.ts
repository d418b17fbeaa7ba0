import { request as httpRequest } from 'node:http';
import { Writable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { makeApiKey, parseApiKey } from '@elbo/server/api-keys';
import type { RequestLogging } from '@elbo/server/configuration';
import { pino } from 'pino';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

let store: FixtureStore;
beforeAll(async () => {
  store = await fixtureStore();
});
afterAll(() => store.remove());

const { key, entry } = makeApiKey('jobs');
const parsed = parseApiKey(entry);

async function logged(
  logRequests: RequestLogging,
  level: string,
  calls: (running: RunningService) => Promise<unknown>,
): Promise<{ text: string; lines: Record<string, unknown>[] }> {
  const chunks: string[] = [];
  const stream = new Writable({
    write(chunk, _encoding, done) {
      chunks.push(String(chunk));
      done();
    },
  });
  const running = await startService(store.directory, {
    workers: 1,
    app: {
      logger: pino({ level, base: null }, stream),
      logRequests,
      security: { apiKeys: parsed === undefined ? [] : [parsed] },
    },
    prepare: (app) => {
      app.get('/broken', async () => {
        throw new Error('broken on purpose');
      });
    },
  });
  onTestFinished(() => running.close());
  await calls(running);
  const text = chunks.join('');
  const lines = text.split('\n').filter(Boolean);
  return { text, lines: lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'request') };
}

it.each(['identity', 'gzip'])('says of no stream (%s) that its client gives up that it failed', async (coding) => {
  const { text } = await logged('none', 'error', async ({ url, service }) => {
    for (const sent of ['', '[0, 0']) {
      const headers = { 'content-type': 'application/x-ndjson', 'content-encoding': coding, 'x-api-key': key };
      const call = httpRequest(`${url}/encode`, { method: 'POST', headers }).on('error', () => {});
      call.flushHeaders();
      if (sent !== '') call.write(coding === 'gzip' ? gzipSync(sent).subarray(0, 12) : sent);
      await vi.waitFor(() => expect(service.admitted).toBeGreaterThan(0));
      call.destroy();
      await vi.waitFor(() => expect(service.admitted).toBe(0));
      await nextTurn();
    }
  });
  expect(text).toBe('');
});

describe('a line for each request', () => {
  it('names route, model and caller, and shows neither inputs nor keys', async () => {
    const { text, lines } = await logged('all', 'trace', async ({ url }) => {
      const values = '0.125,0.375,0.625,0.875,1.125';
      await request(url).get(`/anomaly-score?model=table&values=${values}`).set('x-api-key', key);
      await request(url).get('/anomaly-score?model=table&values=0.125').set('authorization', `Bearer ${key}`);
      await request(url).post(`/encode?key=${key}`).set('x-api-key', `${key}x`).send({ inputs: [] });
      await request(url).get(`/nowhere/${key}?input=0.125`).set('x-api-key', key);
    });
    expect(lines).toHaveLength(4);
    expect(lines[0]).toEqual({
      level: 30,
      time: expect.any(Number),
      request_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      method: 'GET',
      route: '/anomaly-score',
      status: 200,
      duration_ms: expect.any(Number),
      model: 'table/1',
      items: 1,
      caller: 'jobs',
      msg: 'request',
    });
    expect(lines.map(({ status }) => status)).toEqual([200, 422, 401, 404]);
    expect(lines[3]).toMatchObject({ route: 'none' });
    expect(text).not.toContain(key);
    expect(text).not.toContain('0.125');
  });

  it('is written where the server failed, unless told otherwise', async () => {
    const calls = async ({ url }: RunningService) => {
      await request(url).get('/broken').set('x-api-key', key);
      await request(url).get('/models').set('x-api-key', key);
    };
    const statuses = async (lines: RequestLogging, level: string) =>
      (await logged(lines, level, calls)).lines.map(({ status, level }) => [status, level]);
    expect(await statuses('failed', 'info')).toEqual([[500, 30]]);
    expect(await statuses('failed', 'debug')).toEqual([
      [500, 30],
      [200, 20],
    ]);
    expect(await statuses('none', 'trace')).toEqual([]);
  });
});

describe('the id of a request', () => {
  it('is the one that it came with where that can be logged, in the log and the answer', async () => {
    const ids: (string | undefined)[] = [];
    const { lines } = await logged('all', 'info', async ({ url }) => {
      for (const id of ['job-17:3', 'two words', 'x'.repeat(129), '"}{"']) {
        const { headers } = await request(url).get('/models').set('x-request-id', id);
        ids.push(headers['x-request-id']);
      }
    });
    expect(lines.map(({ request_id }) => request_id)).toEqual(ids);
    expect(ids[0]).toBe('job-17:3');
    for (const id of ids.slice(1)) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f-]{27}$/);
  });
});
