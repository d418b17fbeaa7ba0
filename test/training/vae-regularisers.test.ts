import { RandomSource } from '@elbo/models';
import type { Tensor } from '@elbo/training/onnx/tensor';
import { float32 } from '@elbo/training/onnx/tensor';
import type { Posterior } from '@elbo/training/vae/posterior';
import { divergenceToStandardNormal } from '@elbo/training/vae/priors';
import { covariancePenalty, freeBits, maximumMeanDiscrepancy, totalCorrelation } from '@elbo/training/vae/regularisers';
import { expect, test } from 'vitest';
import { evaluate } from './support/harness.js';

// Each against its formula in the paper, in plain float64.

const [N, Z] = [7, 3];
const random = new RandomSource(11);
const draw = (scale: number): number[][] =>
  Array.from({ length: N }, () => Array.from(random.fillNormal(new Float32Array(Z)), (value) => scale * value));
const mean = draw(1.5);
const logVariance = draw(0.5);
const z = draw(1);
const prior = draw(1);

const range = (length: number) => Array.from({ length }, (_, i) => i);
const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const average = (values: readonly number[]) => sum(values) / values.length;

async function scalarOf(build: (posterior: Posterior, z: Tensor, prior: Tensor) => Tensor): Promise<number> {
  const inputs = [mean, logVariance, z, prior].map((rows) => float32(rows.flat(), [N, Z]));
  const [result] = await evaluate(inputs, (m, v, at, p) => [build({ mean: m, logVariance: v }, at, p)]);
  expect(result.shape).toEqual([]);
  return Number(result.data[0]);
}

test('free bits: a dimension costs what its mean KL has beyond them', async () => {
  const kl = (n: number, j: number) => 0.5 * (mean[n][j] ** 2 + Math.exp(logVariance[n][j]) - logVariance[n][j] - 1);
  const perDimension = range(Z).map((j) => average(range(N).map((n) => kl(n, j))));
  // One dimension below, the others above.
  const free = average(perDimension.toSorted((a, b) => a - b).slice(0, 2));
  const expected = sum(perDimension.map((nats) => Math.max(nats, free)));
  expect(expected).toBeGreaterThan(sum(perDimension));
  const actual = await scalarOf((posterior) => freeBits(divergenceToStandardNormal(posterior), free));
  expect(actual).toBeCloseTo(expected, 4);
});

test('total correlation: KL from the product of the marginals, each a mixture of the posteriors', async () => {
  const density = (value: number, m: number, j: number) =>
    Math.exp(-((value - mean[m][j]) ** 2) / (2 * Math.exp(logVariance[m][j]))) /
    Math.sqrt(2 * Math.PI * Math.exp(logVariance[m][j]));
  const estimate = average(
    z.map((at) => {
      const joint = average(range(N).map((m) => range(Z).reduce((p, j) => p * density(at[j], m, j), 1)));
      const marginals = range(Z).map((j) => average(range(N).map((m) => density(at[j], m, j))));
      return Math.log(joint) - sum(marginals.map(Math.log));
    }),
  );
  expect(await scalarOf((posterior, at) => totalCorrelation(posterior, at))).toBeCloseTo(estimate, 4);
});

test.each(['means', 'samples'] as const)('the covariance of %s is compared with the identity', async (of) => {
  const centre = range(Z).map((j) => average(mean.map((row) => row[j])));
  const covariance = (i: number, j: number) =>
    average(mean.map((row) => (row[i] - centre[i]) * (row[j] - centre[j]))) +
    (of === 'samples' && i === j ? average(logVariance.map((row) => Math.exp(row[i]))) : 0);
  const expected = sum(
    range(Z).flatMap((i) =>
      range(Z).map((j) => (i === j ? 5 * (covariance(i, i) - 1) ** 2 : 2 * covariance(i, j) ** 2)),
    ),
  );
  const actual = await scalarOf((posterior) => covariancePenalty(posterior, { of, off_diagonal: 2, diagonal: 5 }));
  expect(actual / expected).toBeCloseTo(1, 5);
});

test('the maximum mean discrepancy: unbiased, with inverse multiquadratic kernels of several widths', async () => {
  const kernel = (a: number[], b: number[]) =>
    sum(
      [0.1, 0.2, 0.5, 1, 2, 5, 10].map((scale) => {
        const width = 2 * Z * scale;
        return width / (width + sum(a.map((value, j) => (value - b[j]) ** 2)));
      }),
    );
  const within = (rows: number[][]) =>
    sum(range(N).flatMap((i) => range(N).map((j) => (i === j ? 0 : kernel(rows[i], rows[j]))))) / (N * (N - 1));
  const between = average(z.flatMap((a) => prior.map((b) => kernel(a, b))));
  const expected = within(z) + within(prior) - 2 * between;
  const actual = await scalarOf((_, at, p) => maximumMeanDiscrepancy(at, p));
  expect(actual).toBeCloseTo(expected, 4);
});
