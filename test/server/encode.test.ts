import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectedLogVariance, expectedMean } from './support/fixture-models.js';
import { greyPng } from './support/pictures.js';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

let store: FixtureStore;
let running: RunningService;
const bytes = Uint8Array.from({ length: 64 }, (_, i) => (i * 37) % 256);
const item = Array.from(bytes, (byte) => byte / 255);
const float32 = (values: readonly number[]) => Buffer.from(Float32Array.from(values).buffer);

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

describe('POST /encode', () => {
  it('gives the parameters that the model has by calculation', async () => {
    const { status, body, headers } = await request(running.url)
      .post('/encode')
      .send({ inputs: [item] });
    expect(status).toBe(200);
    expect(headers['content-type']).toMatch(/^application\/json/);
    expect(body).toMatchObject({ model: 'grey', version: '2' });
    close(body.mean[0], expectedMean(store.grey, item));
    close(body.log_variance[0], expectedLogVariance(store.grey, item));
    expect(body).not.toHaveProperty('z');
  });

  it('gives the same for the same item in every content type', async () => {
    const png = await greyPng(bytes, 8, 8);
    const post = (type: string) => request(running.url).post('/encode').set('content-type', type);
    const answers = await Promise.all([
      post('application/json').send({ inputs: [item] }),
      post('application/json').send({ inputs: [[Array.from({ length: 8 }, (_, y) => item.slice(y * 8, y * 8 + 8))]] }),
      post('application/json').send({ inputs: [png.toString('base64')] }),
      post('application/json').send({ inputs: [png.toString('base64url')] }),
      post('application/json').send({ inputs: [`data:image/png;base64,${png.toString('base64')}`] }),
      post('image/png').send(png),
      // The bytes say what an image is.
      post('image/webp').send(png),
      post('application/octet-stream').send(float32(item)),
      post('Application/JSON; charset=utf-8').send(JSON.stringify({ inputs: [item] })),
    ]);
    for (const { status, body } of answers) {
      expect(status).toBe(200);
      expect(body).toEqual(answers[0]?.body);
    }
  });

  it('takes several items, numbers and images mixed', async () => {
    const png = (await greyPng(bytes, 8, 8)).toString('base64');
    const zero = Array(64).fill(0);
    const { body } = await request(running.url)
      .post('/encode')
      .send({ inputs: [zero, png, item] });
    close(body.mean[0], expectedMean(store.grey, zero));
    expect(body.mean[1]).toEqual(body.mean[2]);
  });

  it('answers with the model and version that are asked for', async () => {
    const old = await request(running.url)
      .post('/encode?model=grey&version=1')
      .send({ inputs: [item] });
    const latest = await request(running.url)
      .post('/encode?model=grey')
      .send({ inputs: [item] });
    expect([old.body.version, latest.body.version]).toEqual(['1', '2']);
    expect(old.body.mean).not.toEqual(latest.body.mean);
    const row = [1, -2, 3, -4, 5];
    const table = await request(running.url)
      .post('/encode?model=table')
      .send({ inputs: [row] });
    close(table.body.mean[0], expectedMean(store.table, row));
  });

  it('draws z by a seed, the same each time', async () => {
    const post = (query: string) =>
      request(running.url)
        .post(`/encode?${query}`)
        .send({ inputs: [item, item] });
    const [first, again, other] = await Promise.all([
      post('sample=true&seed=1'),
      post('sample=true&seed=1'),
      post('sample=true&seed=2'),
    ]);
    expect(first.text).toBe(again.text);
    expect(first.body.seed).toBe(1);
    expect(first.body.z).not.toEqual(other.body.z);
    expect(first.body.z[0]).not.toEqual(first.body.z[1]);
    expect(first.body.mean).toEqual(other.body.mean);
  });

  it('draws a seed and returns it where none is given', async () => {
    const [a, b] = await Promise.all(
      [0, 1].map(() =>
        request(running.url)
          .post('/encode?sample=true')
          .send({ inputs: [item] }),
      ),
    );
    expect(a?.body.seed).not.toBe(b?.body.seed);
    const again = await request(running.url)
      .post(`/encode?sample=true&seed=${a?.body.seed}`)
      .send({ inputs: [item] });
    expect(again.text).toBe(a?.text);
  });

  it('draws z with the mean and variance of the posterior', async () => {
    const { body } = await request(running.url)
      .post('/encode?sample=true&seed=5')
      .send({ inputs: Array(200).fill(item) });
    const deviations = (body.z as number[][]).map((z, n) =>
      z.map((value, i) => (value - body.mean[n][i]) / Math.exp(body.log_variance[n][i] / 2)),
    );
    const all = deviations.flat();
    const mean = all.reduce((sum, value) => sum + value, 0) / all.length;
    const variance = all.reduce((sum, value) => sum + value ** 2, 0) / all.length;
    expect(Math.abs(mean)).toBeLessThan(0.15);
    expect(Math.abs(variance - 1)).toBeLessThan(0.2);
  });

  it('gives raw float32 where that is accepted: mean, then log_variance, of each item', async () => {
    const post = (query: string) =>
      request(running.url)
        .post(`/encode${query}`)
        .set('accept', 'application/octet-stream')
        .send({ inputs: [item, Array(64).fill(0)] });
    const json = (
      await request(running.url)
        .post('/encode?sample=true&seed=3')
        .send({ inputs: [item, Array(64).fill(0)] })
    ).body;
    const { body, headers } = await post('?sample=true&seed=3');
    expect(headers).toMatchObject({
      'content-type': 'application/octet-stream',
      'elbo-shape': '2,3,4',
      'elbo-model': 'grey/2',
      'elbo-seed': '3',
    });
    const values = [...new Float32Array(new Uint8Array(body).buffer)];
    expect(values).toEqual([0, 1].flatMap((n) => [json.mean[n], json.log_variance[n], json.z[n]]).flat());
    expect((await post('')).headers['elbo-shape']).toBe('2,2,4');
  });

  it('answers hundreds of requests at once, each with its own result', async () => {
    const answers = await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const own = Array(64).fill(i / 200);
        const { body, status } = await request(running.url)
          .post('/encode')
          .send({ inputs: [own] });
        return { own, status, mean: body.mean[0] as number[] };
      }),
    );
    for (const { own, status, mean } of answers) {
      expect(status).toBe(200);
      close(mean, expectedMean(store.grey, own));
    }
  });
});
