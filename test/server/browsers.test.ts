import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

let store: FixtureStore;
let running: RunningService;
let shared: RunningService;
beforeAll(async () => {
  store = await fixtureStore();
  running = await startService(store.directory, { workers: 1 });
  shared = await startService(store.directory, {
    workers: 1,
    app: { security: { corsOrigins: ['https://example.org', 'http://localhost:5173'] } },
  });
});
afterAll(async () => {
  await running.close();
  await shared.close();
  await store.remove();
});

describe('answers in a browser', () => {
  it('are no page and nothing to guess a type of', async () => {
    for (const path of ['/models', '/nowhere', '/health/live']) {
      const { headers } = await request(running.url).get(path);
      expect(headers['content-security-policy']).toBe("default-src 'none'; frame-ancestors 'none'");
      expect(headers['x-content-type-options']).toBe('nosniff');
    }
  });

  it('are a page at /docs, which may run its own scripts', async () => {
    const { headers, text } = await request(running.url).get('/docs');
    const policy = headers['content-security-policy'] ?? '';
    expect(policy).toContain("script-src 'self'");
    expect(policy).not.toContain('upgrade-insecure-requests');
    expect(headers['x-frame-options']).toBe('SAMEORIGIN');
    const scripts = [...text.matchAll(/(?:src|href)="([^"]+\.(?:js|css))"/g)].map(([, path]) => path ?? '');
    expect(scripts.length).toBeGreaterThan(2);
    for (const path of scripts) {
      const { status } = await request(running.url).get(new URL(path, `${running.url}/docs/`).pathname);
      expect(status, path).toBe(200);
    }
  });
});

describe('pages of other origins', () => {
  it('may call only where they are named', async () => {
    const call = (url: string, origin: string) => request(url).get('/models').set('origin', origin);
    const named = await call(shared.url, 'https://example.org');
    expect(named.headers['access-control-allow-origin']).toBe('https://example.org');
    expect(named.headers['access-control-expose-headers']).toContain('elbo-shape');
    const other = await call(shared.url, 'https://evil.example');
    expect(other.headers['access-control-allow-origin']).not.toBe('https://evil.example');
    const none = await call(running.url, 'https://example.org');
    expect(none.headers['access-control-allow-origin']).toBeUndefined();
  });

  it('get an answer before they call with a key', async () => {
    const { status, headers } = await request(shared.url)
      .options('/encode')
      .set('origin', 'http://localhost:5173')
      .set('access-control-request-method', 'POST')
      .set('access-control-request-headers', 'content-type,x-api-key');
    expect(status).toBe(204);
    expect(headers['access-control-allow-methods']).toContain('POST');
    expect(headers['access-control-allow-headers']).toContain('x-api-key');
  });
});
