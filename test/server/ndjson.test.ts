import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { InputDescription } from '@elbo/models';
import { CodecError } from '@elbo/server/codecs/errors';
import { jsonItemDecoder } from '@elbo/server/codecs/items';
import { LineReader } from '@elbo/server/codecs/line-reader';
import { linesOf, valueOfLine } from '@elbo/server/codecs/lines';
import { InferenceError } from '@elbo/server/inference/errors';
import fc from 'fast-check';
import request from 'supertest';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { bytesOf, parseLines } from './support/bodies.js';
import { expectedMean, fixtureModel, GREY_INPUT, VECTOR_INPUT, writeFixture } from './support/fixture-models.js';
import { greyPng } from './support/pictures.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

const BODY_LIMIT = 8192;
let store: FixtureStore;
let running: RunningService;

beforeAll(async () => {
  store = await fixtureStore();
  const columns = [
    ...['a', 'b', 'c', 'd'].map((name) => ({ name, kind: 'numeric' as const })),
    { name: 'colour', kind: 'categorical' as const, categories: ['red', 'blue'] },
  ];
  await writeFixture(
    store.directory,
    fixtureModel({ name: 'named', input: { kind: 'vector', shape: [5], value_range: [-10, 10], columns } }),
  );
  const condition = { classes: 3, frequencies: [0.5, 0.25, 0.25] };
  await writeFixture(store.directory, fixtureModel({ name: 'labelled', input: VECTOR_INPUT, condition }));
  running = await startService(store.directory, { bodyLimit: BODY_LIMIT });
});
afterEach(() => vi.waitFor(() => expect(running.service.admitted).toBe(0)));
afterAll(async () => {
  await running.close();
  await store.remove();
});

const item = (n: number) => Array.from({ length: 64 }, (_, i) => ((i + n) % 9) / 8);
const lines = (items: readonly unknown[]) => items.map((value) => `${JSON.stringify(value)}\n`).join('');
const post = (path: string, body: string) =>
  request(running.url).post(path).set('content-type', 'application/x-ndjson').buffer().parse(asText).send(body);

function asText(response: request.Response, done: (error: Error | null, body: string) => void): void {
  bytesOf(response, (error, body) => done(error, body.toString()));
}

interface OpenStream {
  readonly call: ClientRequest;
  readonly response: Promise<IncomingMessage>;
}

/** A request whose body is written as the test goes. */
function open(path: string, headers: Record<string, string> = {}): OpenStream {
  const call = httpRequest(`${running.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson', ...headers },
  });
  call.on('error', () => {});
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    call.once('response', resolve);
    call.once('error', reject);
  });
  return { call, response };
}

/** Lines of an answer, one by one. */
async function* answeredLines(response: IncomingMessage): AsyncGenerator<Record<string, unknown>> {
  let rest = '';
  for await (const chunk of response) {
    const pieces = `${rest}${chunk}`.split('\n');
    rest = pieces.pop() ?? '';
    for (const piece of pieces) yield JSON.parse(piece);
  }
}

describe('a stream of lines', () => {
  it('is answered by /encode, a line an item in their order', async () => {
    const items = Array.from({ length: 150 }, (_, n) => item(n));
    const { status, headers, body } = await post('/encode', lines(items));
    expect(status).toBe(200);
    expect(headers['content-type']).toBe('application/x-ndjson');
    expect(headers['elbo-model']).toBe('grey/2');
    const answers = parseLines<{ mean: number[]; log_variance: number[] }>(body);
    expect(answers).toHaveLength(150);
    for (const [n, { mean, log_variance }] of answers.entries()) {
      const expected = expectedMean(store.grey, item(n));
      for (const [i, value] of expected.entries()) expect(mean[i]).toBeCloseTo(value, 4);
      expect(log_variance).toHaveLength(4);
    }
  });

  it('has the numbers that JSON has, from every route', async () => {
    const items = Array.from({ length: 7 }, (_, n) => item(n));
    const json = async (path: string, body: object) => (await request(running.url).post(path).send(body)).body;
    const encoded = await json('/encode?sample=true&seed=5', { inputs: items });
    expect(parseLines((await post('/encode?sample=true&seed=5', lines(items))).body)).toEqual(
      items.map((_, i) => ({ mean: encoded.mean[i], log_variance: encoded.log_variance[i], z: encoded.z[i] })),
    );
    const { outputs } = await json('/reconstruct', { inputs: items });
    expect(parseLines((await post('/reconstruct', lines(items))).body)).toEqual(
      outputs.map((output: unknown) => ({ output })),
    );
    const { scores } = await json('/anomaly-score?fpr=0.1', { inputs: items });
    expect(parseLines((await post('/anomaly-score?fpr=0.1', lines(items))).body)).toEqual(scores);
    const decoded = await json('/decode', { latents: encoded.z });
    expect(parseLines((await post('/decode', lines(encoded.z))).body)).toEqual(
      decoded.outputs.map((output: unknown) => ({ output })),
    );
  });

  it('draws from an odd number of latents what JSON draws, however the lines arrive', async () => {
    const rows = Array.from({ length: 5 }, (_, n) => [n, 1, 2, 3, 4]);
    const { body } = await request(running.url).post('/encode?model=table&sample=true&seed=5').send({ inputs: rows });
    const { call, response } = open('/encode?model=table&sample=true&seed=5');
    const drawn: unknown[] = [];
    call.write(lines(rows.slice(0, 1)));
    const answers = answeredLines(await response);
    drawn.push((await answers.next()).value.z);
    for (const row of rows.slice(1)) {
      call.write(lines([row]));
      drawn.push((await answers.next()).value.z);
    }
    call.end();
    expect((await response).headers['elbo-seed']).toBe('5');
    expect((await answers.next()).done).toBe(true);
    expect(drawn).toEqual(body.z);
  });

  it('may hold images and rows, blank lines and no newline at its end', async () => {
    const picture = await greyPng(
      Uint8Array.from(item(0), (value) => Math.round(value * 255)),
      8,
      8,
    );
    const images = await post('/encode', `"${picture.toString('base64')}"\r\n\r\n  \n${JSON.stringify(item(1))}`);
    expect(parseLines(images.body)).toHaveLength(2);
    const row = { a: 1, b: 2, c: 3, d: 4, colour: 'blue' };
    const rows = await post('/anomaly-score?model=named&explain=1', lines([row, [1, 2, 3, 4, 1]]));
    const [first, second] = parseLines(rows.body);
    expect(first).toEqual(second);
    expect(first?.contributions).toHaveLength(1);
  });

  it('takes one class for all lines', async () => {
    const { body } = await post('/encode?model=labelled&label=2', lines([[1, 2, 3, 4, 5]]));
    expect(parseLines(body)[0]).toMatchObject({ label: 2 });
    const missing = await post('/encode?model=labelled', lines([[1, 2, 3, 4, 5]]));
    expect(JSON.parse(missing.body)).toMatchObject({ status: 400, detail: expect.stringContaining('label') });
  });

  it('is answered while it is sent, compressed or not', async () => {
    for (const encoding of ['identity', 'gzip']) {
      const { call, response } = open('/anomaly-score', { 'accept-encoding': encoding });
      call.write(lines([item(0)]));
      const answer = await response;
      const first = await new Promise<Buffer>((resolve) => answer.once('data', resolve));
      expect(first.length).toBeGreaterThan(10);
      call.end();
      answer.resume();
      await new Promise((resolve) => answer.once('end', resolve));
    }
  });

  it('may be longer than a body, and is read as fast as its answers are', async () => {
    const line = lines([item(0)]);
    const { call, response } = open('/reconstruct');
    let written = 0;
    // Until the server reads no more; what lies in the sockets of both sides is all that is under way.
    const LIMIT = 64 << 20;
    let stalled = false;
    call.write(line);
    const answer = await response;
    answer.pause();
    while (!stalled && written < LIMIT) {
      const isFree = call.write(line.repeat(100));
      written += line.length * 100;
      if (!isFree) {
        stalled = await Promise.race([
          new Promise<boolean>((resolve) => call.once('drain', () => resolve(false))),
          new Promise<boolean>((resolve) => setTimeout(() => resolve(true), 500)),
        ]);
      }
    }
    expect(stalled).toBe(true);
    expect(written).toBeGreaterThan(BODY_LIMIT);
    const counted = (async () => {
      let count = 0;
      for await (const _ of answeredLines(answer)) count++;
      return count;
    })();
    call.end();
    expect(await counted).toBe(1 + written / line.length);
  });

  it.each<[string, string, number, string, string]>([
    ['no JSON', 'hello\n', 400, 'INVALID_JSON', 'line 1 is not JSON'],
    ['prototype pollution', '{"__proto__": {}}\n', 400, 'INVALID_JSON', 'line 1 is not JSON'],
    ['too few numbers', '\n[1, 2]\n', 422, 'INVALID_INPUT', 'line 2 has 2 numbers; expected 64 (1x8x8)'],
    ['an object where no columns are', '{"a": 1}\n', 422, 'INVALID_INPUT', 'line 1 is an object; expected an array'],
    ['a number', '5\n', 422, 'INVALID_INPUT', 'line 1 is 5; expected an array of 64 numbers or a base64 image'],
    [
      'a long line',
      `[${' '.repeat(BODY_LIMIT)}`,
      413,
      'BODY_TOO_LARGE',
      `line 1 has more than the limit of ${BODY_LIMIT} bytes`,
    ],
    ['nothing', '\n\n', 422, 'INVALID_INPUT', 'the body has no line; expected one item a line'],
  ])('that begins with %s is refused', async (_name, body, status, code, detail) => {
    const answer = await post('/encode', body);
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
    expect(JSON.parse(answer.body)).toMatchObject({ status, code, detail: expect.stringContaining(detail) });
  });

  it('that goes wrong later ends with the problem, after all lines before it', async () => {
    for (const good of [1, 63, 64, 65, 130]) {
      const body = `${lines(Array.from({ length: good }, (_, n) => item(n)))}[0, 1]\n${lines([item(0)])}`;
      const { status, body: answer } = await post('/encode', body);
      expect(status).toBe(200);
      const answers = parseLines(answer);
      expect(answers).toHaveLength(good + 1);
      expect(answers.at(-1)).toEqual({
        error: {
          type: 'urn:elbo:problem:invalid-input',
          title: expect.any(String),
          status: 422,
          detail: `line ${good + 1} has 2 numbers; expected 64 (1x8x8)`,
          code: 'INVALID_INPUT',
        },
      });
    }
  });

  it.each([
    ['its first line', 0],
    ['a later line', 100],
  ])('that goes wrong at %s leaves the connection to the next request', async (_, good) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const send = () =>
      new Promise<IncomingMessage>((resolve, reject) => {
        const headers = { 'content-type': 'application/x-ndjson' };
        const call = httpRequest(`${running.url}/encode`, { method: 'POST', agent, headers }, resolve).once(
          'error',
          reject,
        );
        const items = (count: number) => lines(Array.from({ length: count }, (_, n) => item(n)));
        // More than what waits in a stream unread.
        call.end(`${items(good)}no JSON\n${items(1000)}`);
      });
    const sockets = new Set<Socket>();
    for (let i = 0; i < 3; i++) {
      const answer = await send();
      sockets.add(answer.socket);
      expect(await text(answer)).toContain('INVALID_JSON');
    }
    expect(sockets.size).toBe(1);
    agent.destroy();
  });

  it('that goes wrong while it is sent is given up, and its connection ends', async () => {
    const { call, response } = open('/encode');
    call.write(lines([item(0)]));
    const answers = answeredLines(await response);
    await answers.next();
    call.write('no JSON\n');
    expect((await answers.next()).value).toMatchObject({ error: { code: 'INVALID_JSON' } });
    expect((await answers.next()).done).toBe(true);
    // The body never ends by itself.
    await vi.waitFor(() => expect(call.socket?.destroyed).toBe(true), 5000);
  });

  it('says which line the model has no finite answer to, after all lines before it', async () => {
    const huge = [3e38, 3e38, -3e38, 3e38];
    const { service } = running;
    const decode = service.decode.bind(service);
    const spy = vi.spyOn(service, 'decode').mockImplementation(async (model, latents, options) => {
      const bad = latents.findIndex((value) => value > 1e38);
      if (bad === -1) return decode(model, latents, options);
      throw new InferenceError('OUTPUT_NOT_FINITE', `the model's x_mean for item ${Math.floor(bad / 4)} is not finite`);
    });
    try {
      const { body } = await post('/decode', lines([[0, 0, 0, 0], [1, 1, 1, 1], huge, [0, 0, 0, 0]]));
      const answers = parseLines<Record<string, { detail?: string }>>(body);
      expect(answers).toHaveLength(3);
      expect(answers[2]?.error).toMatchObject({
        code: 'OUTPUT_NOT_FINITE',
        detail: expect.stringContaining('line 3: '),
      });
    } finally {
      spy.mockRestore();
    }
  });

  it('cannot be answered in another type', async () => {
    const answer = await post('/encode', lines([item(0)])).set('accept', 'application/json');
    expect(JSON.parse(answer.body)).toMatchObject({
      status: 406,
      detail: expect.stringContaining('application/x-ndjson'),
    });
  });

  it('has its place in the queue before it is read, or 503 at once', async () => {
    let finish: () => void = () => {};
    const busy = running.service.admit(256 - 63, () => new Promise<void>((resolve) => (finish = resolve)));
    const { call, response } = open('/encode');
    call.flushHeaders();
    const answer = await response;
    expect(answer.statusCode).toBe(503);
    expect(answer.headers['retry-after']).toBe('1');
    expect(JSON.parse(await text(answer))).toMatchObject({ code: 'OVERLOADED' });
    call.destroy();
    finish();
    await busy;
    expect((await post('/encode', lines([item(0)]))).status).toBe(200);
  });

  it('takes smaller steps where the queue is smaller', async () => {
    const small = await startService(store.directory, { maxQueue: 5 });
    try {
      const { body } = await request(small.url)
        .post('/encode')
        .set('content-type', 'application/x-ndjson')
        .buffer()
        .parse(asText)
        .send(lines(Array.from({ length: 40 }, (_, n) => item(n))));
      expect(parseLines(body)).toHaveLength(40);
    } finally {
      await small.close();
    }
  });

  it('is given up when the client goes away', async () => {
    const { call, response } = open('/reconstruct');
    call.write(lines([item(0)]));
    (await response).on('error', () => {});
    expect(running.service.admitted).toBe(64);
    call.destroy();
    await vi.waitFor(() => expect(running.service.admitted).toBe(0));
  });

  it('may take longer to arrive than other requests', async () => {
    const connected = new Promise<Socket>((resolve) => running.app.server.once('connection', resolve));
    const { call, response } = open('/encode', { connection: 'close' });
    call.write(lines([item(0)]));
    const answers = answeredLines(await response);
    await answers.next();
    // What Node's HTTP server does when a request takes too long.
    const timeout = Object.assign(new Error('timeout'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' });
    running.app.server.emit('clientError', timeout, await connected);
    call.end(lines([item(1)]));
    expect((await answers.next()).value).toHaveProperty('mean');
  });
});

describe('lines in answer to other bodies', () => {
  it('are had wherever JSON is', async () => {
    const as = (call: request.Test) => call.set('accept', 'application/x-ndjson').buffer().parse(asText);
    const json = (await request(running.url).post('/sample?count=3&seed=4')).body;
    const sampled = await as(request(running.url).post('/sample?count=3&seed=4'));
    expect(sampled.headers['elbo-seed']).toBe('4');
    expect(parseLines(sampled.body)).toEqual(
      json.outputs.map((output: unknown, i: number) => ({ latent: json.latents[i], output })),
    );
    const inputs = [item(0), item(1)];
    for (const path of ['/encode', '/reconstruct', '/anomaly-score']) {
      const streamed = (await post(path, lines(inputs))).body;
      expect((await as(request(running.url).post(path).send({ inputs }))).body).toBe(streamed);
    }
    const scored = await as(request(running.url).get('/anomaly-score?model=table&values=1,2,3,4,5'));
    expect(parseLines(scored.body)[0]).toHaveProperty('p_value');
  });
});

describe('a line', () => {
  it('comes back as the item that it was', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.infiniteStream(fc.float({ noNaN: true, noDefaultInfinity: true })),
        (count, numbers) => {
          const data = Float32Array.from(numbers.take(count * 6));
          const texts = [
            ...linesOf(count, { label: [...data.subarray(0, count)] }, { x: { data, shape: [count, 2, 3] } }),
          ];
          expect(texts).toHaveLength(count);
          const back = texts.map((one) => valueOfLine(one, 'line') as { label: number; x: number[][] });
          expect(back.flatMap(({ x }) => x.flat())).toEqual([...data].map((value) => value + 0));
          expect(back.map(({ label }) => label)).toEqual([...data.subarray(0, count)].map((value) => value + 0));
        },
      ),
    );
  });

  it('that is anything gives an item in range or a CodecError', async () => {
    const columns = ['a', 'b', 'c', 'd', 'e'].map((name) => ({ name, kind: 'numeric' as const }));
    const table: InputDescription = { kind: 'vector', shape: [5], value_range: [-10, 10], columns };
    const decoders = [jsonItemDecoder(table), jsonItemDecoder(GREY_INPUT), jsonItemDecoder(VECTOR_INPUT)];
    const number = fc.oneof(fc.double({ min: -11, max: 11 }), fc.constantFrom(null, '1', 1e300));
    const near = fc.oneof(
      fc.array(number, { minLength: 4, maxLength: 6 }),
      fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', '__proto__'), number),
      fc.array(fc.array(fc.array(number, { minLength: 8, maxLength: 8 }), { minLength: 7, maxLength: 9 }), {
        maxLength: 2,
      }),
    );
    const anything = fc.oneof(
      fc.string(),
      fc.json(),
      near.map((value) => JSON.stringify(value)),
      fc.base64String().map((s) => `"${s}"`),
    );
    await fc.assert(
      fc.asyncProperty(anything, fc.constantFrom(0, 1, 2), async (written, which) => {
        const target = new Float32Array(which === 1 ? 64 : 5);
        try {
          await decoders[which]?.(valueOfLine(written, 'line 1'), 'line 1', target);
        } catch (error) {
          expect(error).toBeInstanceOf(CodecError);
          expect((error as Error).message).toMatch(/^line 1/);
          return;
        }
        expect(target.every((value) => Math.abs(value) <= 10)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});

describe('the reader of lines', () => {
  const limits = { lines: 3, bytes: 20, milliseconds: 5000 };
  async function all(source: Readable): Promise<{ lines: [number, string][]; error?: Error }> {
    const reader = new LineReader(source, limits);
    const found: [number, string][] = [];
    try {
      for (;;) {
        const some = await reader.next();
        if (some.length === 0) return { lines: found };
        expect(some.length).toBeLessThanOrEqual(limits.lines);
        for (const { number, text: line } of some) found.push([number, line]);
      }
    } catch (error) {
      return { lines: found, error: error as Error };
    }
  }

  it('gives the lines of any bytes, however they are cut', async () => {
    const line = fc.stringMatching(/^[ -~äöü€]{0,6}$/);
    await fc.assert(
      fc.asyncProperty(
        fc.array(line, { maxLength: 20 }),
        fc.infiniteStream(fc.integer({ min: 1, max: 9 })),
        async (texts, cuts) => {
          const bytes = Buffer.from(texts.join('\n'));
          const pieces: Buffer[] = [];
          for (let at = 0; at < bytes.length; at += pieces.at(-1)?.length ?? 1) {
            pieces.push(bytes.subarray(at, at + (cuts.next().value ?? 1)));
          }
          const expected = texts.map((value, i) => [i + 1, value.trim()]).filter(([, value]) => value !== '');
          expect(await all(Readable.from(pieces, { objectMode: false }))).toEqual({ lines: expected });
        },
      ),
    );
  });

  it('gives a line that is too long no room, after those before it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 21, max: 200 }), fc.integer({ min: 1, max: 50 }), async (length, size) => {
        const bytes = Buffer.from(`one\ntwo\n${'x'.repeat(length)}`);
        const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
          bytes.subarray(i * size, (i + 1) * size),
        );
        const { lines: found, error } = await all(Readable.from(pieces, { objectMode: false }));
        expect(found).toEqual([
          [1, 'one'],
          [2, 'two'],
        ]);
        expect(error).toEqual(new CodecError('BODY_TOO_LARGE', 'line 3 has more than the limit of 20 bytes'));
      }),
    );
  });

  it('takes blank lines up to the limit of a line together', async () => {
    expect(await all(Readable.from([Buffer.from(`one${'\n'.repeat(20)}two${'\n'.repeat(20)}three`)]))).toEqual({
      lines: [
        [1, 'one'],
        [21, 'two'],
        [41, 'three'],
      ],
    });
    const { lines: found, error } = await all(Readable.from([Buffer.from(`one${'\n'.repeat(30)}two`)]));
    expect(found).toEqual([[1, 'one']]);
    expect(error?.message).toBe('the blank lines up to line 22 have more than the limit of 20 bytes');
  });

  it('does nothing for each of many blank lines, and white space beyond ASCII is no JSON', async () => {
    const concat = vi.spyOn(Buffer, 'concat');
    try {
      const blank = '\n \r\n\t\v\n'.repeat(10_000);
      const source = Readable.from([Buffer.from(`${blank}one\n${blank}\u00a0\n`)]);
      const reader = new LineReader(source, { ...limits, lines: 2, bytes: 1 << 20 });
      expect(await reader.next()).toEqual([{ text: 'one', number: 30_001 }]);
      expect(await reader.next()).toEqual([{ text: '', number: 60_002 }]);
      expect(concat.mock.calls.length).toBeLessThan(10);
    } finally {
      concat.mockRestore();
    }
  });

  it('reads no more than it may hold', async () => {
    let read = 0;
    const source = Readable.from(
      (function* () {
        for (;;) yield Buffer.from(`line ${read++}\n`);
      })(),
      { objectMode: false, highWaterMark: 1 },
    );
    const reader = new LineReader(source, limits);
    for (let i = 0; i < 20; i++) await reader.next();
    expect(read).toBeLessThan(20 * limits.lines + 10);
    reader.stop();
  });

  it('waits for a line no longer than it may take', async () => {
    const source = new Readable({ read() {} });
    source.push('unfinished');
    const reader = new LineReader(source, { ...limits, milliseconds: 10 });
    await expect(reader.next()).rejects.toThrow('no whole line arrived within 0.01 seconds of the last');
  });
});
