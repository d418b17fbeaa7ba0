import { fileURLToPath } from 'node:url';
import type { Examples } from '@elbo/training/data/dataset';
import { loadDataset } from '@elbo/training/data/datasets';
import sharp from 'sharp';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { greyPng, pixelsOf } from '../server/support/pictures.js';
import { type RunningService, startService } from '../server/support/running-service.js';
import { dataDirectory } from '../support/data-directory.js';
import { bytesOf } from '../support/examples.js';

interface Scored {
  readonly score: number;
  readonly p_value: number;
}

const store = fileURLToPath(new URL('../../models', import.meta.url));
const dataDir = dataDirectory();
const SIZE = 28 * 28;

let server: RunningService;
beforeAll(async () => {
  server = await startService(store, { maxBatch: 64, maxQueue: 4096, bodyLimit: 8 << 20 });
});
afterAll(() => server.close());

async function scoresOf(pixels: Float32Array): Promise<Scored[]> {
  const { body } = await request(server.url)
    .post('/anomaly-score?model=mnist')
    .set('content-type', 'application/octet-stream')
    .send(Buffer.from(pixels.buffer, pixels.byteOffset, pixels.byteLength))
    .expect(200);
  return body.scores;
}

async function scoresOfExamples(examples: Examples): Promise<Scored[]> {
  const { count } = examples;
  const values = await bytesOf(examples);
  const scores: Scored[] = [];
  for (let start = 0; start < count; start += 1000) {
    const bytes = values.subarray(start * SIZE, Math.min(count, start + 1000) * SIZE);
    scores.push(...(await scoresOf(Float32Array.from(bytes, (byte) => byte / 255))));
  }
  return scores;
}

async function samples(count: number, seed: number): Promise<Float32Array> {
  const { body } = await request(server.url)
    .post(`/sample?model=mnist&count=${count}&seed=${seed}`)
    .set('accept', 'application/octet-stream')
    .responseType('blob')
    .expect(200);
  return new Float32Array(new Uint8Array(body).buffer);
}

describe('the served mnist model', () => {
  test('samples pass for normal far more often than what they are turned into', async () => {
    const drawn = await samples(200, 11);
    const normalShare = (scores: readonly Scored[]) =>
      scores.filter(({ p_value }) => p_value > 0.01).length / scores.length;
    expect(normalShare(await scoresOf(drawn))).toBeGreaterThan(0.5);
    expect(normalShare(await scoresOf(drawn.map((value) => 1 - value)))).toBeLessThan(0.01);
    const shuffled = drawn.map((_, i) => drawn[i - (i % SIZE) + ((i * 397) % SIZE)]);
    expect(normalShare(await scoresOf(shuffled))).toBeLessThan(0.05);
  });

  test('the same seed gives the same picture, byte for byte, another seed another one', async () => {
    const grid = async (seed: number): Promise<Buffer> => {
      const { body } = await request(server.url)
        .post(`/sample?count=64&seed=${seed}`)
        .set('accept', 'image/png')
        .responseType('blob')
        .expect(200);
      return body;
    };
    const [first, again, other] = [await grid(7), await grid(7), await grid(8)];
    expect(first.equals(again)).toBe(true);
    expect(first.equals(other)).toBe(false);
    const { width, height, channels, data } = await pixelsOf(first);
    expect([width, height, channels]).toEqual([8 * 30 - 2, 8 * 30 - 2, 1]);
    expect(data.filter((pixel) => pixel > 200).length).toBeGreaterThan(2000);
  });

  test('a reconstruction is near what was sent', async () => {
    const drawn = await samples(1, 5);
    const png = await greyPng(
      Uint8Array.from(drawn, (value) => Math.round(255 * value)),
      28,
      28,
    );
    const { body } = await request(server.url)
      .post('/reconstruct')
      .set('content-type', 'image/png')
      .set('accept', 'image/png')
      .responseType('blob')
      .send(png)
      .expect(200);
    const { data } = await pixelsOf(body);
    const error = data.reduce((sum, pixel, i) => sum + Math.abs(pixel - 255 * drawn[i]), 0) / SIZE;
    const distanceToBlank = drawn.reduce((sum, value) => sum + 255 * value, 0) / SIZE;
    expect(error).toBeLessThan(0.5 * distanceToBlank);
  });

  test.each(['png', 'jpeg', 'webp'] as const)('a large colour photo as %s is a score, not a crash', async (format) => {
    const [width, height] = [1600, 900];
    const pixels = new Uint8Array(width * height * 3).map(
      (_, i) => 128 + 127 * Math.sin(i / 4000) * Math.cos((i % 4800) / 700),
    );
    const photo = await sharp(pixels, { raw: { width, height, channels: 3 } })
      .toFormat(format)
      .toBuffer();
    const { body } = await request(server.url)
      .post('/anomaly-score')
      .set('content-type', `image/${format}`)
      .send(photo)
      .expect(200);
    expect(body.scores[0].is_anomaly).toBe(true);
    expect(body.scores[0].p_value).toBeLessThan(0.001);
  });

  test.skipIf(dataDir === undefined)(
    'tells Fashion-MNIST from MNIST and gives uniform p-values on MNIST (needs a data directory)',
    async () => {
      const [digits, fashion] = await Promise.all(
        ['mnist', 'fashion-mnist'].map(async (name) => scoresOfExamples((await loadDataset(name, { dataDir })).test)),
      );
      const distance = kolmogorovSmirnov(digits.map(({ p_value }) => p_value));
      const area = auroc(
        fashion.map(({ score }) => score),
        digits.map(({ score }) => score),
      );
      console.info(
        `AUROC of Fashion-MNIST against MNIST ${area.toFixed(4)}; KS distance of MNIST p-values ${distance.toFixed(4)}`,
      );
      expect(digits).toHaveLength(10_000);
      expect(fashion).toHaveLength(10_000);
      expect(area).toBeGreaterThanOrEqual(0.98);
      expect(distance).toBeLessThanOrEqual(0.05);
    },
  );
});

/** Largest distance between the empirical distribution and the uniform one on [0, 1]. */
function kolmogorovSmirnov(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const n = sorted.length;
  return Math.max(...sorted.map((value, i) => Math.max((i + 1) / n - value, value - i / n)));
}

/** Probability that an anomaly scores above a normal example; ties count half. */
function auroc(anomalies: readonly number[], normals: readonly number[]): number {
  const all = [
    ...anomalies.map((score) => ({ score, anomaly: true })),
    ...normals.map((score) => ({ score, anomaly: false })),
  ];
  all.sort((a, b) => a.score - b.score);
  let rankSum = 0;
  for (let start = 0; start < all.length; ) {
    let end = start;
    while (end < all.length && all[end].score === all[start].score) end++;
    const rank = (start + 1 + end) / 2;
    for (let i = start; i < end; i++) if (all[i].anomaly) rankSum += rank;
    start = end;
  }
  const n = anomalies.length;
  return (rankSum - (n * (n + 1)) / 2) / (n * normals.length);
}
