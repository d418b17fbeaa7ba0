import { readModel } from '@elbo/models';
import { splitHeldOut } from '@elbo/training/data/dataset';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { readTrainedModel } from '@elbo/training/evaluation/trained-model';
import { fitGaussianMixture } from '@elbo/training/export/gaussian-mixture';
import { checkParity, PARITY_LIMIT } from '@elbo/training/export/parity';
import { float32 } from '@elbo/training/onnx/tensor';
import { train } from '@elbo/training/train';
import { beforeAll, describe, expect, test } from 'vitest';
import { bytesOf } from '../support/examples.js';
import { suiteDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';
import { crossEntropy, decode, encode, klToStandardNormal, sigmoid } from './support/reference-mlp.js';

const configuration = tinyConfiguration({ epochs: 4, activation: 'relu' });
const dataset = barsDataset();
const engine = new OnnxRuntimeEngine(1);
const store = suiteDirectory();
const N = 5;
const x = Float32Array.from((await bytesOf(dataset.test)).subarray(0, N * 36), (byte) => byte / 255);
const rows = Array.from({ length: N }, (_, i) => Array.from(x.subarray(i * 36, (i + 1) * 36)));

let directory: string;
beforeAll(async () => {
  const result = await train({ engine, configuration, dataset, store: store() });
  if (result === undefined) throw new Error('the run stopped');
  directory = result.directory;
});

/** Runs one exported graph on the test rows. */
async function runGraph(role: 'encoder' | 'decoder' | 'scorer', feeds: Parameters<Program['run']>[0]) {
  const program = await engine.load((await readModel(directory)).graphs[role]);
  try {
    return await program.run(feeds);
  } finally {
    await program.release();
  }
}
type Program = Awaited<ReturnType<typeof engine.load>>;

const input = float32(x, [N, 1, 6, 6]);

/** Of a 6 x 6 map: the largest mean of a pixel and its neighbours. */
function largestMean(map: readonly number[]): number {
  const means = map.map((_, at) => {
    const near = map.filter(
      (_, to) => Math.abs((at % 6) - (to % 6)) <= 1 && Math.abs(Math.floor(at / 6) - Math.floor(to / 6)) <= 1,
    );
    return near.reduce((sum, value) => sum + value, 0) / near.length;
  });
  return Math.max(...means);
}

/** Of a 6 x 6 image: squared distances to its mean, and differences between neighbours, summed. */
function detailOf(image: readonly number[]): { contrast: number; variation: number } {
  const mean = image.reduce((sum, value) => sum + value, 0) / image.length;
  let variation = 0;
  for (let row = 0; row < 6; row++) {
    for (let column = 0; column < 6; column++) {
      const here = image[row * 6 + column];
      if (row < 5) variation += Math.abs(image[(row + 1) * 6 + column] - here);
      if (column < 5) variation += Math.abs(image[row * 6 + column + 1] - here);
    }
  }
  return { contrast: image.reduce((sum, value) => sum + (value - mean) ** 2, 0), variation };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2;
}

describe('exported graphs against the formulas in float64', () => {
  test('the encoder gives the posterior', async () => {
    const { weights } = await readTrainedModel(directory);
    const { mean, log_variance } = await runGraph('encoder', { x: input });
    expect(mean.shape).toEqual([N, 3]);
    for (const [i, row] of rows.entries()) {
      const expected = encode(row, weights, 1, 10);
      for (const [j, value] of expected.mean.entries()) expect(Number(mean.data[i * 3 + j])).toBeCloseTo(value, 5);
      for (const [j, value] of expected.logVariance.entries()) {
        expect(Number(log_variance.data[i * 3 + j])).toBeCloseTo(value, 5);
      }
    }
  });

  test('the decoder gives the expected value in data space', async () => {
    const { weights } = await readTrainedModel(directory);
    const z = [0.5, -1.25, 2, 0, 0, 0];
    const { x_mean } = await runGraph('decoder', { z: float32(z, [2, 3]) });
    expect(x_mean.shape).toEqual([2, 1, 6, 6]);
    for (const i of [0, 1]) {
      const expected = decode(z.slice(3 * i, 3 * i + 3), weights, 2).map(sigmoid);
      for (const [j, value] of expected.entries()) expect(Number(x_mean.data[i * 36 + j])).toBeCloseTo(value, 5);
    }
  });

  test("the scorer's reconstruction, KL and posterior scale are those of the posterior mean", async () => {
    const { weights } = await readTrainedModel(directory);
    const outputs = await runGraph('scorer', { x: input });
    expect(outputs.error_map.shape).toEqual([N, 1, 6, 6]);
    for (const [i, row] of rows.entries()) {
      const posterior = encode(row, weights, 1, 10);
      const logits = decode(posterior.mean, weights, 2);
      const entropy = row.reduce(
        (sum, p) => (p > 0 && p < 1 ? sum - p * Math.log(p) - (1 - p) * Math.log(1 - p) : sum),
        0,
      );
      const deviance = crossEntropy(row, logits) - entropy;
      const map = Array.from(outputs.error_map.data.subarray(i * 36, (i + 1) * 36), Number);
      expect(Number(outputs.reconstruction.data[i])).toBeCloseTo(deviance, 3);
      expect(map.reduce((sum, value) => sum + value, 0)).toBeCloseTo(deviance, 3);
      expect(Math.min(...map)).toBeGreaterThanOrEqual(0);
      expect(Number(outputs.kl.data[i])).toBeCloseTo(klToStandardNormal(posterior), 4);
      const scale = Math.sqrt(posterior.logVariance.reduce((sum, v) => sum + Math.exp(v), 0));
      expect(Number(outputs.posterior_scale.data[i])).toBeCloseTo(scale, 4);
      expect(Number(outputs.reconstruction_peak.data[i])).toBeCloseTo(largestMean(map), 4);
    }
  });

  test('reconstruction and KL are held against the contrast and the total variation of the image, and a tenth of what is usual', async () => {
    const { train: examples } = splitHeldOut(dataset.train, configuration);
    const pixels = await bytesOf(examples);
    const usual = Array.from({ length: examples.count }, (_, i) =>
      detailOf(Array.from(pixels.subarray(i * 36, (i + 1) * 36), (byte) => byte / 255)),
    );
    const floor = (part: 'contrast' | 'variation') => 0.1 * median(usual.map((detail) => detail[part]));
    const empty = new Array<number>(36).fill(0.5);
    const images = [...rows, empty];
    const outputs = await runGraph('scorer', { x: float32(Float32Array.from(images.flat()), [N + 1, 1, 6, 6]) });
    for (const [i, image] of images.entries()) {
      const { contrast, variation } = detailOf(image);
      const nats = Number(outputs.reconstruction.data[i]) + Number(outputs.kl.data[i]);
      expect(Number(outputs.nats_by_contrast.data[i])).toBeCloseTo(nats / (contrast + floor('contrast')), 3);
      expect(Number(outputs.nats_by_variation.data[i])).toBeCloseTo(nats / (variation + floor('variation')), 3);
    }
    expect(detailOf(empty)).toEqual({ contrast: 0, variation: 0 });
  });

  test("the latent density is that of the posterior mean in a mixture of normals that is fitted to the training part's", async () => {
    const { weights } = await readTrainedModel(directory);
    const { train: examples } = splitHeldOut(dataset.train, configuration);
    const pixels = await bytesOf(examples);
    const meanOf = (row: readonly number[]) => encode(row, weights, 1, 10).mean;
    const means = Array.from({ length: examples.count }, (_, i) =>
      meanOf(Array.from(pixels.subarray(i * 36, (i + 1) * 36), (byte) => byte / 255)),
    );
    const mixture = fitGaussianMixture(Float32Array.from(means.flat()), {
      components: Math.min(64, Math.floor(examples.count / 50)),
      size: 3,
      seed: configuration.seed,
    });
    const { latent_density: densities } = await runGraph('scorer', { x: input });
    for (const [i, row] of rows.entries()) {
      const z = meanOf(row);
      const density = Array.from(mixture.logWeight, (weight, k) =>
        z.reduce((sum, value, j) => {
          const logVariance = mixture.logVariance[k * 3 + j];
          const square = (value - mixture.mean[k * 3 + j]) ** 2 / Math.exp(logVariance);
          return sum - 0.5 * (square + logVariance + Math.log(2 * Math.PI));
        }, weight),
      ).reduce((sum, logarithm) => sum + Math.exp(logarithm), 0);
      expect(Number(densities.data[i])).toBeCloseTo(-Math.log(density), 2);
    }
  });

  test('a score does not depend on the other examples of its batch', async () => {
    const together = await runGraph('scorer', { x: input });
    for (let i = 0; i < N; i++) {
      const alone = await runGraph('scorer', { x: float32(x.slice(i * 36, (i + 1) * 36), [1, 1, 6, 6]) });
      expect(Number(alone.score.data[0])).toBeCloseTo(Number(together.score.data[i]), 4);
    }
  });
});

describe('the parity check', () => {
  test('passes the exported files and refuses other weights, naming the output', async () => {
    const { graphs } = await readModel(directory);
    const { model, weights } = await readTrainedModel(directory);
    const exported = {
      encoder: await engine.load(graphs.encoder),
      decoder: await engine.load(graphs.decoder),
      scorer: await engine.load(graphs.scorer),
    };
    expect(await checkParity(engine, model, weights, exported, { x: input })).toBeLessThanOrEqual(PARITY_LIMIT);

    const changed = new Map([...weights].map(([name, values]) => [name, values.slice()]));
    for (const [name, values] of changed) if (name === 'decoder.output.bias') values[7] += 1e-3;
    await expect(checkParity(engine, model, changed, exported, { x: input })).rejects.toThrow(
      /x_mean of the exported graphs differs/,
    );
    for (const [name, values] of changed) if (name === 'decoder.output.bias') values[7] = Number.NaN;
    await expect(checkParity(engine, model, changed, exported, { x: input })).rejects.toThrow(
      /differs from the trained graph by NaN/,
    );
  });
});
