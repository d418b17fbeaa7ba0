import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeUint16, type Reference } from '@elbo/models';
import { makeApiKey, parseApiKey } from '@elbo/server/api-keys';
import sharp from 'sharp';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixtureModel, GREY_INPUT, writeFixture } from './support/fixture-models.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

const COUNT = 6;
const LATENTS = 2;

const reference: Reference = {
  count: COUNT,
  codes: { file: 'reference-codes.u8', minimum: [-1, -1], maximum: [1, 1] },
  map: { file: 'reference-map.u16' },
  principal_components: {
    mean: [0, 0],
    axes: [
      [1, 0],
      [0, 1],
    ],
    explained: [0.7, 0.3],
  },
  labels: { file: 'reference-labels.u16', names: ['a', 'b'] },
  items: { kind: 'sprites', file: 'reference-items.webp', columns: 3 },
};

let store: FixtureStore;
let running: RunningService;
/** Of the model with all files. */
let directory: string;

beforeAll(async () => {
  store = await fixtureStore();
  const model = fixtureModel({
    name: 'pictured',
    input: GREY_INPUT,
    latentSize: LATENTS,
    change: (draft) => ({ ...draft, reference }),
  });
  const picture = sharp({ create: { width: 24, height: 16, channels: 3, background: '#888' } });
  const files: [string, Uint8Array][] = [
    ['reference-codes.u8', Uint8Array.from({ length: COUNT * LATENTS }, (_, i) => 20 * i)],
    ['reference-map.u16', encodeUint16(new Uint16Array(2 * COUNT))],
    ['reference-labels.u16', encodeUint16(Uint16Array.of(0, 1, 0, 1, 0, 1))],
    ['reference-items.webp', await picture.webp({ lossless: true }).toBuffer()],
    ['preview.png', await picture.png().toBuffer()],
    ['training-curves.svg', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"><style>a{}</style></svg>')],
    ['notes.txt', Buffer.from('a file that nobody asked for')],
  ];
  for (const [file, content] of files) model.files.set(file, content);
  directory = await writeFixture(store.directory, model);
  running = await startService(store.directory);
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

const bytesOf = (path: string) =>
  request(running.url)
    .get(path)
    .buffer(true)
    .parse((response, done) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => done(null, Buffer.concat(chunks)));
    });

const TYPES = [
  ['manifest.json', 'application/json'],
  ['preview.png', 'image/png'],
  ['training-curves.svg', 'image/svg+xml'],
  ['calibration.f32', 'application/octet-stream'],
  ['reference-codes.u8', 'application/octet-stream'],
  ['reference-map.u16', 'application/octet-stream'],
  ['reference-labels.u16', 'application/octet-stream'],
  ['reference-items.webp', 'image/webp'],
] as const;

describe('GET /models/{name}', () => {
  it('tells of the reference data and of all files, with their hashes', async () => {
    const { body } = await request(running.url).get('/models/pictured');
    expect(body.reference).toEqual(reference);
    const names = body.files.map(({ name }: { name: string }) => name);
    expect(names).toEqual(expect.arrayContaining(['encoder.onnx', 'notes.txt', 'reference-codes.u8']));
    for (const { name, bytes, sha256 } of body.files) {
      const content = await readFile(join(directory, name));
      expect([bytes, sha256]).toEqual([content.length, createHash('sha256').update(content).digest('hex')]);
    }
    expect(body.training).toMatchObject({ configuration: { family: 'mlp-vae' }, seed: 1 });
  });

  it('has no reference where the version has none', async () => {
    const { body } = await request(running.url).get('/models/grey');
    expect(body).not.toHaveProperty('reference');
    expect(body.files).toHaveLength(4);
  });
});

describe('GET /models/{name}/files/{file}', () => {
  it.each(TYPES)('gives %s as it stands in the store, as %s', async (file, type) => {
    const { status, headers, body } = await bytesOf(`/models/pictured/files/${file}`).set(
      'accept-encoding',
      'identity',
    );
    const content = await readFile(join(directory, file));
    expect(status).toBe(200);
    expect(headers['content-type'].split(';')[0]).toBe(type);
    expect(headers['content-length']).toBe(String(content.length));
    expect(headers['x-content-type-options']).toBe('nosniff');
    expect(content.equals(body)).toBe(true);
  });

  it.each(TYPES)('gives %s once to a client that has it', async (file) => {
    const path = `/models/pictured/files/${file}`;
    const { headers } = await bytesOf(path);
    const sha256 = createHash('sha256')
      .update(await readFile(join(directory, file)))
      .digest('hex');
    expect(headers.etag).toBe(`W/"${sha256}"`);
    expect(headers['cache-control']).toBe('no-cache');
    const again = await bytesOf(path).set('if-none-match', String(headers.etag));
    expect(again.status).toBe(304);
    expect(again.body).toHaveLength(0);
    expect((await bytesOf(path).set('if-none-match', '"other"')).status).toBe(200);
  });

  it('tells a HEAD request what GET would give, without the bytes', async () => {
    const { headers } = await bytesOf('/models/pictured/files/preview.png');
    const head = await request(running.url).head('/models/pictured/files/preview.png');
    expect(head.status).toBe(200);
    for (const name of ['content-type', 'content-length', 'etag', 'cache-control']) {
      expect(head.headers[name], name).toBe(headers[name]);
    }
    expect(head.text).toBeUndefined();
  });

  it('lets a drawing have its styles, and no script', async () => {
    const { headers } = await bytesOf('/models/pictured/files/training-curves.svg');
    expect(headers['content-security-policy']).toBe(
      "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    );
    const { headers: ofOthers } = await bytesOf('/models/pictured/files/preview.png');
    expect(ofOthers['content-security-policy']).toBe("default-src 'none'; frame-ancestors 'none'");
  });

  it('gives those of the version that is asked for', async () => {
    const manifests = await Promise.all(
      ['', '?version=1', '?version=2'].map((query) =>
        request(running.url).get(`/models/grey/files/manifest.json${query}`),
      ),
    );
    expect(manifests.map(({ body }) => body.version)).toEqual(['2', '1', '2']);
    const absent = await request(running.url).get('/models/grey/files/manifest.json?version=7');
    expect([absent.status, absent.body.code]).toEqual([404, 'MODEL_NOT_FOUND']);
    const unknown = await request(running.url).get('/models/nope/files/manifest.json');
    expect([unknown.status, unknown.body.code]).toEqual([404, 'MODEL_NOT_FOUND']);
  });

  it.each([
    ['a graph', 'encoder.onnx'],
    ['a file that the version lists and nobody needs', 'notes.txt'],
    ['a file that is not there', 'nope.png'],
    ['a way out', '..%2F..%2F..%2Fetc%2Fpasswd'],
    ['a way out by backslashes', '..%5C..%5Cetc%5Cpasswd'],
    ['a way round', '.%2Fmanifest.json'],
    ['an encoded slash before', '%2Fetc%2Fpasswd'],
    ['a zero byte', 'manifest.json%00.png'],
    ['a name of every object', 'constructor'],
    ['another case', 'MANIFEST.JSON'],
    ['a name without an end', 'x'.repeat(10_000)],
  ])('gives no %s, and says what there is', async (_name, file) => {
    const { status, body, headers } = await request(running.url).get(`/models/pictured/files/${file}`);
    expect(status).toBe(404);
    expect(body.code).toBe('FILE_NOT_FOUND');
    expect(body.detail).toMatch(/^pictured\/1 gives no file "/);
    for (const [name] of TYPES) expect(body.detail).toContain(name);
    expect(body.detail).not.toContain('.onnx,');
    expect(body.detail.length).toBeLessThan(400);
    expect(headers.etag).toBeUndefined();
  });

  it.each(['/models/pictured/files/../manifest.json', '/models/pictured/files/', '/models/pictured/files/a/b'])(
    'has no route for %s',
    async (path) => {
      // Not by supertest, which takes dots out of a path.
      const { statusCode, body } = await running.app.inject({ url: path });
      expect(statusCode).toBe(404);
      expect(['ROUTE_NOT_FOUND', 'FILE_NOT_FOUND']).toContain(JSON.parse(body).code);
    },
  );

  it('gives only what a version has', async () => {
    const { status, body } = await request(running.url).get('/models/grey/files/reference-codes.u8');
    expect(status).toBe(404);
    expect(body.detail).toBe('grey/2 gives no file "reference-codes.u8"; it gives calibration.f32, manifest.json');
  });

  it('takes no other method and no other parameter', async () => {
    const path = '/models/pictured/files/preview.png';
    const post = await request(running.url).post(path);
    expect([post.status, post.headers.allow]).toEqual([405, 'GET, HEAD']);
    const query = await request(running.url).get(`${path}?path=/etc/passwd`);
    expect([query.status, query.body.code]).toEqual([400, 'INVALID_REQUEST']);
  });

  it('needs a key where the server has keys', async () => {
    const { key, entry } = makeApiKey('client');
    const parsed = parseApiKey(entry);
    if (parsed === undefined) throw new Error(entry);
    const closed = await startService(store.directory, {
      workers: 1,
      app: { security: { apiKeys: [parsed], adminKeys: [] } },
    });
    try {
      const path = '/models/pictured/files/preview.png';
      expect((await request(closed.url).get(path)).status).toBe(401);
      expect((await request(closed.url).get(path).set('x-api-key', key)).status).toBe(200);
    } finally {
      await closed.close();
    }
  });
});
