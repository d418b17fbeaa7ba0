import { conformalPValue, conformalThreshold, RandomSource } from '@elbo/models';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectedDecoding, expectedMean } from './support/fixture-models.js';
import { greyPng, pixelsOf, plainPng } from './support/pictures.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

let store: FixtureStore;
let running: RunningService;
const bytes = Uint8Array.from({ length: 64 }, (_, i) => (i * 91) % 256);
const item = Array.from(bytes, (byte) => byte / 255);

beforeAll(async () => {
  store = await fixtureStore();
  running = await startService(store.directory);
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

const post = (query = '') => request(running.url).post(`/anomaly-score${query}`);

describe('POST /anomaly-score', () => {
  it('gives score, components and p-value as calculated', async () => {
    const { body } = await post().send({ inputs: [item, Array(64).fill(0.5)] });
    const mean = expectedMean(store.grey, item);
    const decoded = expectedDecoding(store.grey, mean);
    const reconstruction = item.reduce((sum, value, i) => sum + (value - (decoded[i] ?? 0)) ** 2, 0);
    const norm = mean.reduce((sum, value) => sum + value ** 2, 0);
    const [first] = body.scores;
    expect(first.components.reconstruction).toBeCloseTo(reconstruction, 4);
    expect(first.components.norm).toBeCloseTo(norm, 4);
    expect(first.score).toBeCloseTo(reconstruction + norm, 4);
    expect(first.p_value).toBe(conformalPValue(store.grey.calibrationScores, first.score));
    expect(body).toMatchObject({ model: 'grey', version: '2', false_positive_rate: 0.05 });
    expect(body.threshold).toBe(conformalThreshold(store.grey.calibrationScores, 0.05));
    expect(body.scores).toHaveLength(2);
  });

  it('calls anomalous what is above the threshold of the rate, and only that', async () => {
    const levels = Array.from({ length: 40 }, (_, i) => Array(64).fill(i / 39));
    const rows = Array.from({ length: 40 }, (_, i) => Array(5).fill((i - 20) / 4));
    const seen: boolean[] = [];
    for (const rate of [0.01, 0.05, 0.3, 0.9]) {
      for (const [model, inputs] of [
        ['grey', levels],
        ['table', rows],
      ] as const) {
        const { body } = await post(`?model=${model}&fpr=${rate}`).send({ inputs });
        expect(body.threshold).toBe(conformalThreshold(store[model].calibrationScores, rate));
        for (const { score, p_value, is_anomaly } of body.scores) {
          expect(is_anomaly).toBe(score > body.threshold);
          expect(is_anomaly).toBe(p_value <= rate);
          seen.push(is_anomaly);
        }
      }
    }
    expect(new Set(seen)).toEqual(new Set([true, false]));
  });

  it.each(['0.0001', '0', '-1', '1', '7'])('refuses the rate %s, which 199 scores cannot state', async (rate) => {
    const { status, body } = await post(`?fpr=${rate}`).send({ inputs: [item] });
    expect(status).toBe(422);
    expect(body.code).toBe('RATE_NOT_STATED');
    expect(body.detail).toContain('199 held-out scores; expected 0.005 to 1');
  });

  it('gives scores and the error map in one answer where it is asked', async () => {
    const raw = await post()
      .set('accept', 'application/octet-stream')
      .send({ inputs: [item] });
    const plain = await post().send({ inputs: [item] });
    const { body } = await post('?error_map=true').send({ inputs: [item] });
    expect(body.scores).toEqual(plain.body.scores);
    expect(plain.body.error_map).toBeUndefined();
    expect(body.error_map).toHaveLength(1);
    expect(body.error_map[0][0]).toHaveLength(8);
    expect(body.error_map.flat(3)).toEqual([...new Float32Array(new Uint8Array(raw.body).buffer)]);
  });

  it('gives the error map as float32 and as a picture', async () => {
    const raw = await post()
      .set('accept', 'application/octet-stream')
      .send({ inputs: [item] });
    const json = await post().send({ inputs: [item] });
    const map = [...new Float32Array(new Uint8Array(raw.body).buffer)];
    expect(raw.headers['elbo-shape']).toBe('1,1,8,8');
    expect(map.reduce((sum, value) => sum + value, 0)).toBeCloseTo(json.body.scores[0].components.reconstruction, 4);
    const png = await post()
      .set('accept', 'image/png')
      .send({ inputs: [item, item] });
    expect(await pixelsOf(png.body)).toMatchObject({ width: 450, height: 224, channels: 3 });
  });

  it.each([
    [
      'inverted',
      async () =>
        greyPng(
          bytes.map((byte) => 255 - byte),
          8,
          8,
        ),
    ],
    ['large', async () => plainPng(3000, 2000, 'teal')],
    ['thin', async () => plainPng(1, 900, 'teal')],
  ])('scores an %s picture like any other', async (_name, make) => {
    const { status, body } = await post()
      .set('content-type', 'image/png')
      .send(await make());
    expect(status).toBe(200);
    expect(Number.isFinite(body.scores[0].score)).toBe(true);
  });
});

describe('GET /anomaly-score', () => {
  const get = (query: string) => request(running.url).get(`/anomaly-score?${query}`);

  it('gives what POST gives', async () => {
    const png = await greyPng(bytes, 8, 8);
    const posted = await post('?fpr=0.01').set('content-type', 'image/png').send(png);
    expect((await get(`input=${png.toString('base64url')}&fpr=0.01`)).text).toBe(posted.text);
    const row = [1, -2, 0.5, 4, 5];
    const table = await post('?model=table').send({ inputs: [row] });
    expect((await get(`values=${row.join()}&model=table`)).text).toBe(table.text);
  });

  it('takes queries of 32 KiB', async () => {
    const random = new RandomSource(1);
    const noise = Uint8Array.from({ length: 150 * 150 }, () => random.integer(256));
    const input = (await greyPng(noise, 150, 150)).toString('base64url');
    expect(input.length).toBeGreaterThan(20_000);
    expect(input.length).toBeLessThan(32_768);
    expect((await get(`input=${input}`)).status).toBe(200);
  });

  it.each([
    ['', 400, 'expected one of the query parameters input and values'],
    ['input=QUJD&values=1', 400, 'expected one of the query parameters input and values'],
    ['input=a%20b', 422, 'input is not base64 or base64url'],
    ['input=', 422, 'input is empty'],
    ['input=QUJD', 422, 'input is not a PNG, JPEG or WebP image: it begins with "ABC"'],
    ['input=QUJD&model=table', 422, 'input is an image; this model takes an array of 5 numbers'],
    ['values=1,2&model=table', 422, 'values has 2 numbers; expected 5 (5)'],
    ['values=1,2,3,4,99&model=table', 422, 'values[4] is 99; expected -10 to 10'],
    ['values=1&values=2', 400, 'query parameter values must be string'],
  ])('refuses ?%s', async (query, status, detail) => {
    const { body } = await get(query);
    expect(body.status).toBe(status);
    expect(body.detail).toContain(detail);
  });
});
