import { latentPath } from '@elbo/server/routes/latent-path';
import fc from 'fast-check';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bytesOf, parseLines } from './support/bodies.js';
import { expectedDecoding, expectedMean, fixtureModel, GREY_INPUT, writeFixture } from './support/fixture-models.js';
import { greyPng, pixelsOf } from './support/pictures.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

let store: FixtureStore;
let running: RunningService;
const condition = { classes: 3, frequencies: [0.5, 0.25, 0.25], names: ['a', 'b', 'c'] };
const conditional = fixtureModel({ name: 'labelled', input: GREY_INPUT, condition });

beforeAll(async () => {
  store = await fixtureStore();
  await writeFixture(store.directory, conditional);
  running = await startService(store.directory);
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

const post = (query = '') => request(running.url).post(`/interpolate${query}`);
const ends = [
  [1, -2, 0.5, 0],
  [-1, 1, 2, 4],
];
const items = [0, 1].map((n) => Array.from({ length: 64 }, (_, i) => ((i * (n + 1)) % 8) / 8));

function near(actual: readonly number[], expected: readonly number[]): void {
  expect(actual).toHaveLength(expected.length);
  for (const [i, value] of expected.entries()) expect(actual[i]).toBeCloseTo(value, 5);
}

describe('a latent path', () => {
  const vector = fc.float32Array({ minLength: 3, maxLength: 3, min: -10, max: 10, noNaN: true });

  it('leads from one end to the other, whatever they are', () => {
    fc.assert(
      fc.property(
        vector,
        vector,
        fc.integer({ min: 2, max: 20 }),
        fc.constantFrom('linear', 'spherical'),
        (a, b, n, path) => {
          const data = latentPath(a, b, n, path);
          expect(data).toHaveLength(n * 3);
          expect(data.subarray(0, 3)).toEqual(a);
          expect(data.subarray(-3)).toEqual(b);
          expect(data.every(Number.isFinite)).toBe(true);
        },
      ),
    );
  });

  it('is straight and even', () => {
    expect([...latentPath(Float32Array.of(0, 4), Float32Array.of(2, 0), 3, 'linear')]).toEqual([0, 4, 1, 2, 2, 0]);
  });

  it('that is spherical keeps the length where both ends have it, and turns evenly', () => {
    const data = latentPath(Float32Array.of(3, 0), Float32Array.of(0, 3), 4, 'spherical');
    for (const [i, angle] of [0, 30, 60, 90].entries()) {
      const radians = (angle * Math.PI) / 180;
      near([...data.subarray(2 * i, 2 * i + 2)], [3 * Math.cos(radians), 3 * Math.sin(radians)]);
    }
  });

  it.each([
    ['the origin', [0, 0], [2, 2]],
    ['the same direction', [1, 1], [2, 2]],
    ['opposite directions', [1, 1], [-1, -1]],
  ])('that is spherical is straight between ends in %s', (_name, a, b) => {
    const [from, to] = [Float32Array.from(a), Float32Array.from(b)];
    expect(latentPath(from, to, 5, 'spherical')).toEqual(latentPath(from, to, 5, 'linear'));
  });
});

describe('POST /interpolate', () => {
  it('decodes the way from one latent to another', async () => {
    const { status, body } = await post().send({ latents: ends, steps: 5 });
    expect(status).toBe(200);
    expect(body).toMatchObject({ model: 'grey', path: 'linear', shape: [5, 1, 8, 8] });
    near(body.latents[2], [0, -0.5, 1.25, 2]);
    for (const n of [0, 2, 4]) near(body.outputs[n].flat(2), expectedDecoding(store.grey, body.latents[n]));
  });

  it('leads from one posterior mean to the other, in eight steps if not told otherwise', async () => {
    const { body } = await post('?path=spherical').send({ inputs: items });
    expect(body.shape).toEqual([8, 1, 8, 8]);
    expect(body.path).toBe('spherical');
    for (const n of [0, 1]) near(body.latents[n * 7], expectedMean(store.grey, items[n] ?? []));
    near(body.outputs[3].flat(2), expectedDecoding(store.grey, body.latents[3]));
  });

  it('takes two images as a form, and two rows of numbers as bytes', async () => {
    const [a, b] = await Promise.all(
      items.map((item) =>
        greyPng(
          Uint8Array.from(item, (value) => Math.round(value * 255)),
          8,
          8,
        ),
      ),
    );
    const form = await post('?steps=3')
      .attach('from', a ?? '', 'a')
      .attach('to', b ?? '', 'b');
    expect(form.body.shape).toEqual([3, 1, 8, 8]);
    const bytes = await post('?steps=3')
      .set('content-type', 'application/octet-stream')
      .send(Buffer.from(Float32Array.from(items.flat()).buffer));
    expect(bytes.body).toEqual((await post('?steps=3').send({ inputs: items })).body);
  });

  it('answers in every type', async () => {
    const json = (await post().send({ latents: ends, steps: 5 })).body;
    const as = (type: string) => post('?steps=5').set('accept', type).send({ latents: ends }).buffer().parse(bytesOf);
    const raw = (await as('application/octet-stream')).body as Buffer;
    expect([...new Float32Array(new Uint8Array(raw).buffer)]).toEqual(json.outputs.flat(3));
    expect(((await as('application/x-npy')).body as Buffer).subarray(128)).toEqual(raw);
    expect(await pixelsOf((await as('image/png')).body)).toMatchObject({ width: 28, height: 18 });
    const lines = parseLines((await as('application/x-ndjson')).body.toString());
    expect(lines).toEqual(json.outputs.map((output: unknown, i: number) => ({ latent: json.latents[i], output })));
  });

  it('takes one class for the whole path', async () => {
    const inQuery = (await post('?model=labelled&label=b').send({ inputs: items, steps: 3 })).body;
    expect(inQuery.labels).toEqual([1, 1, 1]);
    near(inQuery.latents[0], expectedMean(conditional, items[0] ?? [], 1));
    near(inQuery.outputs[2].flat(2), expectedDecoding(conditional, inQuery.latents[2], 1));
    expect((await post('?model=labelled').send({ inputs: items, steps: 3, label: 1 })).body).toEqual(inQuery);
  });

  it.each<[string, unknown, number, string]>([
    ['', { inputs: items, latents: ends }, 400, 'expected one of the body fields inputs and latents'],
    ['', {}, 400, 'expected one of the body fields inputs and latents'],
    ['', { inputs: items.slice(1) }, 400, 'body field inputs must NOT have fewer than 2 items'],
    ['', { latents: [...ends, ...ends] }, 400, 'body field latents must NOT have more than 2 items'],
    ['', { latents: [[1], [2]] }, 422, 'latents[0] has 1 numbers; expected 4 (4)'],
    ['', { latents: ends, steps: 1 }, 400, 'body field steps must be >= 2'],
    ['?steps=257', { latents: ends }, 400, 'query parameter steps must be <= 256'],
    ['?steps=3', { latents: ends, steps: 3 }, 400, 'steps is given twice, in the query and in the body'],
    ['?label=b', { latents: ends, label: 1 }, 400, 'label is given twice'],
    ['?path=curly', { latents: ends }, 400, 'query parameter path must be equal to one of the allowed values'],
    ['?model=labelled', { latents: ends }, 400, 'query parameter label (or, in JSON, body field label) is missing'],
    ['', { latents: ends, label: 1 }, 400, 'body field label is given; expected none'],
    ['', { latents: ends, speed: 1 }, 400, '"speed" is unknown; expected inputs, latents, steps, path, label'],
  ])('%s refuses %j', async (query, body, status, detail) => {
    const answer = await post(query).send(body as object);
    expect(answer.status).toBe(status);
    expect(answer.body.detail).toContain(detail);
  });

  it('refuses another number of items than two, and labels in a form', async () => {
    const picture = await greyPng(new Uint8Array(64), 8, 8);
    const one = await post().set('content-type', 'image/png').send(picture);
    expect(one.body).toMatchObject({ status: 400, detail: 'the body has 1 items; expected 2, the ends of the path' });
    const labelled = await post('?model=labelled&label=b')
      .field('labels', 'a')
      .attach('from', picture, 'a')
      .attach('to', picture, 'b');
    expect(labelled.body.detail).toContain('form field labels is given; expected the query parameter label');
  });
});
