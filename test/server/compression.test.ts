import { get as httpGet, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

let store: FixtureStore;
let running: RunningService;

beforeAll(async () => {
  store = await fixtureStore();
  running = await startService(store.directory, { maxQueue: 1024 });
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

/** Without a client that decompresses by itself. */
function call(
  method: 'GET' | 'POST',
  path: string,
  headers: Record<string, string>,
): Promise<{ headers: IncomingHttpHeaders; body: Buffer; status: number | undefined }> {
  return new Promise((resolve, reject) => {
    const open = method === 'GET' ? httpGet : httpRequest;
    open(`${running.url}${path}`, { method, headers }, async (response) =>
      resolve({ headers: response.headers, body: await buffer(response), status: response.statusCode }),
    )
      .once('error', reject)
      .end();
  });
}
const UNPACK = { br: brotliDecompressSync, gzip: gunzipSync } as const;

describe('a long answer of text', () => {
  it.each<[string, 'GET' | 'POST', string, string]>([
    ['JSON in one piece', 'POST', '/sample?count=20&seed=3', 'application/json'],
    ['JSON as a stream', 'POST', '/sample?count=600&seed=3', 'application/json'],
    ['lines', 'POST', '/sample?count=600&seed=3', 'application/x-ndjson'],
    ['the OpenAPI document', 'GET', '/openapi.json', '*/*'],
  ])('is compressed where the client accepts it: %s', async (_name, method, path, accept) => {
    const plain = await call(method, path, { accept });
    expect(plain.headers['content-encoding']).toBeUndefined();
    for (const encoding of ['br', 'gzip'] as const) {
      const packed = await call(method, path, { accept, 'accept-encoding': encoding });
      expect(packed.headers['content-encoding']).toBe(encoding);
      expect(packed.headers.vary).toContain('accept-encoding');
      expect(packed.body.length).toBeLessThan(plain.body.length * 0.6);
      expect(UNPACK[encoding](packed.body).equals(plain.body)).toBe(true);
    }
  });

  it.each([
    ['gzip;q=1, br;q=0.5', 'gzip'],
    ['br, gzip', 'br'],
    ['gzip, deflate', 'gzip'],
    ['*', 'gzip'],
    ['identity', undefined],
    ['gzip;q=0', undefined],
    ['zstd', undefined],
  ])('honours accept-encoding: %s', async (accepted, encoding) => {
    const { headers, status } = await call('GET', '/openapi.json', { 'accept-encoding': accepted });
    expect(status).toBe(200);
    expect(headers['content-encoding']).toBe(encoding);
  });

  it('keeps its ETag', async () => {
    const plain = await call('GET', '/openapi.json', {});
    const { headers } = await call('GET', '/openapi.json', { 'accept-encoding': 'br' });
    expect(headers.etag).toBe(plain.headers.etag);
    const again = await call('GET', '/openapi.json', {
      'accept-encoding': 'br',
      'if-none-match': String(headers.etag),
    });
    expect([again.status, again.body.length, again.headers['content-encoding']]).toEqual([304, 0, undefined]);
  });
});

describe('what does not pay', () => {
  it.each([
    ['an answer of a few packets', '/sample?count=1&model=table', 'application/json'],
    ['a picture', '/sample?count=400', 'image/png'],
    ['float32', '/sample?count=400', 'application/octet-stream'],
    ['a NumPy array', '/sample?count=400', 'application/x-npy'],
  ])('is not compressed: %s', async (_name, path, accept) => {
    const { headers, status } = await call('POST', path, { accept, 'accept-encoding': 'br, gzip' });
    expect(status).toBe(200);
    expect(headers['content-encoding']).toBeUndefined();
  });
});
