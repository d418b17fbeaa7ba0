import { readFile } from 'node:fs/promises';
import { openApiDocument } from '@elbo/server/openapi-document';
import { validate } from '@readme/openapi-parser';
import { Ajv2020 } from 'ajv/dist/2020.js';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixtureModel, VECTOR_INPUT, writeFixture } from './support/fixture-models.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

interface Operation {
  readonly parameters?: { readonly name: string; readonly in: string }[];
  readonly requestBody?: {
    readonly required: boolean;
    readonly description?: string;
    readonly content: Record<string, unknown>;
  };
  readonly responses: Record<
    string,
    {
      readonly headers?: Record<string, { readonly description?: string; readonly schema: object }>;
      readonly content: Record<string, { readonly schema: object }>;
    }
  >;
}
interface Document {
  readonly openapi: string;
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { readonly schemas: Record<string, object> };
}

let text: string;
let document: Document;
let store: FixtureStore;
let running: RunningService;

beforeAll(async () => {
  text = await openApiDocument();
  document = JSON.parse(text);
  store = await fixtureStore();
  const condition = { classes: 3, frequencies: [0.5, 0.25, 0.25], names: ['a', 'b', 'c'] };
  await writeFixture(store.directory, fixtureModel({ name: 'conditional', input: VECTOR_INPUT, condition }));
  running = await startService(store.directory);
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

it('describes every property that an answer must have', () => {
  const missing: string[] = [];
  const look = (schema: unknown, at: string): void => {
    if (typeof schema !== 'object' || schema === null) return;
    const { required, properties } = schema as { required?: unknown; properties?: object };
    if (Array.isArray(required) && properties !== undefined) {
      missing.push(...required.filter((name) => !(name in properties)).map((name) => `${at}/${name}`));
    }
    for (const [key, inner] of Object.entries(schema)) look(inner, `${at}/${key}`);
  };
  look(document, '');
  expect(missing).toEqual([]);
});

describe('openapi/openapi.json', () => {
  it('is what the routes say; npm run openapi --workspace server writes it anew', async () => {
    expect(await readFile(new URL('../../openapi/openapi.json', import.meta.url), 'utf8')).toBe(text);
    expect((await request(running.url).get('/openapi.json')).body).toEqual(document);
  });

  it('is valid OpenAPI 3.1', async () => {
    expect(document.openapi).toBe('3.1.0');
    const result = await validate(JSON.parse(text));
    expect(result).toMatchObject({ valid: true, warnings: [] });
  });

  it('has every route', () => {
    expect(
      Object.entries(document.paths).flatMap(([path, methods]) => Object.keys(methods).map((m) => `${m} ${path}`)),
    ).toEqual(
      expect.arrayContaining([
        'post /encode',
        'post /decode',
        'post /sample',
        'post /reconstruct',
        'post /interpolate',
        'get /anomaly-score',
        'post /anomaly-score',
        'get /models',
        'get /models/{name}',
        'get /health/live',
        'get /health/ready',
        'get /v2',
        'get /v2/models/{name}',
        'get /v2/models/{name}/config',
        'get /v2/models/{name}/versions/{version}/config',
        'post /v2/models/{name}/infer',
        'post /v2/models/{name}/versions/{version}/infer',
        'get /v2/models/stats',
        'post /v2/repository/index',
        'post /v2/repository/models/{name}/load',
      ]),
    );
    expect(document.paths['/sample']?.post?.requestBody?.required).toBe(false);
    expect(document.paths['/encode']?.post?.requestBody?.required).toBe(true);
    expect(document.paths['/v2/repository/models/{name}/load']?.post?.requestBody?.required).toBe(false);
  });

  it('describes headers by their schemas, and an answer without content by none', () => {
    const responses = Object.values(document.paths)
      .flatMap((methods) => Object.values(methods))
      .flatMap((operation) => Object.entries(operation.responses));
    const headers = responses.flatMap(([, response]) => Object.values(response.headers ?? {}));
    expect(headers.length).toBeGreaterThan(20);
    for (const { description, schema } of headers)
      expect([typeof description, schema]).toEqual(['string', { type: 'string' }]);
    const notModified = responses.filter(([status]) => status === '304');
    expect(notModified).toHaveLength(4);
    for (const [, response] of notModified) expect(response).not.toHaveProperty('content');
  });

  it('says of every body which content codings it may have', () => {
    const operations = Object.values(document.paths).flatMap((methods) => Object.values(methods));
    const withBody = operations.filter(({ requestBody }) => requestBody !== undefined);
    expect(withBody.length).toBeGreaterThan(8);
    for (const { requestBody, responses } of withBody) {
      expect(requestBody?.description).toContain('`gzip`, `deflate`, `br`');
      expect(responses['415']?.headers).toHaveProperty('accept-encoding');
    }
  });

  it('describes what the server answers', async () => {
    const ajv = new Ajv2020({ strict: false });
    ajv.addSchema(document, 'document');
    const item = Array(64).fill(0.5);
    const calls: [string, string, request.Test][] = [
      [
        '/encode',
        'post',
        request(running.url)
          .post('/encode?sample=true')
          .send({ inputs: [item] }),
      ],
      [
        '/encode',
        'post',
        request(running.url)
          .post('/encode')
          .send({ inputs: [[1]] }),
      ],
      ['/encode', 'post', request(running.url).post('/encode').set('content-type', 'text/plain').send('x')],
      [
        '/encode',
        'post',
        request(running.url)
          .post('/encode?model=nope')
          .send({ inputs: [item] }),
      ],
      [
        '/encode',
        'post',
        request(running.url)
          .post('/encode')
          .send({ inputs: Array(300).fill(item) }),
      ],
      [
        '/decode',
        'post',
        request(running.url)
          .post('/decode')
          .send({ latents: [[0, 0, 0, 0]] }),
      ],
      [
        '/interpolate',
        'post',
        request(running.url)
          .post('/interpolate')
          .send({ inputs: [item, item] }),
      ],
      [
        '/interpolate',
        'post',
        request(running.url)
          .post('/interpolate?steps=1')
          .send({ inputs: [item, item] }),
      ],
      [
        '/interpolate',
        'post',
        request(running.url)
          .post('/interpolate?model=conditional&label=a')
          .send({
            latents: [
              [0, 0, 0, 0],
              [1, 1, 1, 1],
            ],
            path: 'spherical',
          }),
      ],
      ['/encode', 'post', request(running.url).post('/encode').set('content-type', 'application/x-ndjson').send('[1]')],
      ['/encode', 'post', request(running.url).post('/encode').attach('file', Buffer.from('?'), 'x')],
      ['/sample', 'post', request(running.url).post('/sample')],
      ['/sample', 'post', request(running.url).post('/sample?count=0')],
      ['/sample', 'post', request(running.url).post('/sample').set('accept', 'text/html')],
      [
        '/reconstruct',
        'post',
        request(running.url)
          .post('/reconstruct')
          .send({ inputs: [item] }),
      ],
      [
        '/anomaly-score',
        'post',
        request(running.url)
          .post('/anomaly-score')
          .send({ inputs: [item] }),
      ],
      [
        '/anomaly-score',
        'post',
        request(running.url)
          .post('/anomaly-score?fpr=0')
          .send({ inputs: [item] }),
      ],
      ['/anomaly-score', 'get', request(running.url).get('/anomaly-score?model=table&values=1,2,3,4,5')],
      ['/anomaly-score', 'get', request(running.url).get('/anomaly-score')],
      ...['/encode', '/reconstruct', '/anomaly-score'].map((path): [string, string, request.Test] => [
        path,
        'post',
        request(running.url)
          .post(`${path}?model=conditional&label=b`)
          .send({ inputs: [[1, 2, 3, 4, 5]] }),
      ]),
      [
        '/decode',
        'post',
        request(running.url)
          .post('/decode?model=conditional')
          .send({ latents: [[0, 0, 0, 0]], labels: ['c'] }),
      ],
      ['/sample', 'post', request(running.url).post('/sample?model=conditional')],
      ['/models/{name}', 'get', request(running.url).get('/models/conditional')],
      ['/models', 'get', request(running.url).get('/models')],
      ['/models/{name}', 'get', request(running.url).get('/models/table')],
      ['/models/{name}', 'get', request(running.url).get('/models/nope')],
      ['/health/live', 'get', request(running.url).get('/health/live')],
      ['/health/ready', 'get', request(running.url).get('/health/ready')],
      ['/v2', 'get', request(running.url).get('/v2')],
      ['/v2/health/live', 'get', request(running.url).get('/v2/health/live')],
      ['/v2/health/ready', 'get', request(running.url).get('/v2/health/ready')],
      ['/v2/models/{name}', 'get', request(running.url).get('/v2/models/conditional:encoder')],
      ['/v2/models/{name}', 'get', request(running.url).get('/v2/models/nope')],
      ['/v2/models/{name}/ready', 'get', request(running.url).get('/v2/models/table/ready')],
      ['/v2/models/stats', 'get', request(running.url).get('/v2/models/stats')],
      ['/v2/repository/index', 'post', request(running.url).post('/v2/repository/index')],
      ...[{ datatype: 'FP32' }, { datatype: 'BYTES' }].map((change): [string, string, request.Test] => [
        '/v2/models/{name}/infer',
        'post',
        request(running.url)
          .post('/v2/models/table:encoder/infer')
          .send({ inputs: [{ name: 'x', shape: [1, 5], data: [1, 2, 3, 4, 5], ...change }] }),
      ]),
    ];
    for (const [path, method, call] of calls) {
      const { status, headers, body } = await call;
      const content = document.paths[path]?.[method]?.responses[status]?.content;
      const [type = ''] = (headers['content-type'] ?? '').split(';');
      expect(Object.keys(content ?? {}), `${method} ${path} ${status}`).toContain(type);
      const pointer = ['paths', path, method, 'responses', status, 'content', type, 'schema']
        .map((part) => encodeURIComponent(String(part).replaceAll('~', '~0').replaceAll('/', '~1')))
        .join('/');
      const valid = ajv.validate({ $ref: `document#/${pointer}` }, body);
      expect(ajv.errorsText(), `${method} ${path} ${status}`).toBe('No errors');
      expect(valid).toBe(true);
    }
  });

  it('names every type that a body or an answer of it can have', async () => {
    const inputs = [Array(64).fill(0.5)];
    const latents = [
      [0, 0, 0, 0],
      [1, 1, 1, 1],
    ];
    const bodies = {
      '/encode': { inputs },
      '/reconstruct': { inputs },
      '/anomaly-score': { inputs },
      '/decode': { latents },
      '/interpolate': { latents },
      '/sample': {},
    };
    for (const [path, body] of Object.entries(bodies)) {
      const { requestBody, responses } = document.paths[path]?.post ?? {};
      const refused = await request(running.url).post(`${path}?model=grey`).set('accept', 'text/html').send(body);
      const [, possible = ''] = /this can be had as (.*)$/.exec(refused.body.detail) ?? [];
      expect(possible.split(', ').sort(), path).toEqual(Object.keys(responses?.['200']?.content ?? {}).sort());
      const wrong = await request(running.url).post(path).set('content-type', 'text/x-unknown').send('x');
      const [, taken = ''] = /expected one of (.*)$/.exec(wrong.body.detail) ?? [];
      expect(taken.split(', '), path).toEqual(Object.keys(requestBody?.content ?? {}));
    }
  });

  it('has a page to try it on', async () => {
    const page = await request(running.url).get('/docs');
    expect(page.status).toBe(200);
    expect(page.headers['content-type']).toContain('text/html');
  });
});
