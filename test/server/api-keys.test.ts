import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { KeyRing, makeApiKey, parseApiKey } from '@elbo/server/api-keys';
import type { FastifyInstance } from 'fastify';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

const keyOf = (name: string) => {
  const { key, entry } = makeApiKey(name);
  const parsed = parseApiKey(entry);
  if (parsed === undefined) throw new Error(entry);
  return { key, parsed };
};
const [old, next, admin] = [keyOf('client'), keyOf('client-2'), keyOf('operator')];
const withAdminRoute = (app: FastifyInstance) => {
  app.post('/test/change', { config: { admin: true } }, async () => ({ done: true }));
};

let store: FixtureStore;
beforeAll(async () => {
  store = await fixtureStore();
});
afterAll(() => store.remove());

describe('a server with keys', () => {
  let running: RunningService;
  beforeAll(async () => {
    running = await startService(store.directory, {
      workers: 1,
      app: { security: { apiKeys: [old.parsed, next.parsed], adminKeys: [admin.parsed] } },
      prepare: withAdminRoute,
    });
  });
  afterAll(() => running.close());

  it.each([
    ['a bearer', 'authorization', `Bearer ${old.key}`],
    ['a bearer in lower case', 'authorization', `bearer ${next.key}`],
    ['a header of its own', 'x-api-key', next.key],
    ['the key of an admin', 'x-api-key', admin.key],
  ])('takes %s', async (_name, header, value) => {
    const response = await request(running.url).post('/sample?count=1').set(header, value);
    expect(response.status).toBe(200);
  });

  it.each([
    ['no key', undefined, 'the request has no key'],
    ['another key', `Bearer ${keyOf('other').key}`, 'the key is not known'],
    ['the hash in place of the key', `Bearer ${old.parsed.hash}`, 'the key is not known'],
    ['another scheme', `Basic ${old.key}`, 'the request has no key'],
  ])('refuses %s', async (_name, authorization, detail) => {
    const call = request(running.url).post('/sample');
    const { status, headers, body } = await (authorization === undefined
      ? call
      : call.set('authorization', authorization));
    expect(status).toBe(401);
    expect(headers['www-authenticate']).toMatch(/^Bearer/);
    expect(headers['content-type']).toMatch(/^application\/problem\+json/);
    expect(body).toMatchObject({ code: 'UNAUTHORIZED', detail: expect.stringContaining(detail) });
    expect(JSON.stringify(body)).not.toContain(old.key);
  });

  it('answers health checks without one, and nothing else', async () => {
    for (const path of ['/health/live', '/health/ready']) {
      expect((await request(running.url).get(path)).status).toBe(200);
    }
    for (const path of ['/metrics', '/docs', '/docs/json', '/openapi.json', '/models', '/nowhere']) {
      expect((await request(running.url).get(path)).status, path).toBe(401);
    }
    const health = await request(running.url).get('/health/../metrics');
    expect(health.status).not.toBe(200);
  });

  it('takes admin keys alone for routes that change what is served', async () => {
    const call = () => request(running.url).post('/test/change');
    expect((await call().set('x-api-key', admin.key)).body).toEqual({ done: true });
    const refused = await call().set('x-api-key', old.key);
    expect(refused.status).toBe(403);
    expect(refused.body).toMatchObject({ code: 'FORBIDDEN' });
    expect((await call()).status).toBe(401);
  });
});

describe('routes that are opened', () => {
  it('need no key', async () => {
    const running = await startService(store.directory, {
      workers: 1,
      app: { security: { apiKeys: [old.parsed], openRoutes: ['metrics', 'docs'] } },
    });
    for (const path of ['/metrics', '/docs', '/openapi.json']) {
      expect((await request(running.url).get(path)).status, path).toBe(200);
    }
    expect((await request(running.url).get('/models')).status).toBe(401);
    await running.close();
  });
});

describe('admin routes without admin keys', () => {
  it.each([
    ['and without others', []],
    ['but with others', [old.parsed]],
  ])('are not there, %s', async (_name, apiKeys) => {
    const running = await startService(store.directory, {
      workers: 1,
      app: { security: { apiKeys } },
      prepare: withAdminRoute,
    });
    for (const method of ['post', 'get'] as const) {
      const { status, body, headers } = await request(running.url)[method]('/test/change').set('x-api-key', old.key);
      expect(status).toBe(404);
      expect(headers.allow).toBeUndefined();
      expect(body).toMatchObject({ code: 'ROUTE_NOT_FOUND', detail: expect.stringContaining('/test/change') });
    }
    await running.close();
  });

  it('are the only ones closed where there are admin keys alone', async () => {
    const running = await startService(store.directory, {
      workers: 1,
      app: { security: { adminKeys: [admin.parsed] } },
      prepare: withAdminRoute,
    });
    expect((await request(running.url).post('/sample?count=1')).status).toBe(200);
    expect((await request(running.url).post('/test/change')).status).toBe(401);
    await running.close();
  });
});

describe('make-key', () => {
  const MAKE_KEY = fileURLToPath(new URL('../../server/dist/make-key.js', import.meta.url));

  it('prints a key and what the server keeps of it', () => {
    const output = execFileSync(process.execPath, [MAKE_KEY, 'batch-jobs'], { stdio: ['ignore', 'pipe', 'ignore'] });
    const [key = '', entry = ''] = output.toString().split('\n');
    expect(entry).toBe(`batch-jobs:${createHash('sha256').update(key).digest('hex')}`);
    expect(key).toMatch(/^elbo_[\w-]{43}$/);
    const parsed = parseApiKey(entry);
    expect(parsed && new KeyRing([parsed]).ownerOf(key)).toBe('batch-jobs');
  });

  it('refuses a name that would not be read back', () => {
    expect(() => execFileSync(process.execPath, [MAKE_KEY, 'a:b'], { stdio: 'pipe' })).toThrow(/usage: make-key NAME/);
  });
});
