import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import fc from 'fast-check';
import request from 'supertest';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { greyPng, plainPng } from './support/pictures.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

const BODY_LIMIT = 2 << 20;
let store: FixtureStore;
let running: RunningService;

beforeAll(async () => {
  store = await fixtureStore();
  running = await startService(store.directory, { bodyLimit: BODY_LIMIT });
});
afterEach(async () => {
  const { status } = await request(running.url)
    .post('/encode')
    .send({ inputs: [Array(64).fill(0)] });
  expect(status).toBe(200);
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

function expectProblem(response: request.Response, status: number, code: string, detail: string): void {
  expect(response.headers['content-type']).toMatch(/^application\/problem\+json/);
  const body = response.body as Record<string, unknown>;
  expect(body).toMatchObject({ status, code });
  expect(response.status).toBe(status);
  expect(body.type).toBe(`urn:elbo:problem:${code.toLowerCase().replaceAll('_', '-')}`);
  expect(body.title).toBeTypeOf('string');
  expect(body.detail).toContain(detail);
  expect(JSON.stringify(body)).not.toMatch(/node_modules|\.js:\d|dist\//);
}

const post = (path: string, type = 'application/json') => request(running.url).post(path).set('content-type', type);
const good = Array(64).fill(0.5);
const edited = (index: number, value: unknown) => good.map((number, i) => (i === index ? value : number));

describe('bodies of numbers', () => {
  it.each<[string, unknown, number, string, string]>([
    ['63 numbers', { inputs: [good.slice(1)] }, 422, 'INVALID_INPUT', 'inputs[0] has 63 numbers; expected 64 (1x8x8)'],
    ['null among numbers', { inputs: [good, edited(7, null)] }, 422, 'INVALID_INPUT', 'inputs[1][7] is null'],
    ['a number as text', { inputs: [edited(7, '0.5')] }, 422, 'INVALID_INPUT', 'inputs[0][7] is the string "0.5"'],
    ['out of range', { inputs: [edited(7, 255)] }, 422, 'INVALID_INPUT', 'inputs[0][7] is 255; expected 0 to 1'],
    ['no items', { inputs: [] }, 400, 'INVALID_REQUEST', 'body field inputs must NOT have fewer than 1 items'],
    ['no inputs', {}, 400, 'INVALID_REQUEST', 'expected one of the body fields inputs and rows'],
    [
      'inputs of the wrong kind',
      { inputs: 'abc' },
      400,
      'INVALID_REQUEST',
      'body field inputs must be array, not "abc"',
    ],
    ['a bare item', { inputs: good }, 422, 'INVALID_INPUT', 'inputs[0] is 0.5; expected an array of 64 numbers'],
    ['an unknown field', { inputs: [good], input: 1 }, 400, 'INVALID_REQUEST', '"input" is unknown; expected inputs'],
    ['an object as item', { inputs: [{}] }, 422, 'INVALID_INPUT', 'inputs[0] is an object'],
    ['text as item', { inputs: ['hello'] }, 422, 'INVALID_INPUT', 'inputs[0] is not base64'],
    ['an array as body', [1, 2], 400, 'INVALID_REQUEST', 'the body must be object'],
    [
      'more items than the queue',
      { inputs: Array(257).fill([]) },
      413,
      'TOO_MANY_ITEMS',
      '257 items in one request; this server takes 256 at most',
    ],
  ])('%s', async (_name, body, status, code, detail) => {
    expectProblem(await post('/encode').send(JSON.stringify(body)), status, code, detail);
  });

  it.each([
    ['truncated', '{"inputs": [[0.5, 0'],
    ['NaN', '{"inputs": [[NaN, 0]]}'],
    ['nothing but text', 'hello'],
    ['prototype pollution', '{"inputs": [[0]], "__proto__": {"admin": true}}'],
    ['pollution through a constructor', '{"constructor": {"prototype": {"admin": true}}}'],
  ])('JSON that is %s', async (_name, body) => {
    expectProblem(await post('/encode').send(body), 400, 'INVALID_JSON', 'the body is not JSON: ');
  });

  it('NaN in raw float32', async () => {
    const bytes = Buffer.from(Float32Array.from(edited(9, Number.NaN) as number[]).buffer);
    const response = await post('/encode', 'application/octet-stream').send(bytes);
    expectProblem(response, 422, 'INVALID_INPUT', 'body[0][9] is NaN; expected 0 to 1');
  });

  it('half an item of raw float32', async () => {
    const response = await post('/encode', 'application/octet-stream').send(Buffer.alloc(130));
    expectProblem(response, 422, 'INVALID_INPUT', 'the body has 130 bytes; expected a multiple of 256');
  });

  it('latents of the wrong length', async () => {
    const response = await post('/decode').send({ latents: [[1, 2, 3]] });
    expectProblem(response, 422, 'INVALID_INPUT', 'latents[0] has 3 numbers; expected 4 (4)');
  });

  it.each([
    ['arrays', '[', ']'],
    ['objects', '{"a":', '}'],
  ])('%s nested deeper than the stack is high', async (_, open, close) => {
    const deep = `${open.repeat(100_000)}1${close.repeat(100_000)}`;
    for (const body of [deep, `{"inputs":${deep}}`, `{"inputs":[${deep}]}`, `{"inputs":[[0]],"labels":${deep}}`]) {
      const { status } = await post('/encode').send(body);
      expect(status).toBeOneOf([400, 422]);
    }
    expectProblem(
      await post('/sample').send(`{"count":${deep}}`),
      400,
      'INVALID_REQUEST',
      'count must be integer, not an',
    );
  });

  it('any JSON at all gets an answer of 200 or 4xx', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), fc.constantFrom('inputs', 'latents', 'count', 'other'), async (value, key) => {
        for (const path of ['/encode', '/decode', '/sample', '/reconstruct', '/anomaly-score']) {
          const { status } = await post(path).send(JSON.stringify({ [key]: value }));
          expect(status === 200 || (status >= 400 && status < 500)).toBe(true);
        }
      }),
      { numRuns: 40 },
    );
  });
});

describe('bodies of images', () => {
  it('text', async () => {
    const response = await post('/encode', 'image/png').send(Buffer.from('hello, world'));
    expectProblem(
      response,
      422,
      'INVALID_IMAGE',
      'body is not a PNG, JPEG or WebP image: it begins with "hello, world"',
    );
  });

  it('a truncated PNG', async () => {
    const png = await greyPng(new Uint8Array(64), 8, 8);
    expectProblem(
      await post('/encode', 'image/png').send(png.subarray(0, 60)),
      422,
      'INVALID_IMAGE',
      'body is a damaged',
    );
  });

  it('100 megapixels', async () => {
    const huge = await plainPng(10_000, 10_000);
    expectProblem(await post('/encode', 'image/png').send(huge), 413, 'IMAGE_TOO_LARGE', 'limit of 50000000 pixels');
  });

  it('an image for a model of tables', async () => {
    const response = await post('/encode?model=table', 'image/png').send(await plainPng(4, 4));
    expectProblem(response, 422, 'INVALID_INPUT', 'body is an image; this model takes an array of 5 numbers');
  });
});

describe('bodies that are too large', () => {
  it('by their stated length', async () => {
    const response = await post('/encode', 'application/octet-stream').send(Buffer.alloc(BODY_LIMIT + 1));
    expectProblem(response, 413, 'BODY_TOO_LARGE', `limit of ${BODY_LIMIT} bytes`);
  });

  it('without a stated length, 200 MB of them', async () => {
    const chunk = new Uint8Array(1 << 20);
    let sent = 0;
    const body = new ReadableStream({
      pull: (controller) => {
        if (sent++ < 200) controller.enqueue(chunk);
        else controller.close();
      },
    });
    const options: RequestInit & { duplex: 'half' } = {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body,
      duplex: 'half',
    };
    const response = await fetch(`${running.url}/encode`, options);
    expect(response.status).toBe(413);
    expect(await response.json()).toMatchObject({ code: 'BODY_TOO_LARGE' });
  });
});

describe('queries', () => {
  it.each([
    ['/sample?count=-1', 400, 'INVALID_REQUEST', 'query parameter count must be >= 1, not -1'],
    ['/sample?count=0', 400, 'INVALID_REQUEST', 'query parameter count must be >= 1, not 0'],
    ['/sample?count=1000000000', 400, 'INVALID_REQUEST', 'query parameter count must be <= 1024, not 1000000000'],
    ['/sample?count=many', 400, 'INVALID_REQUEST', 'query parameter count must be integer, not "many"'],
    ['/sample?count=1.5', 400, 'INVALID_REQUEST', 'query parameter count must be integer'],
    ['/sample?count=1&count=2', 400, 'INVALID_REQUEST', 'query parameter count must be integer'],
    ['/sample?seed=4294967296', 400, 'INVALID_REQUEST', 'query parameter seed must be <= 4294967295'],
    ['/sample?temperature=NaN', 400, 'INVALID_REQUEST', 'query parameter temperature must be number'],
    ['/sample?temperature=1e9', 400, 'INVALID_REQUEST', 'query parameter temperature must be <= 10'],
    [
      '/sample?cuont=3',
      400,
      'INVALID_REQUEST',
      '"cuont" is unknown; expected model, version, count, seed, temperature',
    ],
    ['/sample?__proto__=3', 400, 'INVALID_REQUEST', '"__proto__" is unknown'],
    ['/sample?model=nope', 404, 'MODEL_NOT_FOUND', 'model "nope" is not loaded; loaded: grey, rgb, table'],
    ['/sample?model=..%2F..%2Fetc', 404, 'MODEL_NOT_FOUND', 'is not loaded'],
    ['/sample?model=constructor', 404, 'MODEL_NOT_FOUND', 'is not loaded'],
    ['/sample?version=3', 404, 'MODEL_NOT_FOUND', 'version "3" of model grey is not loaded; loaded: 1, 2'],
    ['/sample?version=01', 404, 'MODEL_NOT_FOUND', 'version "01"'],
  ])('POST %s', async (path, status, code, detail) => {
    expectProblem(await request(running.url).post(path), status, code, detail);
  });

  it('a seed that means nothing', async () => {
    expectProblem(await post('/encode?seed=1').send({ inputs: [good] }), 400, 'INVALID_REQUEST', 'without sample=true');
  });

  it('body fields are not converted', async () => {
    const response = await post('/sample').send({ count: '3' });
    expectProblem(response, 400, 'INVALID_REQUEST', 'body field count must be integer, not "3"');
  });
});

describe('routes', () => {
  it('that are not there', async () => {
    expectProblem(await request(running.url).get('/nope'), 404, 'ROUTE_NOT_FOUND', 'there is no /nope');
    expectProblem(await request(running.url).get('/models/nope'), 404, 'MODEL_NOT_FOUND', '"nope" is not loaded');
    expectProblem(await request(running.url).get('/models/a/b'), 404, 'ROUTE_NOT_FOUND', '/models/a/b');
  });

  it('that have another method', async () => {
    const response = await request(running.url).get('/encode');
    expectProblem(response, 405, 'METHOD_NOT_ALLOWED', '/encode has no GET; it has POST');
    expect(response.headers.allow).toBe('POST');
    expect((await request(running.url).delete('/models/grey')).headers.allow).toBe('GET, HEAD');
  });

  it.each([
    ['a body that is no JSON', 'POST', '/models', 405, { 'content-type': 'application/json' }, '{'],
    ['a body of another type', 'PUT', '/encode', 405, { 'content-type': 'text/plain' }, 'x'],
    ['no body, though it should have one', 'QUERY', '/health/live', 405, {}, ''],
    ['a body of another type for nothing at all', 'POST', '/nope', 404, { 'content-type': 'text/plain' }, 'x'],
  ])('%s', async (_name, method, path, status, headers, body) => {
    const sent = httpRequest(`${running.url}${path}`, {
      method,
      headers: { ...headers, 'content-length': body.length },
    });
    sent.end(body);
    const [response] = await once(sent, 'response');
    expect(JSON.parse(await text(response))).toMatchObject({ status });
    expect(response.statusCode).toBe(status);
  });

  it('whose URL cannot be decoded', async () => {
    expectProblem(await request(running.url).get('/%ff'), 400, 'INVALID_REQUEST', '/%ff');
  });
});

describe('what is not even HTTP', () => {
  function raw(bytes: string): Promise<string> {
    const socket = connect(Number(new URL(running.url).port), '127.0.0.1');
    socket.end(bytes);
    return text(socket);
  }

  it.each([
    ['a line of garbage', 'GARBAGE\r\n\r\n', 400, 'INVALID_HTTP'],
    [
      'a length that is no number',
      'POST /encode HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\n',
      400,
      'INVALID_HTTP',
    ],
    [
      'a query of 60 KB',
      `GET /anomaly-score?input=${'A'.repeat(60_000)} HTTP/1.1\r\nHost: a\r\n\r\n`,
      431,
      'HEADERS_TOO_LARGE',
    ],
  ])('%s', async (_name, bytes, status, code) => {
    const answer = await raw(bytes);
    const [head = '', body = ''] = answer.split('\r\n\r\n');
    expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(head).toContain('application/problem+json');
    expect(JSON.parse(body)).toMatchObject({ status, code });
  });
});
