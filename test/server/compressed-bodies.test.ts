import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { type ContentCoding, codingOf, decodedBody } from '@elbo/server/codecs/content-coding';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { encodeNpy } from '../support/npy.js';
import { parseLines } from './support/bodies.js';
import { greyPng } from './support/pictures.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

const BODY_LIMIT = 64 * 1024;
const PACK = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync } as const;
const CODINGS = Object.keys(PACK) as ContentCoding[];

let store: FixtureStore;
let running: RunningService;
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

beforeAll(async () => {
  store = await fixtureStore();
  running = await startService(store.directory, { bodyLimit: BODY_LIMIT });
});
afterAll(async () => {
  agent.destroy();
  await running.close();
  await store.remove();
});

interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

/** All calls share one connection, so that what one leaves unread would be in the way of the next. */
function post(path: string, headers: Record<string, string>, body: Buffer | readonly Buffer[]): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = httpRequest(`${running.url}${path}`, { method: 'POST', agent, headers }, async (response) =>
      resolve({ status: response.statusCode, headers: response.headers, body: await buffer(response) }),
    ).once('error', reject);
    // Several pieces come without a length.
    for (const piece of Array.isArray(body) ? body : []) call.write(piece);
    call.end(Buffer.isBuffer(body) ? body : undefined);
  });
}
const jsonOf = ({ body }: Answer) => JSON.parse(body.toString());
const item = Array.from({ length: 64 }, (_, i) => (i % 9) / 8);
const json = Buffer.from(JSON.stringify({ inputs: [item, item] }));

describe('a body with a content coding', () => {
  const cases = async (): Promise<[string, string, Buffer][]> => {
    const form = '--limit\r\ncontent-disposition: form-data; name="a"; filename="a.png"\r\n\r\n';
    const png = await greyPng(
      Uint8Array.from(item, (value) => Math.round(value * 255)),
      8,
      8,
    );
    const bytes = Buffer.from(Float32Array.from([...item, ...item]).buffer);
    const tensor = { name: 'x', shape: [2, 1, 8, 8], datatype: 'FP32', data: [...item, ...item] };
    return [
      ['/encode', 'application/json', json],
      ['/anomaly-score', 'application/octet-stream', bytes],
      ['/encode', 'application/x-npy', encodeNpy({ type: 'f4', shape: [2, 64], values: [...item, ...item] })],
      ['/reconstruct', 'image/png', png],
      [
        '/encode',
        'multipart/form-data; boundary=limit',
        Buffer.concat([Buffer.from(form), png, Buffer.from('\r\n--limit--\r\n')]),
      ],
      ['/encode', 'application/x-ndjson', Buffer.from(`${JSON.stringify(item)}\n`.repeat(150))],
      ['/decode', 'application/json', Buffer.from('{"latents": [[1, 2, 3, 4]]}')],
      ['/sample?seed=3', 'application/json', Buffer.from('{"count": 2}')],
      ['/interpolate', 'application/json', json],
      ['/v2/models/grey:encoder/infer', 'application/json', Buffer.from(JSON.stringify({ inputs: [tensor] }))],
      ['/v2/repository/index', 'application/json', Buffer.from('{"ready": true}')],
    ];
  };

  it.each(CODINGS)('is answered as one without: %s', async (coding) => {
    for (const [path, type, body] of await cases()) {
      const plain = await post(path, { 'content-type': type }, body);
      expect(plain.status, path).toBe(200);
      const packed = PACK[coding](body);
      const headers = { 'content-type': type, 'content-encoding': coding };
      for (const sent of [packed, [packed.subarray(0, 7), packed.subarray(7)]]) {
        const answer = await post(path, headers, sent);
        expect(answer.status, `${path} ${type} ${answer.body}`).toBe(200);
        expect(answer.body.equals(plain.body), `${path} ${type}`).toBe(true);
      }
    }
  });

  it('keeps the length of what was sent before its bytes in the protocol of Triton', async () => {
    const tensor = { name: 'x', shape: [1, 1, 8, 8], datatype: 'FP32', parameters: { binary_data_size: 256 } };
    const head = Buffer.from(JSON.stringify({ inputs: [tensor] }));
    const headers = {
      'content-type': 'application/octet-stream',
      'inference-header-content-length': String(head.length),
    };
    const body = Buffer.concat([head, Buffer.from(Float32Array.from(item).buffer)]);
    const plain = await post('/v2/models/grey:encoder/infer', headers, body);
    const packed = await post(
      '/v2/models/grey:encoder/infer',
      { ...headers, 'content-encoding': 'gzip' },
      gzipSync(body),
    );
    expect([packed.status, jsonOf(packed)]).toEqual([200, jsonOf(plain)]);
  });

  it.each([
    ['identity', json],
    ['', json],
    ['GZIP', gzipSync(json)],
    ['x-gzip', gzipSync(json)],
    ['identity, gzip', gzipSync(json)],
  ])('may call it %j', async (name, body) => {
    expect((await post('/encode', { 'content-type': 'application/json', 'content-encoding': name }, body)).status).toBe(
      200,
    );
  });

  it('may be left out where it may', async () => {
    const headers = { 'content-encoding': 'gzip', 'content-length': '0' };
    expect((await post('/sample?count=1', headers, Buffer.alloc(0))).status).toBe(200);
  });

  it.each(['zstd', 'compress', 'gzip, gzip', 'gzip, br', 'gzip;q=1', 'x'.repeat(200)])(
    'is refused where it is another: %s',
    async (name) => {
      for (const [path, type] of [
        ['/encode', 'application/json'],
        ['/encode', 'multipart/form-data; boundary=limit'],
        ['/encode', 'application/x-ndjson'],
        ['/v2/models/grey/infer', 'application/json'],
      ] as const) {
        const answer = await post(path, { 'content-type': type, 'content-encoding': name }, json);
        expect(answer.status).toBe(415);
        expect(answer.headers['accept-encoding']).toBe('gzip, deflate, br');
        const { detail, error } = jsonOf(answer);
        expect(detail ?? error).toContain('expected one of gzip, deflate, br, or none');
      }
    },
  );
});

describe('a body that is not in its content coding', () => {
  it.each<[string, ContentCoding, Buffer, string]>([
    ['cut off', 'gzip', gzipSync(json).subarray(0, -3), 'the body is not gzip: it ends early'],
    [
      'cut off',
      'deflate',
      deflateSync(json).subarray(0, -3),
      'the body is not deflate (the form of zlib): it ends early',
    ],
    ['cut off', 'br', brotliCompressSync(json).subarray(0, -3), 'the body is not br: it ends early'],
    ['plain', 'gzip', json, 'the body is not gzip: incorrect header check'],
    ['plain', 'br', json, 'the body is not br: decompression failed'],
    ['without the form of zlib', 'deflate', deflateRawSync(json), 'the body is not deflate (the form of zlib)'],
    ['followed by more', 'deflate', Buffer.concat([deflateSync(json), json]), 'there are bytes after its end'],
    ['followed by more', 'br', Buffer.concat([brotliCompressSync(json), json]), 'there are bytes after its end'],
    ['empty', 'gzip', Buffer.alloc(0), 'the body is not gzip: it ends early'],
  ])('%s (%s) is refused with 400', async (_name, coding, body, detail) => {
    for (const type of ['application/json', 'application/x-ndjson', 'multipart/form-data; boundary=limit']) {
      const headers = { 'content-type': type, 'content-encoding': coding };
      const answer = await post('/encode', headers, [body.subarray(0, 9), body.subarray(9)]);
      expect(jsonOf(answer), type).toMatchObject({ status: 400, code: 'INVALID_CODING' });
      expect(jsonOf(answer).detail).toContain(`header content-encoding is ${coding}; `);
      expect(jsonOf(answer).detail).toContain(detail);
    }
    const answer = await post('/v2/models/grey/infer', { 'content-encoding': coding }, [body]);
    expect([answer.status, jsonOf(answer).error]).toEqual([400, expect.stringContaining(detail)]);
  });

  it('ends a stream of lines with the problem, after the lines before it', async () => {
    const packed = gzipSync(`${JSON.stringify(item)}\n`.repeat(10));
    const headers = { 'content-type': 'application/x-ndjson', 'content-encoding': 'gzip' };
    const { status, body } = await post('/encode', headers, packed.subarray(0, -4));
    expect(status).toBe(200);
    const lines = parseLines(body.toString());
    expect(lines).toHaveLength(11);
    expect(lines.at(-1)).toMatchObject({ error: { code: 'INVALID_CODING' } });
  });
});

describe('the limit of a body', () => {
  it.each(CODINGS)('is one of what it becomes: %s', async (coding) => {
    const fits = Buffer.from(JSON.stringify({ inputs: [item] }).padEnd(BODY_LIMIT));
    const headers = { 'content-type': 'application/json', 'content-encoding': coding };
    expect((await post('/encode', headers, PACK[coding](fits))).status).toBe(200);
    const answer = await post('/encode', headers, PACK[coding](Buffer.concat([fits, Buffer.from(' ')])));
    expect(jsonOf(answer)).toMatchObject({
      status: 413,
      code: 'BODY_TOO_LARGE',
      detail: `the body has more than the limit of ${BODY_LIMIT} bytes`,
    });
  });

  it('holds for forms, for lines and in the protocol of Triton', async () => {
    const form = '--limit\r\ncontent-disposition: form-data; name="a"; filename="a.png"\r\n\r\n';
    const bombs: [string, string, string][] = [
      ['/encode', 'multipart/form-data; boundary=limit', form.padEnd(4 << 20)],
      ['/encode', 'multipart/form-data; boundary=limit', '\r\n'.repeat(2 << 20)],
      ['/encode', 'application/x-ndjson', '['.padEnd(4 << 20)],
      ['/encode', 'application/x-ndjson', '\n'.repeat(4 << 20)],
      ['/v2/models/grey/infer', 'application/json', '['.padEnd(4 << 20)],
    ];
    for (const [path, type, text] of bombs) {
      const answer = await post(path, { 'content-type': type, 'content-encoding': 'gzip' }, gzipSync(text));
      expect(answer.status, type).toBe(413);
      expect(answer.body.toString()).toContain(`more than the limit of ${BODY_LIMIT} bytes`);
    }
    expect((await post('/encode', { 'content-type': 'application/json' }, json)).status).toBe(200);
  });

  it('leaves nothing in the way of the next request, read or not', async () => {
    const busy = vi.fn();
    await running.service.admit(256, async () => {
      const body = gzipSync(`${JSON.stringify(item)}\n`.repeat(20_000), { level: 0 });
      const headers = { 'content-type': 'application/x-ndjson', 'content-encoding': 'gzip' };
      expect((await post('/encode', headers, body)).status).toBe(503);
      busy();
    });
    expect(busy).toHaveBeenCalledOnce();
    expect((await post('/encode', { 'content-type': 'application/json' }, json)).status).toBe(200);
  });
});

describe('a decoded body', () => {
  /** A source that counts what is taken of it. */
  function sourceOf(bytes: Buffer, size: number): { source: Readable; taken: () => number } {
    let taken = 0;
    const pieces = function* () {
      for (; taken < bytes.length; taken += size) yield bytes.subarray(taken, taken + size);
    };
    return { source: Readable.from(pieces(), { objectMode: false, highWaterMark: 1 }), taken: () => taken };
  }

  it('is what was there before, however it is cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 5000 }),
        fc.constantFrom(...CODINGS),
        fc.integer({ min: 1, max: 6000 }),
        async (bytes, coding, size) => {
          const { source } = sourceOf(PACK[coding](bytes), size);
          expect((await buffer(decodedBody(source, coding, 5000))).equals(Buffer.from(bytes))).toBe(true);
        },
      ),
    );
  });

  it('that is anything gives bytes or a CodecError, and reads the source to its end', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 300 }),
        fc.nat({ max: 300 }),
        fc.constantFrom(...CODINGS),
        async (noise, cut, coding) => {
          const { source } = sourceOf(Buffer.concat([PACK[coding](noise).subarray(0, cut), Buffer.from(noise)]), 20);
          const ended = new Promise((resolve) => source.once('end', resolve));
          const outcome = await buffer(decodedBody(source, coding, Number.POSITIVE_INFINITY)).catch(
            (error: Error) => error,
          );
          if (outcome instanceof Error) expect(outcome).toMatchObject({ name: 'CodecError', code: 'INVALID_CODING' });
          await ended;
        },
      ),
      { numRuns: 200 },
    );
  });

  it('fails at its limit, though the source never ends', async () => {
    const member = gzipSync(Buffer.alloc(1 << 20));
    const endless = async function* () {
      for (;;) {
        yield member;
        // As from a socket: others have their turn.
        await new Promise(setImmediate);
      }
    };
    const source = Readable.from(endless(), { objectMode: false });
    const body = decodedBody(source, 'gzip', 3 << 20);
    try {
      await expect(buffer(body)).rejects.toMatchObject({
        code: 'BODY_TOO_LARGE',
        message: `the body has more than the limit of ${3 << 20} bytes`,
      });
    } finally {
      source.destroy();
    }
  });

  it('takes no more of its source than is read of it', async () => {
    const bytes = gzipSync(Buffer.from(Array.from({ length: 4 << 20 }, (_, i) => (i * 2_654_435_761) >>> 24)), {
      level: 0,
    });
    const { source, taken } = sourceOf(bytes, 16 * 1024);
    const body = decodedBody(source, 'gzip', Number.POSITIVE_INFINITY);
    await new Promise((resolve) => body.once('readable', resolve));
    for (let i = 0; i < 1000; i++) await new Promise(setImmediate);
    expect(taken()).toBeLessThan(bytes.length / 4);
    expect(await buffer(body)).toHaveLength(4 << 20);
  });

  it('fails where its source does, and nobody has to listen', async () => {
    const source = new Readable({ read() {} });
    const body = decodedBody(source, 'br', 1000);
    source.destroy(new Error('gone'));
    await vi.waitFor(() => expect(body.destroyed).toBe(true));
    expect(body.errored).toBeInstanceOf(Error);
  });
});

describe('the name of a content coding', () => {
  it.each([
    ['gzip', 'gzip'],
    [' X-GZip ', 'gzip'],
    ['identity', null],
    [' , ', null],
    ['br, identity', 'br'],
    ['gzip, gzip', undefined],
    ['constructor', undefined],
  ])('%j is %s', (header, coding) => {
    expect(codingOf(header)).toBe(coding);
  });
});
