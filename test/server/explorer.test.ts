import { cp, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeApiKey, parseApiKey } from '@elbo/server/api-keys';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

let store: FixtureStore;
let running: RunningService;
let assets: string[];

beforeAll(async () => {
  store = await fixtureStore();
  const known = parseApiKey(makeApiKey('somebody').entry);
  running = await startService(store.directory, { app: { security: { apiKeys: known === undefined ? [] : [known] } } });
  const { text } = await request(running.url).get('/');
  assets = [...text.matchAll(/(?:src|href)="\.(\/assets\/[^"]+)"/g)].map(([, path = '']) => path);
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

describe('the page at /', () => {
  it('comes without a key, with a policy that allows what it holds, and is asked for again', async () => {
    const { status, headers, text } = await request(running.url).get('/');
    expect(status).toBe(200);
    expect(headers['content-type']).toBe('text/html; charset=utf-8');
    expect(headers['cache-control']).toBe('no-cache');
    expect(headers['content-security-policy']).toMatch(/script-src 'self'/);
    expect(headers['content-security-policy']).not.toMatch(/unsafe/);
    expect(headers['x-content-type-options']).toBe('nosniff');
    expect(text).toContain('<div id="explorer">');
    expect(assets.length).toBeGreaterThanOrEqual(2);
    expect((await request(running.url).get('/models')).status).toBe(401);
  });

  it('has files that are kept for good, as their names change with them', async () => {
    for (const path of assets) {
      const { status, headers } = await request(running.url).get(path);
      expect(status).toBe(200);
      expect(headers['cache-control']).toBe('public, max-age=31536000, immutable');
      expect(headers['content-type']).toMatch(
        path.endsWith('.js') ? /^(?:text|application)\/javascript/ : /^text\/css/,
      );
    }
  });

  it.each(['br', 'gzip'])('sends them compressed as %s', async (coding) => {
    const [path = ''] = assets.filter((name) => name.endsWith('.js'));
    const plain = await request(running.url).get(path).set('accept-encoding', 'identity');
    const { headers } = await request(running.url).get(path).set('accept-encoding', coding);
    expect(headers['content-encoding']).toBe(coding);
    expect(headers.vary).toMatch(/accept-encoding/i);
    expect(Number(headers['content-length'])).toBeLessThan(Number(plain.headers['content-length']) / 2);
  });

  it('answers HEAD, and 304 to whoever has it', async () => {
    const { headers } = await request(running.url).get('/').set('accept-encoding', 'identity');
    const head = await request(running.url).head('/').set('accept-encoding', 'identity');
    expect([head.status, head.headers['content-length']]).toEqual([200, headers['content-length']]);
    const again = await request(running.url)
      .get('/')
      .set('accept-encoding', 'identity')
      .set('if-none-match', String(headers.etag));
    expect(again.status).toBe(304);
    expect(again.text).toBe('');
  });

  it('is another one to a browser where only its content changed, as all files of a package have one time', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'elbo-page-'));
    const etagOf = async (content: string) => {
      await writeFile(join(directory, 'index.html'), content);
      await utimes(join(directory, 'index.html'), 499162500, 499162500);
      const { url, close } = await startService(store.directory, { app: { explorer: directory } });
      const { headers } = await request(url).get('/');
      await close();
      expect(headers['last-modified']).toBeUndefined();
      return headers.etag;
    };
    const first = await etagOf('<p>index-AAAA.js');
    expect(first).toMatch(/^W\/"/);
    expect(await etagOf('<p>index-BBBB.js')).not.toBe(first);
    expect(await etagOf('<p>index-AAAA.js')).toBe(first);
    await rm(directory, { recursive: true });
  });

  it.each([
    '/assets/absent.js',
    '/assets/',
    '/index.html.gz',
    '/..%2f..%2fpackage.json',
    '/assets/%2e%2e/%2e%2e/package.json',
  ])('has no %s', async (path) => {
    const { status, headers } = await request(running.url).get(path);
    // Unknown routes do not show without a key.
    expect([401, 404]).toContain(status);
    expect(headers['content-type']).toBe('application/problem+json; charset=utf-8');
  });
});

describe('a server whose explorer', () => {
  it('is not built serves everything else, and says so', async () => {
    const bare = await startService(store.directory, { app: { explorer: join(store.directory, 'absent') } });
    const { status, text, headers } = await request(bare.url).get('/');
    expect([status, headers['content-type']]).toEqual([200, 'text/plain; charset=utf-8']);
    expect(text).toBe(
      'The explorer is not built: run npm run build. The service works without it; /docs lists its routes.\n',
    );
    expect((await request(bare.url).get('/models')).status).toBe(200);
    expect((await request(bare.url).get('/assets/absent.js')).body).toMatchObject({ code: 'ROUTE_NOT_FOUND' });
    await bare.close();
  });

  it('lies elsewhere serves that', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'elbo-page-'));
    await cp(new URL('../../server/assets/explorer/', import.meta.url), directory, { recursive: true });
    const other = await startService(store.directory, { app: { explorer: directory } });
    expect((await request(other.url).get('/')).text).toContain('<div id="explorer">');
    await other.close();
    await rm(directory, { recursive: true });
  });
});
