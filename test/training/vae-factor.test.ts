import { readFileSync } from 'node:fs';
import { RandomSource } from '@elbo/models';
import { inMemory } from '@elbo/training/data/dataset';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { type PosteriorBatch, posteriors } from '@elbo/training/evaluation/posteriors';
import { readTrainedModel } from '@elbo/training/evaluation/trained-model';
import { float32 } from '@elbo/training/onnx/tensor';
import { train } from '@elbo/training/train';
import { Trainer } from '@elbo/training/trainer/trainer';
import { discriminatorOptimiser } from '@elbo/training/vae/adversary';
import { type Configuration, parseConfiguration } from '@elbo/training/vae/configuration';
import { densityRatio, ofMarginals } from '@elbo/training/vae/density-ratio';
import { buildModel } from '@elbo/training/vae/model';
import { type Objective, vaeObjective } from '@elbo/training/vae/objective';
import { describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';
import { evaluate } from './support/harness.js';
import { taughtParameters } from './support/losses.js';

// FactorVAE: the total correlation by a discriminator that is trained beside the model.

const engine = new OnnxRuntimeEngine(1);
const DISCRIMINATOR = { hidden: [64, 64], learning_rate: 2e-3, beta1: 0.5, beta2: 0.9 };
const tiny = (objective: Partial<Configuration['objective']> = {}, changes: Partial<Configuration> = {}) => {
  const base = tinyConfiguration({
    latent_size: 4,
    batch_size: 64,
    encoder: { convolutions: [], hidden: [32] },
    decoder: { convolutions: [], hidden: [32] },
    ...changes,
  });
  return {
    ...base,
    objective: {
      ...base.objective,
      total_correlation: 5,
      total_correlation_by: 'discriminator' as const,
      discriminator: DISCRIMINATOR,
      ...objective,
    },
  };
};

describe('samples of the marginals', () => {
  test('take each latent dimension of another example, with every value in its column', async () => {
    const [count, size] = [7, 4];
    const values = Array.from({ length: count * size }, (_, at) => 10 * Math.floor(at / size) + (at % size));
    const [rolled] = await evaluate([float32(values, [count, size])], (z) => [ofMarginals(z)]);
    const rows = Array.from({ length: count }, (_, i) => [...rolled.data].slice(i * size, (i + 1) * size).map(Number));
    for (const row of rows) {
      expect(row.map((value) => value % 10)).toEqual([0, 1, 2, 3]);
      expect(new Set(row.map((value) => Math.floor(value / 10))).size).toBe(size);
    }
    for (let j = 0; j < size; j++) expect(new Set(rows.map((row) => row[j])).size).toBe(count);
  });

  test('need more examples than latent dimensions', async () => {
    const square = float32(new Float32Array(16), [4, 4]);
    const evaluated = async () => evaluate([square], (z) => [ofMarginals(z)]);
    await expect(evaluated).rejects.toThrow(/^a minibatch has 4 examples; expected more than the 4 latent dimensions/);
  });
});

test('the discriminator comes to estimate the total correlation of a correlated normal', async () => {
  // −½ log det of the correlation matrix, here of [[1, a, 0], [a, 1, b], [0, b, 1]].
  const [a, b] = [0.6, -0.5];
  const expected = -0.5 * Math.log(1 - a * a - b * b);
  const count = 20_000;
  const noise = new RandomSource(3).fillNormal(new Float32Array(3 * count));
  const values = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    const [u, v, w] = noise.subarray(3 * i, 3 * i + 3);
    const second = a * u + Math.sqrt(1 - a * a) * v;
    // Correlated with the second by b, and with the first by 0.
    const slope = b / Math.sqrt(1 - a * a);
    values.set([u, second, slope * v + Math.sqrt(1 - slope * slope) * w], 3 * i);
  }
  const configuration = tinyConfiguration({
    batch_size: 250,
    epochs: 12,
    learning_rate_schedule: { ...tinyConfiguration().learning_rate_schedule, kind: 'linear', final_fraction: 0.05 },
  });
  const ratio = densityRatio(3, [64, 64]);
  const objective: Objective = {
    parameters: ratio.parameters,
    losses: [
      {
        name: 'discriminator',
        parameters: ratio.parameters,
        optimiser: discriminatorOptimiser(configuration.optimiser, DISCRIMINATOR),
      },
    ],
    noise: {},
    schedules: {},
    terms: ['total_correlation'],
    build: ({ x }, weights) => ({
      terms: { total_correlation: ratio.totalCorrelation(x, weights) },
      losses: { discriminator: ratio.loss(x, weights) },
    }),
  };
  const trainer = await Trainer.create(engine, objective, configuration, inMemory(values, [3]));
  const estimates: number[] = [];
  for (let epoch = 0; epoch < configuration.epochs; epoch++) {
    for await (const { values: of } of trainer.runEpoch()) estimates.push(...of.total_correlation);
  }
  await trainer.release();
  const last = estimates.slice(-80);
  expect(Math.abs(estimates[0])).toBeLessThan(0.3 * expected);
  expect(last.reduce((sum, value) => sum + value, 0) / last.length / expected).toBeCloseTo(1, 1);
});

test('each loss teaches its own parameters, by its own slope', async () => {
  const configuration = tiny({}, { activation: 'tanh' });
  const model = buildModel(configuration, [1, 6, 6]);
  const objective = vaeObjective(model, configuration);
  const [vae, discriminator] = objective.losses;
  expect(vae.parameters).toEqual(model.parameters);
  expect(discriminator.parameters.map(({ name }) => name)).toEqual(
    ['0', '1', 'output'].flatMap((layer) => [`discriminator.${layer}.weight`, `discriminator.${layer}.bias`]),
  );
  for (const { loss, parameter, gradient, difference } of await taughtParameters(objective, [1, 6, 6], {
    kl_weight: 1,
  })) {
    expect(Math.abs(gradient), parameter).toBeGreaterThan(1e-4);
    expect(Math.abs(gradient / difference - 1), `${loss} by ${parameter}`).toBeLessThan(0.05);
  }
});

test('beside the same objective without it, the total correlation of the latents falls', async () => {
  const dataset = barsDataset(1500, 500);
  const correlationOf = async (changes: Partial<Configuration['objective']>) => {
    const configuration = tiny({ beta: 0.3, ...changes }, { epochs: 30 });
    const model = buildModel(configuration, dataset.train.shape);
    const trainer = await Trainer.create(engine, vaeObjective(model, configuration), configuration, dataset.train);
    for (let epoch = 0; epoch < configuration.epochs; epoch++) for await (const _ of trainer.runEpoch());
    const batches: PosteriorBatch[] = [];
    for await (const batch of posteriors(engine, model, trainer.weights, dataset.test)) batches.push(batch);
    await trainer.release();
    expect(batches).toHaveLength(1);
    return totalCorrelationOf(batches[0], model.latentSize);
  };
  const plain = await correlationOf({ total_correlation: 0, total_correlation_by: 'minibatch' });
  const factored = await correlationOf({ total_correlation: 10 });
  expect(factored).toBeLessThan(0.75 * plain);
});

/** With q(z) and its marginals the mixtures of all the posteriors (Chen et al., 2018, eq. 5), in float64. */
function totalCorrelationOf({ mean, logVariance }: PosteriorBatch, size: number): number {
  const count = mean.length / size;
  const noise = new RandomSource(5).fillNormal(new Float32Array(mean.length));
  let sum = 0;
  for (let n = 0; n < count; n++) {
    let joint = 0;
    const marginals = new Float64Array(size);
    for (let m = 0; m < count; m++) {
      let product = 1;
      for (let j = 0; j < size; j++) {
        const z = mean[n * size + j] + Math.exp(logVariance[n * size + j] / 2) * noise[n * size + j];
        const variance = Math.exp(logVariance[m * size + j]);
        const density = Math.exp(-((z - mean[m * size + j]) ** 2) / (2 * variance)) / Math.sqrt(variance);
        product *= density;
        marginals[j] += density / count;
      }
      joint += product / count;
    }
    sum += Math.log(joint) - marginals.reduce((logs, density) => logs + Math.log(density), 0);
  }
  return sum / count;
}

test('no file of the exported model holds the discriminator', async () => {
  const result = await train({ engine, configuration: tiny(), dataset: barsDataset(), store: temporaryDirectory() });
  if (result === undefined) throw new Error('the run stopped');
  for (const file of Object.keys(result.manifest.files)) {
    expect(readFileSync(`${result.directory}/${file}`).includes('discriminator'), file).toBe(false);
  }
  const { model } = await readTrainedModel(result.directory);
  expect(model.parameters.some(({ name }) => name.startsWith('discriminator'))).toBe(false);
});

test.each([
  [
    tiny({ total_correlation: 0 }),
    /^objective.total_correlation is 0; expected more for a total correlation by discri/,
  ],
  [
    tiny({}, { batch_size: 4 }),
    /^batch_size is 4; expected more than latent_size, which is 4, for a total correlation/,
  ],
  [tiny({ importance_samples: 5 }), /^objective.total_correlation is given; expected 0 with 5 importance samples/],
  [
    tiny({ discriminator: { ...DISCRIMINATOR, hidden: [] } }),
    /^objective.discriminator.hidden must not have fewer than 1 items/,
  ],
])('configuration %#: refused', (configuration, message) => {
  expect(() => parseConfiguration(configuration)).toThrow(message);
});

test('the discriminator of the paper stands where none is given', () => {
  const { discriminator: _, ...objective } = tiny().objective;
  const { discriminator } = parseConfiguration({ ...tiny(), objective }).objective;
  expect(discriminator).toEqual({
    hidden: [1000, 1000, 1000, 1000, 1000, 1000],
    learning_rate: 1e-4,
    beta1: 0.5,
    beta2: 0.9,
  });
});
