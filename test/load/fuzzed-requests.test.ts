import { readFileSync } from 'node:fs';
import { Agent, request as httpRequest, METHODS, type RequestOptions } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { greyPng } from '../server/support/pictures.js';
import {
  type FixtureStore,
  fixtureStore,
  type RunningService,
  startService,
} from '../server/support/running-service.js';

/** Requests: a few in `npm test`, many in `npm run test:fuzz`. */
const RUNS = Number(process.env.ELBO_FUZZ_RUNS ?? 500);
const MODELS = ['grey', 'rgb', 'table', 'none'];

const PACK: readonly (readonly [string, (body: Buffer) => Buffer])[] = [
  ['gzip', gzipSync],
  ['deflate', deflateSync],
  ['br', brotliCompressSync],
];

interface Fuzzed {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

interface Operation {
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, unknown>> };
}

const document = JSON.parse(readFileSync(new URL('../../openapi/openapi.json', import.meta.url), 'utf8')) as {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
};
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
);

let store: FixtureStore;
let running: RunningService;
let png: Buffer;
const agent = new Agent({ keepAlive: true });

beforeAll(async () => {
  store = await fixtureStore();
  running = await startService(store.directory);
  png = await greyPng(
    Uint8Array.from({ length: 64 }, (_, i) => i),
    8,
    8,
  );
});
afterAll(async () => {
  agent.destroy();
  await running.close();
  await store.remove();
});

it(
  `of ${RUNS} requests, good and mangled, none makes the server fail`,
  async () => {
    const statuses = new Map<number, number>();
    await fc.assert(
      fc.asyncProperty(fuzzed(), async (request) => {
        const { status, type, body } = await send(request);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        if (status >= 500) expect(status, body).toBe(503);
        if (status >= 400 && request.method !== 'HEAD') expectProblem(request.path, status, type, body);
      }),
      { numRuns: RUNS },
    );
    console.log(
      `statuses: ${[...statuses]
        .sort(([a], [b]) => a - b)
        .map((pair) => pair.join(' × '))
        .join(', ')}`,
    );
    expect(running.service.status).toMatchObject({ workersAlive: 2, notReady: undefined });
    expect(running.log.filter((line) => line.includes('lost'))).toEqual([]);
    expect(running.service.admitted).toBe(0);
  },
  60_000 + RUNS * 50,
);

/** The Open Inference Protocol has an error format of its own. */
function expectProblem(path: string, status: number, type: string, body: string): void {
  const document = JSON.parse(body) as Record<string, unknown>;
  if (/^\/v2(\/|\?|$)/.test(path) && 'error' in document) {
    expect(document.error).toBeTypeOf('string');
    return;
  }
  expect(type).toMatch(/^application\/problem\+json/);
  expect(document).toMatchObject({ status, code: expect.stringMatching(/^[A-Z_]+$/), detail: expect.any(String) });
}

function fuzzed(): fc.Arbitrary<Fuzzed> {
  return (
    fc
      .constantFrom(...operations)
      .chain(({ path, method, operation }) =>
        fc.record({
          method: mostly(fc.constant(method), fc.constantFrom(...METHODS.filter((name) => name !== 'CONNECT'))),
          path: fc.tuple(pathOf(path), queryOf(operation)).map((parts) => parts.join('')),
          headers: headersOf(operation),
          body: mostly(
            bodyOf(),
            fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes)),
          ),
        }),
      )
      .chain((request) => mostly(fc.constant(request), coded(request)))
      // Node refuses to send these, and a body with them has no meaning.
      .map((request) => (['GET', 'HEAD'].includes(request.method) ? { ...request, body: Buffer.alloc(0) } : request))
  );
}

/** The first of two nine times of ten. */
function mostly<T>(usual: fc.Arbitrary<T>, odd: fc.Arbitrary<T>): fc.Arbitrary<T> {
  return fc.oneof({ weight: 9, arbitrary: usual }, { weight: 1, arbitrary: odd });
}

/** With a content coding, which its body may have or not. */
function coded(request: Fuzzed): fc.Arbitrary<Fuzzed> {
  const packed = fc
    .constantFrom(...PACK)
    .map(([coding, pack]) => ({ coding, body: pack(request.body) }))
    .chain(({ coding, body }) => mostly(fc.constant(body), mangled(body)).map((bytes) => ({ coding, body: bytes })));
  const odd = fc
    .constantFrom('identity', 'zstd', 'gzip, br', 'gzip', ',')
    .map((coding) => ({ coding, body: request.body }));
  return mostly(packed, odd).map(({ coding, body }) => ({
    ...request,
    headers: { ...request.headers, 'content-encoding': coding },
    body,
  }));
}

/** Text for a URL, some of it not decodable. */
function urlText(): fc.Arbitrary<string> {
  return fc.oneof(
    fc.string({ unit: 'binary', maxLength: 12 }).map(encodeURIComponent),
    fc.constantFrom('%', '%ff', '%00', '..%2f..', '__proto__', 'constructor', '1e400', '-1', 'NaN', ''),
  );
}

function pathOf(path: string): fc.Arbitrary<string> {
  const name = mostly(fc.constantFrom(...MODELS), urlText());
  return mostly(
    name.map((value) => path.replaceAll(/\{[^}]+\}/g, value)),
    urlText().map((value) => `${path}/${value}`),
  );
}

const PLAUSIBLE: Readonly<Record<string, fc.Arbitrary<string>>> = {
  model: fc.constantFrom(...MODELS),
  version: fc.constantFrom('1', '2', '3'),
  count: fc.integer({ min: 0, max: 40 }).map(String),
  seed: fc.nat().map(String),
  sample: fc.constantFrom('true', 'false'),
  temperature: fc.double({ min: 0, max: 12, noNaN: true }).map(String),
  fpr: fc.double({ min: 0, max: 1, noNaN: true }).map(String),
  explain: fc.integer({ min: 0, max: 10 }).map(String),
  values: fc.array(fc.float({ noNaN: true }), { maxLength: 8 }).map((numbers) => numbers.join()),
};

function queryOf({ parameters = [] }: Operation): fc.Arbitrary<string> {
  const names = parameters.filter((parameter) => parameter.in === 'query').map(({ name }) => name);
  const pair = fc
    .constantFrom(...names, 'unknown')
    .chain((name) => mostly(PLAUSIBLE[name] ?? urlText(), urlText()).map((value) => `${name}=${value}`));
  return fc.array(pair, { maxLength: 3 }).map((pairs) => (pairs.length === 0 ? '' : `?${pairs.join('&')}`));
}

function headersOf({ requestBody }: Operation): fc.Arbitrary<Record<string, string>> {
  const types = Object.keys(requestBody?.content ?? { 'application/json': {} });
  const odd = fc.constantFrom(
    'text/plain',
    'application/json; charset=latin1',
    'multipart/form-data',
    '*/*',
    '',
    'a/b;',
  );
  return fc.record(
    {
      'content-type': mostly(fc.constantFrom(...types), odd),
      accept: fc.constantFrom(
        '*/*',
        'application/json',
        'image/png',
        'application/octet-stream',
        'text/html',
        ';q=2',
        '',
      ),
      'accept-encoding': fc.constantFrom('gzip', 'br', 'identity;q=0', '*;q=0', 'zstd, gzip;q=0.1'),
      'if-none-match': fc.constantFrom('*', '"x"', 'W/"'),
      traceparent: fc.constantFrom('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 'x'),
    },
    { requiredKeys: ['content-type'] },
  );
}

function bodyOf(): fc.Arbitrary<Buffer> {
  const numbers = (length: number) =>
    fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: length, maxLength: length });
  const item = fc.oneof(numbers(64), numbers(90), numbers(5), numbers(4), fc.string(), fc.jsonValue({ maxDepth: 3 }));
  const items = fc.array(item, { maxLength: 3 });
  const json = fc.oneof(
    items.map((inputs) => ({ inputs })),
    items.map((latents) => ({ latents })),
    fc.record({ count: fc.jsonValue(), seed: fc.jsonValue(), label: fc.jsonValue() }, { requiredKeys: [] }),
    fc.record({ inputs: items, labels: fc.array(fc.oneof(fc.nat(), fc.string())) }),
    fc.array(fc.dictionary(fc.string(), fc.jsonValue()), { maxLength: 3 }).map((rows) => ({ rows })),
    fc.jsonValue(),
  );
  const text = json.map((value) => Buffer.from(JSON.stringify(value)));
  const raw = fc
    .float32Array({ minLength: 4, maxLength: 128 })
    .map((values) => Buffer.from(values.buffer, values.byteOffset, values.byteLength));
  const picture = fc.constant(undefined).map(() => png);
  return fc.oneof(text, raw, picture).chain((whole) => mostly(fc.constant(whole), mangled(whole)));
}

/** Cut, with a byte changed, or twice. */
function mangled(whole: Buffer): fc.Arbitrary<Buffer> {
  return fc.oneof(
    fc.nat(whole.length).map((length) => whole.subarray(0, length)),
    fc.tuple(fc.nat(Math.max(0, whole.length - 1)), fc.nat(255)).map(([at, byte]) => {
      const changed = Buffer.from(whole);
      if (changed.length > 0) changed[at] = byte;
      return changed;
    }),
    fc.constant(Buffer.concat([whole, whole])),
  );
}

function send({ method, path, headers, body }: Fuzzed): Promise<{ status: number; type: string; body: string }> {
  const options: RequestOptions = { method, agent, headers: { ...headers, 'content-length': body.length } };
  return new Promise((resolve, reject) => {
    const sent = httpRequest(`${running.url}${path}`, options, async (response) => {
      const answer = (await buffer(response)).toString();
      resolve({ status: response.statusCode ?? 0, type: response.headers['content-type'] ?? '', body: answer });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}
