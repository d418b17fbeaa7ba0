import { RandomSource } from '@elbo/models';
import { gradients } from '@elbo/training/autodiff/gradients';
import { mul, reduceSum, square, sub } from '@elbo/training/onnx/ops';
import { float32 } from '@elbo/training/onnx/tensor';
import { importanceBound } from '@elbo/training/vae/importance';
import { reparameterise } from '@elbo/training/vae/posterior';
import { expect, test } from 'vitest';
import { evaluate, numbersOf } from './support/harness.js';

// log p(x | z) = −(z − theta)² + offset(z), log p(z) = −offset(z), with offset(z) = z: a model whose weights and gradients
// are formulas. One latent dimension.

const [N, K] = [3, 4];
const random = new RandomSource(7);
const noise = Array.from(random.fillNormal(new Float32Array(N * K)));
const mean = [0.3, -1, 2];
const logVariance = [-0.5, 0.4, 0];
const theta = 0.7;

const example = (i: number) => Math.floor(i / K);
const repeated = (values: readonly number[]) => noise.map((_, i) => values[example(i)]);
const sigma = logVariance.map((v) => Math.exp(v / 2));
const z = noise.map((e, i) => mean[example(i)] + sigma[example(i)] * e);
const logWeight = z.map((at, i) => {
  const n = example(i);
  const logPosterior = -0.5 * (noise[i] ** 2 + logVariance[n] + Math.log(2 * Math.PI));
  return -((at - theta) ** 2) - logPosterior;
});
const samplesOf = (n: number) => Array.from({ length: K }, (_, k) => n * K + k);
const total = (n: number) => samplesOf(n).reduce((sum, i) => sum + Math.exp(logWeight[i]), 0);
const share = logWeight.map((value, i) => Math.exp(value) / total(example(i)));

async function run(doubly: boolean, weight = 1): Promise<Record<'bound' | 'mean' | 'logVariance' | 'theta', number[]>> {
  const columns = [repeated(mean), repeated(logVariance), noise].map((values) => float32(values, [N * K, 1]));
  const outputs = await evaluate([...columns, float32([theta], [1]), float32([weight], [])], (m, v, e, t, klWeight) => {
    const { bound, loss } = importanceBound(
      {
        posterior: { mean: m, logVariance: v },
        z: reparameterise({ mean: m, logVariance: v }, e),
        examples: N,
        samples: K,
        logLikelihood: (at) => sub(reduceSum(at, [1]), reduceSum(square(sub(at, t)), [1])),
        logPrior: (at) => mul(reduceSum(at, [1]), -1),
        klWeight,
      },
      doubly,
    );
    return [bound, ...gradients(loss, [m, v, t])];
  });
  const [bound, ofMean, ofLogVariance, ofTheta] = outputs.map(numbersOf);
  const perExample = (values: number[]) => mean.map((_, n) => samplesOf(n).reduce((sum, i) => sum + values[i], 0));
  return { bound, mean: perExample(ofMean), logVariance: perExample(ofLogVariance), theta: ofTheta };
}

const expectedBound = -mean.reduce((sum, _, n) => sum + Math.log(total(n) / K), 0) / N;
const thetaGradient = -z.reduce((sum, at, i) => sum + share[i] * 2 * (at - theta), 0) / N;

function expectClose(actual: readonly number[], expected: readonly number[]): void {
  expect(actual).toHaveLength(expected.length);
  for (const [i, value] of expected.entries()) expect(actual[i]).toBeCloseTo(value, 5);
}

test('the bound is the log of the mean weight, and its gradient weighs samples by their share', async () => {
  const result = await run(false);
  expectClose(result.bound, [expectedBound]);
  expectClose(result.theta, [thetaGradient]);
  // d log w / d mean = −2 (z − theta); log q at z = mean + sigma · noise does not depend on the mean.
  const ofMean = mean.map((_, n) => samplesOf(n).reduce((sum, i) => sum + (share[i] * 2 * (z[i] - theta)) / N, 0));
  expectClose(result.mean, ofMean);
});

test('doubly reparameterised, the encoder learns through z alone, by the squares of the shares', async () => {
  const result = await run(true);
  expectClose(result.bound, [expectedBound]);
  expectClose(result.theta, [thetaGradient]);
  // d log w / dz = −2 (z − theta) + (z − mean) / variance.
  const slope = z.map((at, i) => -2 * (at - theta) + (at - mean[example(i)]) / sigma[example(i)] ** 2);
  const through = (dz: (i: number) => number) =>
    mean.map((_, n) => samplesOf(n).reduce((sum, i) => sum - (share[i] ** 2 * slope[i] * dz(i)) / N, 0));
  expectClose(
    result.mean,
    through(() => 1),
  );
  expectClose(
    result.logVariance,
    through((i) => 0.5 * sigma[example(i)] * noise[i]),
  );
});

test('while it warms up, the prior and the posterior count less', async () => {
  const weighted = z.map((at, i) => {
    const n = example(i);
    const logPosterior = -0.5 * (noise[i] ** 2 + logVariance[n] + Math.log(2 * Math.PI));
    return at - (at - theta) ** 2 + 0.3 * (-at - logPosterior);
  });
  const expected = mean.map((_, n) => Math.log(samplesOf(n).reduce((sum, i) => sum + Math.exp(weighted[i]), 0) / K));
  expectClose((await run(false, 0.3)).bound, [-expected.reduce((a, b) => a + b, 0) / N]);
});
