import { RandomSource } from '@elbo/models';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { readTrainedModel } from '@elbo/training/evaluation/trained-model';
import { fitGaussianMixture } from '@elbo/training/export/gaussian-mixture';
import { trainedWeights } from '@elbo/training/export/trained-weights';
import { constantWeights, type WeightValues } from '@elbo/training/nn/parameters';
import { Graph } from '@elbo/training/onnx/graph';
import { float32, type Tensor } from '@elbo/training/onnx/tensor';
import { train } from '@elbo/training/train';
import { parseConfiguration } from '@elbo/training/vae/configuration';
import { type Components, mixturePrior } from '@elbo/training/vae/mixture-prior';
import { buildModel, type Model } from '@elbo/training/vae/model';
import { type Prior, priorOfFirst } from '@elbo/training/vae/priors';
import { describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';
import { evaluate, numbersOf } from './support/harness.js';

const engine = new OnnxRuntimeEngine(1);
const [N, K, Z] = [4, 3, 2];
const random = new RandomSource(21);
const normals = (length: number, scale = 1) =>
  Array.from(random.fillNormal(new Float32Array(length)), (v) => scale * v);
const weight = [0.5, 0.2, 0.3];
const means = normals(K * Z, 2);
const logVariances = normals(K * Z, 0.5);
const z = normals(N * Z, 2);
const posterior = { mean: normals(N * Z), logVariance: normals(N * Z, 0.7).map((v) => v - 1) };

const logNormal = (x: number, mean: number, logVariance: number) =>
  -0.5 * ((x - mean) ** 2 / Math.exp(logVariance) + logVariance + Math.log(2 * Math.PI));
const klNormal = (m: number, lv: number, m2: number, lv2: number) =>
  0.5 * ((Math.exp(lv) + (m - m2) ** 2) / Math.exp(lv2) + lv2 - lv - 1);
const logMixture = (at: readonly number[]) =>
  Math.log(
    weight.reduce(
      (sum, w, k) =>
        sum + w * Math.exp(at.reduce((s, x, j) => s + logNormal(x, means[k * Z + j], logVariances[k * Z + j]), 0)),
      0,
    ),
  );
const row = (values: readonly number[], i: number) => values.slice(i * Z, (i + 1) * Z);

async function ofMixture(
  build: (prior: Prior, z: Tensor, posterior: Components, weights: never) => Tensor,
): Promise<number[]> {
  const values = [weight.map(Math.log), means, logVariances, z, posterior.mean, posterior.logVariance];
  const shapes = [[K], [K, Z], [K, Z], [N, Z], [N, Z], [N, Z]];
  const [result] = await evaluate(
    values.map((numbers, i) => float32(numbers, shapes[i])),
    (logWeight, mean, logVariance, at, m, v) => {
      const prior = mixturePrior([], () => ({ logWeight, mean, logVariance }));
      return [build(prior, at, { logWeight, mean: m, logVariance: v }, undefined as never)];
    },
  );
  return numbersOf(result);
}

describe('a mixture of normals', () => {
  test('has the density of the formula', async () => {
    const actual = await ofMixture((prior, at, _, weights) => prior.logDensity(at, weights));
    for (let i = 0; i < N; i++) expect(actual[i]).toBeCloseTo(logMixture(row(z, i)), 4);
  });

  test('its divergence bounds the KL term from above', async () => {
    const actual = await ofMixture((prior, _, q, weights) => prior.divergence(q, weights));
    const draws = 20_000;
    for (let i = 0; i < N; i++) {
      let kl = 0;
      for (let s = 0; s < draws; s++) {
        const [m, v] = [row(posterior.mean, i), row(posterior.logVariance, i)];
        const at = m.map((mean, j) => mean + Math.exp(v[j] / 2) * normals(1)[0]);
        kl += (at.reduce((sum, x, j) => sum + logNormal(x, m[j], v[j]), 0) - logMixture(at)) / draws;
      }
      expect(actual[i]).toBeGreaterThan(kl - 0.03);
    }
  });

  test('its divergence of a dimension is that to the normal of its moments', async () => {
    const actual = await ofMixture((prior, _, q, weights) => prior.divergencePerDimension(q, weights));
    for (let j = 0; j < Z; j++) {
      const [m, v] = [0, 1].map((power) =>
        weight.reduce((sum, w, k) => {
          const mean = means[k * Z + j];
          return sum + w * (power === 0 ? mean : mean ** 2 + Math.exp(logVariances[k * Z + j]));
        }, 0),
      );
      for (let i = 0; i < N; i++) {
        const at = i * Z + j;
        expect(actual[at]).toBeCloseTo(
          klNormal(posterior.mean[at], posterior.logVariance[at], m, Math.log(v - m * m)),
          4,
        );
      }
    }
  });

  test('as the prior of the first dimensions leaves the others standard normal', async () => {
    const size = Z - 1;
    const [actual] = await evaluate(
      [
        float32([Math.log(0.4), Math.log(0.6)], [2]),
        float32([1, -2], [2, size]),
        float32([0, 0.3], [2, size]),
        float32(z, [N, Z]),
      ],
      (logWeight, mean, logVariance, at) => {
        const first = mixturePrior([], () => ({ logWeight, mean, logVariance }));
        return [priorOfFirst(size, Z, first).logDensity(at, undefined as never)];
      },
    );
    for (let i = 0; i < N; i++) {
      const [a, b] = row(z, i);
      const first = Math.log(0.4 * Math.exp(logNormal(a, 1, 0)) + 0.6 * Math.exp(logNormal(a, -2, 0.3)));
      expect(numbersOf(actual)[i]).toBeCloseTo(first + logNormal(b, 0, 0), 4);
    }
  });
});

test('the divergence of a mixture of one is the KL term in closed form', async () => {
  const [actual] = await evaluate(
    [[0.5, -1], [0.3, -0.4], posterior.mean, posterior.logVariance].map((values, i) =>
      float32(values, i < 2 ? [1, Z] : [N, Z]),
    ),
    (mean, logVariance, m, v) => {
      const logWeight = mean.graph.constant(float32([0], [1]));
      const prior = mixturePrior([], () => ({ logWeight, mean, logVariance }));
      return [prior.divergence({ mean: m, logVariance: v }, undefined as never)];
    },
  );
  for (let i = 0; i < N; i++) {
    const kl = [0, 1].map((j) => {
      const at = i * Z + j;
      return klNormal(posterior.mean[at], posterior.logVariance[at], [0.5, -1][j], [0.3, -0.4][j]);
    });
    expect(numbersOf(actual)[i]).toBeCloseTo(kl[0] + kl[1], 4);
  }
});

describe('a fitted mixture', () => {
  test('finds the normals that samples were drawn from', () => {
    const truth = [
      { weight: 0.6, mean: [-3, 1], deviation: [0.5, 1] },
      { weight: 0.4, mean: [2, 0], deviation: [1, 0.2] },
    ];
    const count = 5000;
    const samples = Float32Array.from({ length: count }, () => random.uniform()).reduce<number[]>((all, u) => {
      const { mean, deviation } = u < 0.6 ? truth[0] : truth[1];
      all.push(...mean.map((m, j) => m + deviation[j] * normals(1)[0]));
      return all;
    }, []);
    const fitted = fitGaussianMixture(Float32Array.from(samples), { components: 2, size: 2, seed: 1 });
    const order = fitted.mean[0] < fitted.mean[2] ? [0, 1] : [1, 0];
    for (const [i, { weight, mean, deviation }] of truth.entries()) {
      const k = order[i];
      expect(Math.exp(fitted.logWeight[k])).toBeCloseTo(weight, 1);
      for (const j of [0, 1]) {
        expect(Math.abs(fitted.mean[k * 2 + j] - mean[j])).toBeLessThan(0.08);
        expect(Math.exp(fitted.logVariance[k * 2 + j] / 2) / deviation[j]).toBeCloseTo(1, 1);
      }
    }
  });

  test('of fewer different samples than components is still a mixture', () => {
    const fitted = fitGaussianMixture(Float32Array.of(1, 1, 1, 2, 2, 2), { components: 8, size: 3, seed: 1 });
    for (const values of Object.values(fitted)) expect(values.every(Number.isFinite)).toBe(true);
    expect(fitted.logWeight.reduce((sum, value) => sum + Math.exp(value), 0)).toBeCloseTo(1, 4);
  });
});

const tiny = (prior: 'vamp' | 'gaussian-mixture', layers: { after_layer: number; latents: number }[] = []) =>
  tinyConfiguration({
    prior,
    prior_components: 12,
    epochs: 30,
    latent_size: 4,
    encoder: { convolutions: [], hidden: [32] },
    decoder: { convolutions: [], hidden: [32], stochastic_layers: layers },
  });

async function logPriorOf(model: Model, weights: WeightValues, at: Float32Array): Promise<number[]> {
  const graph = new Graph('prior');
  const latents = graph.input('z', 'float32', [at.length / model.latentSize, model.latentSize]);
  graph.output(model.prior.logDensity(latents, constantWeights(graph, weights)), 'y');
  const program = await engine.compile(graph);
  const { y } = await program.run({ z: float32(at, latents.shape as number[]) });
  await program.release();
  return numbersOf(y);
}

test.each([[[]], [[{ after_layer: 0, latents: 2 }]]])(
  'the trained form of a VampPrior is the mixture of the posteriors of its pseudo-inputs (layers %j)',
  async (layers) => {
    const configuration = tiny('vamp', layers);
    const { train: examples } = barsDataset(100);
    const model = buildModel(configuration, examples.shape);
    const source = new RandomSource(4);
    const weights = new Map(model.parameters.map((p) => [p.name, p.initialise(source)]));
    const trained = buildModel(configuration, examples.shape, { isTrained: true });
    expect(trained.parameters.map(({ name }) => name)).not.toContain('prior.pseudo_inputs');
    const settled = await trainedWeights(engine, model, weights, { configuration, train: examples });
    const at = source.fillNormal(new Float32Array(5 * model.latentSize));
    const expected = await logPriorOf(model, weights, at);
    const actual = await logPriorOf(trained, settled, at);
    for (const [i, value] of expected.entries()) expect(actual[i]).toBeCloseTo(value, 4);
  },
);

describe.each(['vamp', 'gaussian-mixture'] as const)('a model with a %s prior', (prior) => {
  test('trains, exports its mixture, and comes back', async () => {
    const dataset = barsDataset(2000);
    const result = await train({ engine, configuration: tiny(prior), dataset, store: temporaryDirectory() });
    if (result === undefined) throw new Error('the run was stopped');
    expect(result.manifest.prior).toEqual({ kind: prior, components: 12, dimensions: 4 });
    expect(result.manifest.metrics.test_negative_elbo.value).toBeLessThan(17);
    const { model, weights } = await readTrainedModel(result.directory);
    expect(weights.get('prior.mean')).toHaveLength(12 * 4);
    expect(model.parameters.some(({ name }) => name === 'prior.pseudo_inputs')).toBe(false);
  });
});

test('a VampPrior learns a better bound than the standard normal', async () => {
  const dataset = barsDataset(2000);
  const nats = async (prior: 'vamp' | 'standard-normal') => {
    const configuration = { ...tiny('vamp'), prior };
    const result = await train({ engine, configuration, dataset, store: temporaryDirectory() });
    return result?.manifest.metrics.test_negative_elbo.value ?? Number.NaN;
  };
  expect(await nats('vamp')).toBeLessThan(await nats('standard-normal'));
});

test.each([{ free_bits: 1 }, { maximum_mean_discrepancy: 1 }])('a VampPrior with %j is refused', (changes) => {
  const configuration = tiny('vamp');
  const objective = { ...configuration.objective, ...changes };
  expect(() => parseConfiguration({ ...configuration, objective })).toThrow(/^prior is vamp; expected/);
});
