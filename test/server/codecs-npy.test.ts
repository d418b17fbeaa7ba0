import { readFile } from 'node:fs/promises';
import { CodecError } from '@elbo/server/codecs/errors';
import { npyFromNumbers, numbersFromNpy } from '@elbo/server/codecs/npy';
import fc from 'fast-check';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeNpy, NPY_TYPES, type NpyType, npyHeader } from '../support/npy.js';
import { bytesOf } from './support/bodies.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

const GREY = { shape: [1, 2, 3], range: [0, 1] as const };
const VALUES = [0, 1, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1];

const small = fc.constantFrom(...NPY_TYPES.filter((type) => type !== 'b1'));

describe('a NumPy array', () => {
  it('is read in every type, byte order, index order and version', () => {
    for (const type of NPY_TYPES) {
      for (const bigEndian of [false, true]) {
        for (const fortranOrder of [false, true]) {
          for (const version of [1, 2, 3] as const) {
            const bytes = encodeNpy({ type, shape: [2, 1, 2, 3], values: VALUES, bigEndian, fortranOrder, version });
            expect([...numbersFromNpy(bytes, GREY)], `${type} ${bigEndian} ${fortranOrder} ${version}`).toEqual(VALUES);
          }
        }
      }
    }
  });

  it.each([
    ['[N, …shape]', [2, 1, 2, 3]],
    ['[N, flat]', [2, 6]],
    ['[N, …shape] without the leading 1', [2, 2, 3]],
  ])('is read as %s', (_name, shape) => {
    expect([...numbersFromNpy(encodeNpy({ type: 'f4', shape, values: VALUES }), GREY)]).toEqual(VALUES);
  });

  it.each([[[1, 2, 3]], [[2, 3]], [[6]]])('of shape %j is one item', (shape) => {
    const values = VALUES.slice(0, 6);
    expect([...numbersFromNpy(encodeNpy({ type: 'f8', shape, values }), GREY)]).toEqual(values);
  });

  it('comes back as it was, wherever its bytes lie in memory', () => {
    fc.assert(
      fc.property(
        fc.float32Array({ minLength: 6, maxLength: 60, noNaN: true, noDefaultInfinity: true }),
        fc.integer({ min: 0, max: 7 }),
        (numbers, offset) => {
          const data = numbers.subarray(0, numbers.length - (numbers.length % 6));
          const shape = [data.length / 6, 2, 3];
          const bytes = Buffer.concat([Buffer.alloc(offset), npyFromNumbers(data, shape)]).subarray(offset);
          expect(numbersFromNpy(bytes, { shape: [2, 3] })).toEqual(data);
        },
      ),
    );
  });

  it('of columns, whatever its type and order, has the numbers that were written', () => {
    fc.assert(
      fc.property(
        small,
        fc.integer({ min: 1, max: 5 }),
        fc.boolean(),
        fc.boolean(),
        fc.infiniteStream(fc.integer({ min: 0, max: 100 })),
        (type, rows, bigEndian, fortranOrder, stream) => {
          const values = [...stream.take(rows * 3)];
          const bytes = encodeNpy({ type, shape: [rows, 3], values, bigEndian, fortranOrder });
          expect([...numbersFromNpy(bytes, { shape: [3], range: [0, 100] })]).toEqual(values);
        },
      ),
    );
  });

  it('of bytes or bools is pixels where the model takes images', () => {
    const rgb = { shape: [3], range: [-1, 1] as const, pixels: true };
    const read = (type: NpyType, values: number[]) => [...numbersFromNpy(encodeNpy({ type, shape: [3], values }), rgb)];
    expect(read('u1', [0, 51, 255])).toEqual([-1, Math.fround(-0.6), 1]);
    expect(read('b1', [0, 1, 1])).toEqual([-1, 1, 1]);
    expect(read('i2', [0, 1, -1])).toEqual([0, 1, -1]);
  });

  const header = (dictionary: string, values = 24, version = 1) =>
    Buffer.concat([npyHeader(dictionary, version), Buffer.alloc(values)]);
  const described = (descr: string, shape: string, order = 'False') =>
    `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': ${shape}, }`;

  it.each<[string, Buffer, string | RegExp]>([
    ['nothing', Buffer.alloc(0), 'the body begins with nothing; expected 0x934e554d5059'],
    ['a PNG', Buffer.from('89504e470d0a1a0a', 'hex'), 'the body begins with 0x89504e470d0a'],
    ['a magic number alone', Buffer.from('\x93NUMPY', 'latin1'), 'the header is cut off after 6 bytes'],
    ['no length', Buffer.from('\x93NUMPY\x02\x00\x10', 'latin1'), 'the header is cut off after 9 bytes'],
    ['version 4.0', header(described('<f4', '(6,)'), 24, 4), 'the format version is 4.0; expected 1.0, 2.0 or 3.0'],
    ['a header cut off', npyHeader(described('<f4', '(6,)')).subarray(0, 40), 'the header is cut off after 40 bytes'],
    [
      'a header of 4 GiB',
      Buffer.from('\x93NUMPY\x02\x00\xff\xff\xff\xff{}', 'latin1'),
      'the header is 4294967295 bytes long; expected at most 65536',
    ],
    ['no dictionary', header('hello'), 'the header is "hello"; expected {'],
    ['code', header(`__import__('os').system('true')`), 'the header is '],
    [
      'an entry twice',
      header(`{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (6,)}`),
      /^the header is/,
    ],
    ['Python objects', header(described('|O', '(6,)')), 'Python objects, which are never unpickled'],
    ['text', header(described('<U4', '(6,)')), 'the type is "<U4"; expected bool, int8 to int64'],
    ['complex numbers', header(described('<c8', '(6,)')), 'the type is "<c8"'],
    ['a record', header(`{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,)}`), 'a record of fields'],
    ['a negative dimension', header(described('<f4', '(-6,)')), 'the shape is (-6,)'],
    ['a dimension beyond all numbers', header(described('<f4', '(99999999999999999999999,)')), 'the shape is '],
    ['another shape', header(described('<f4', '(2, 3, 1)')), 'expected (N, 1, 2, 3) or (N, 6), or one item without N'],
    ['no dimensions', header(described('<f4', '()')), 'the array has the shape ()'],
    ['no items', header(described('<f4', '(0, 6)'), 0), 'the array has no items'],
    [
      'fewer bytes than its shape',
      header(described('<f4', '(6,)'), 23),
      'has 23 bytes of values; expected 24 (6 x float32)',
    ],
    ['more bytes than its shape', header(described('<f4', '(6,)'), 25), 'has 25 bytes of values; expected 24'],
    [
      'far fewer bytes',
      header(described('<f8', '(1000000000000000, 6)')),
      'has 24 bytes of values; expected 48000000000000000',
    ],
    ['a shape beyond all numbers', header(described('<f8', '(9999999999999999999, 6)')), 'has 24 bytes of values'],
    ['a number out of range', encodeNpy({ type: 'f8', shape: [6], values: [0, 0, 0, 0, 0, 1.5] }), 'body[0][5] is 1.5'],
    [
      'one that float32 cannot hold',
      encodeNpy({ type: 'f8', shape: [6], values: [0, 0, 1e300, 0, 0, 0] }),
      'body[0][2] is Infinity',
    ],
    [
      'NaN',
      encodeNpy({ type: 'f2', shape: [6], values: [0, Number.NaN, 0, 0, 0, 0] }),
      'body[0][1] is NaN; expected 0 to 1',
    ],
  ])('is refused: %s', (_name, bytes, message) => {
    const read = () => numbersFromNpy(bytes, GREY);
    expect(read).toThrow(CodecError);
    expect(read).toThrow(message);
  });

  it('that is damaged anywhere gives numbers in range or a CodecError', () => {
    const whole = encodeNpy({ type: 'f4', shape: [2, 6], values: VALUES });
    const damaged = fc
      .array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 })
      .map((changes) => {
        const bytes = Buffer.from(whole);
        for (const [at, value] of changes) bytes[at] = value;
        return bytes;
      });
    const cut = fc.nat(whole.length - 1).map((length) => whole.subarray(0, length));
    const dictionary = fc
      .tuple(
        fc.constantFrom('<f4', '>f8', '|u1', '<i8', '|O', '<f16', ''),
        fc.array(fc.nat(), { maxLength: 5 }),
        fc.string(),
      )
      .map(([descr, shape, rest]) =>
        header(`{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.join(',')},)${rest}}`),
      );
    fc.assert(
      fc.property(fc.oneof(damaged, cut, dictionary, fc.uint8Array({ maxLength: 200 })), (bytes) => {
        let data: Float32Array;
        try {
          data = numbersFromNpy(bytes, GREY);
        } catch (error) {
          expect(error).toBeInstanceOf(CodecError);
          return;
        }
        expect(data.length % 6).toBe(0);
        expect(data.every((value) => value >= 0 && value <= 1)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('application/x-npy', () => {
  let store: FixtureStore;
  let running: RunningService;
  beforeAll(async () => {
    store = await fixtureStore();
    running = await startService(store.directory);
  });
  afterAll(async () => {
    await running.close();
    await store.remove();
  });

  const items = [0, 1].map((n) => Array.from({ length: 64 }, (_, i) => ((i + n) % 8) / 8));
  const post = (path: string, body: Buffer) =>
    request(running.url).post(path).set('content-type', 'application/x-npy').send(body);
  const array = encodeNpy({ type: 'f8', shape: [2, 64], values: items.flat() });

  it.each(['/encode', '/reconstruct', '/anomaly-score'])('of items is taken by %s as JSON is', async (path) => {
    const json = await request(running.url).post(path).send({ inputs: items });
    const npy = await post(path, array);
    expect(npy.status).toBe(200);
    expect(npy.text).toBe(json.text);
  });

  it('of bytes is taken as an image file is', async () => {
    const bytes = items[0]?.map((value) => Math.round(value * 255)) ?? [];
    const npy = await post('/encode', encodeNpy({ type: 'u1', shape: [8, 8], values: bytes }));
    const json = await request(running.url)
      .post('/encode')
      .send({ inputs: [bytes.map((byte) => byte / 255)] });
    expect(npy.body.mean[0]).toHaveLength(4);
    for (const [i, value] of json.body.mean[0].entries()) expect(npy.body.mean[0][i]).toBeCloseTo(value, 5);
  });

  it('of latents is taken by /decode', async () => {
    const latents = [
      [1, 2, 3, 4],
      [0, -1, 0, 1],
    ];
    const json = await request(running.url).post('/decode').send({ latents });
    const npy = await post('/decode', encodeNpy({ type: 'f4', shape: [2, 4], values: latents.flat() }));
    expect(npy.text).toBe(json.text);
  });

  it.each([
    ['/encode?sample=true&seed=7', [2, 3, 4]],
    ['/reconstruct', [2, 1, 8, 8]],
    ['/anomaly-score', [2, 1, 8, 8]],
  ])('is had from %s, with the numbers of octet-stream', async (path, shape) => {
    const [npy, raw] = await Promise.all(
      ['application/x-npy', 'application/octet-stream'].map((type) =>
        post(path, array).set('accept', type).buffer().parse(bytesOf),
      ),
    );
    expect(npy?.headers['content-type']).toBe('application/x-npy');
    expect(npy?.headers['elbo-model']).toBe('grey/2');
    expect(npy?.body.subarray(0, 128)).toEqual(npyFromNumbers(new Float32Array(0), shape));
    expect(npy?.body.subarray(128)).toEqual(raw?.body);
  });

  it('is had from /sample', async () => {
    const { body } = await request(running.url)
      .post('/sample?count=3&seed=1')
      .set('accept', 'application/x-npy')
      .buffer()
      .parse(bytesOf);
    const samples = (await request(running.url).post('/sample?count=3&seed=1')).body.outputs.flat(3);
    expect([...numbersFromNpy(body, { shape: [1, 8, 8] })]).toEqual(samples);
  });

  it('that is hostile is refused by name, and the next request is answered', async () => {
    const lying = Buffer.concat([
      npyHeader(`{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999999999999, 64), }`),
      Buffer.alloc(64),
    ]);
    const { status, body } = await post('/encode', lying);
    expect(status).toBe(422);
    expect(body).toMatchObject({
      code: 'INVALID_INPUT',
      detail: expect.stringContaining('64 bytes of values; expected '),
    });
    const many = encodeNpy({ type: 'u1', shape: [300, 64], values: new Uint8Array(300 * 64) });
    expect((await post('/encode', many)).body.code).toBe('TOO_MANY_ITEMS');
    expect((await post('/encode', array)).status).toBe(200);
  });
});

it('documents the type where it is taken and given', async () => {
  const { paths } = JSON.parse(await readFile(new URL('../../openapi/openapi.json', import.meta.url), 'utf8'));
  for (const path of ['/encode', '/decode', '/reconstruct', '/anomaly-score', '/interpolate']) {
    expect(paths[path].post.requestBody.content).toHaveProperty(['application/x-npy']);
    expect(paths[path].post.responses[200].content).toHaveProperty(['application/x-npy']);
  }
});
