import { drawLatents, encodeMixture, RandomSource } from '@elbo/models';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { expectedDecoding, expectedMean, fixtureModel, GREY_INPUT, writeFixture } from './support/fixture-models.js';
import { greyPng, pixelsOf } from './support/pictures.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

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

function close(actual: readonly number[], expected: readonly number[]): void {
  expect(actual).toHaveLength(expected.length);
  for (const [i, value] of expected.entries()) expect(actual[i]).toBeCloseTo(value, 5);
}

describe('POST /decode', () => {
  const latents = [
    [0.5, -1, 2, 0],
    [0, 0, 0, 0],
  ];

  it('gives the items that the model has by calculation, nested as its shape', async () => {
    const { body } = await request(running.url).post('/decode').send({ latents });
    expect(body.shape).toEqual([2, 1, 8, 8]);
    for (const [n, latent] of latents.entries()) close(body.outputs[n].flat(2), expectedDecoding(store.grey, latent));
  });

  it('takes and gives raw float32', async () => {
    const json = (await request(running.url).post('/decode').send({ latents })).body;
    const { body, headers } = await request(running.url)
      .post('/decode')
      .set('content-type', 'application/octet-stream')
      .set('accept', 'application/octet-stream')
      .send(Buffer.from(Float32Array.from(latents.flat()).buffer));
    expect(headers['elbo-shape']).toBe('2,1,8,8');
    expect([...new Float32Array(new Uint8Array(body).buffer)]).toEqual(json.outputs.flat(3));
  });

  it('says where a latent is too extreme for the model', async () => {
    const { status, body } = await request(running.url)
      .post('/decode')
      .send({
        latents: [
          [0, 0, 0, 0],
          [3e38, 3e38, 3e38, -3e38],
        ],
      });
    // Either a saturated sigmoid or a refusal, never a null among the numbers.
    if (status === 200) expect(body.outputs.flat(3).every(Number.isFinite)).toBe(true);
    else expect(body).toMatchObject({ status: 422, code: 'OUTPUT_NOT_FINITE' });
  });
});

describe('POST /sample', () => {
  const post = (query = '') => request(running.url).post(`/sample${query}`);

  it('decodes draws from the prior that the seed fixes', async () => {
    const { body } = await post('?count=3&seed=7');
    const expected = new RandomSource(7).fillNormal(new Float32Array(12));
    expect(body.latents.flat()).toEqual([...expected]);
    for (const n of [0, 1, 2]) close(body.outputs[n].flat(2), expectedDecoding(store.grey, body.latents[n]));
  });

  it('draws from the mixture that the prior of a model is', async () => {
    const mixture = {
      components: 2,
      dimensions: 3,
      weights: Float32Array.of(0.5, 0.5),
      means: Float32Array.of(-3, -3, -3, 3, 3, 3),
      deviations: new Float32Array(6).fill(0.01),
    };
    const prior = { kind: 'vamp', components: 2, dimensions: 3 };
    const fixture = fixtureModel({ name: 'vamp', input: GREY_INPUT, change: (draft) => ({ ...draft, prior }) });
    fixture.files.set('prior.f32', encodeMixture(mixture));
    const directory = temporaryDirectory();
    await writeFixture(directory, fixture);
    const service = await startService(directory);
    try {
      const { body } = await request(service.url).post('/sample?count=40&seed=7');
      expect(body.latents.flat()).toEqual([...drawLatents({ latentSize: 4, mixture }, 40, 7)]);
      const signs = new Set(body.latents.map(([first]: number[]) => Math.round(first)));
      expect(signs).toEqual(new Set([-3, 3]));
      close(body.outputs[5].flat(2), expectedDecoding(fixture, body.latents[5]));
    } finally {
      await service.close();
    }
  });

  it('gives the same bytes for the same seed, in every type', async () => {
    for (const type of ['application/json', 'image/png', 'application/octet-stream']) {
      const [first, again, other] = await Promise.all(
        [7, 7, 8].map((seed) => post(`?count=20&seed=${seed}`).set('accept', type).buffer(true).parse(binary)),
      );
      expect(first?.body).toEqual(again?.body);
      expect(first?.body).not.toEqual(other?.body);
      expect(first?.headers['elbo-seed']).toBe('7');
    }
  });

  it('draws the same first samples for any count', async () => {
    const few = (await post('?count=3&seed=9&model=table')).body;
    const many = (await post('?count=50&seed=9&model=table')).body;
    expect(many.latents.slice(0, 3)).toEqual(few.latents);
    expect(many.outputs.slice(0, 3)).toEqual(few.outputs);
  });

  it('needs no parameters, no body and no content type', async () => {
    const [bare, again] = [await post(), await post()];
    expect(bare.body).toMatchObject({ temperature: 1, shape: [16, 1, 8, 8] });
    expect(bare.body.seed).not.toBe(again.body.seed);
    expect((await post('').set('content-type', 'application/x-www-form-urlencoded')).status).toBe(200);
    expect((await post('').set('content-type', 'application/json')).status).toBe(200);
    expect((await post(`?seed=${bare.body.seed}`)).body).toEqual(bare.body);
  });

  it('takes its parameters in the body as well, but each only once', async () => {
    const inQuery = await post('?count=2&seed=7&temperature=0.5');
    const inBody = await post().send({ count: 2, seed: 7, temperature: 0.5 });
    expect(inBody.text).toBe(inQuery.text);
    const twice = await post('?count=2').send({ count: 2 });
    expect(twice.body).toMatchObject({ status: 400, detail: 'count is given twice, in the query and in the body' });
  });

  it.each(['count=-1e400', 'count=1e400', 'seed=Infinity', 'seed=1e400', 'temperature=1e400', 'temperature=-Infinity'])(
    'refuses %s, and counts the queue rightly afterwards',
    async (query) => {
      const before = running.service.admitted;
      const { status, body } = await request(running.url).post(`/sample?${query}`);
      expect(status).toBe(400);
      expect(body.detail).toMatch(/^query parameter (count|seed|temperature) must be/);
      expect(running.service.admitted).toBe(before);
    },
  );

  it('scales the latents by the temperature', async () => {
    const warm = (await post('?count=4&seed=7')).body.latents.flat() as number[];
    const half = (await post('?count=4&seed=7&temperature=0.5')).body.latents.flat() as number[];
    close(
      half,
      warm.map((value) => value / 2),
    );
    const cold = (await post('?count=2&seed=7&temperature=0')).body;
    expect(new Set(cold.latents.flat().map(Math.abs))).toEqual(new Set([0]));
  });

  it('makes one PNG, a grid of all samples', async () => {
    const json = (await post('?count=64&seed=7')).body;
    const png = await post('?count=64&seed=7').set('accept', 'image/png');
    expect(png.headers['content-type']).toBe('image/png');
    const { data, width, height } = await pixelsOf(png.body);
    expect([width, height]).toEqual([78, 78]);
    // The last sample stands in the last cell.
    const levels = json.outputs[63].flat(2).map((value: number) => Math.round(value * 255));
    const cell = Array.from({ length: 64 }, (_, i) => data[(70 + Math.floor(i / 8)) * width + 70 + (i % 8)]);
    expect(cell).toEqual(levels);
  });
});

describe('POST /reconstruct', () => {
  it('decodes the mean of the posterior', async () => {
    const item = Array.from({ length: 64 }, (_, i) => i / 64);
    const { body } = await request(running.url)
      .post('/reconstruct')
      .send({ inputs: [item] });
    close(body.outputs[0].flat(2), expectedDecoding(store.grey, expectedMean(store.grey, item)));
  });

  it('gives a picture of a picture', async () => {
    const picture = await greyPng(
      Uint8Array.from({ length: 64 }, (_, i) => i),
      8,
      8,
    );
    const { body, headers } = await request(running.url)
      .post('/reconstruct')
      .set('content-type', 'image/png')
      .set('accept', 'image/png')
      .send(picture);
    expect(headers['content-type']).toBe('image/png');
    expect(await pixelsOf(body)).toMatchObject({ width: 8, height: 8, channels: 1 });
  });

  it('keeps the value range and the colours of an RGB model', async () => {
    const item = Array.from({ length: 90 }, (_, i) => i / 45 - 1);
    const { body } = await request(running.url)
      .post('/reconstruct?model=rgb')
      .send({ inputs: [item] });
    expect(body.shape).toEqual([1, 3, 6, 5]);
    close(body.outputs[0].flat(2), expectedDecoding(store.rgb, expectedMean(store.rgb, item)));
  });
});

function binary(response: request.Response, done: (error: Error | null, body: Buffer) => void): void {
  const chunks: Buffer[] = [];
  const stream = response as unknown as NodeJS.ReadableStream;
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('end', () => done(null, Buffer.concat(chunks)));
}
