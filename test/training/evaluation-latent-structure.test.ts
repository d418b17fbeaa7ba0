import { RandomSource } from '@elbo/models';
import { inMemory } from '@elbo/training/data/dataset';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { latentRecord } from '@elbo/training/evaluation/latent-record';
import { describeLatent, type LatentDescription } from '@elbo/training/evaluation/latent-structure';
import { buildModel } from '@elbo/training/vae/model';
import { describe, expect, test } from 'vitest';
import { bytesOf } from '../support/examples.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';
import { encode } from './support/reference-mlp.js';

const SIZE = 3;
const LIMIT = 10;
const model = buildModel(
  tinyConfiguration({ activation: 'relu', latent_size: SIZE, log_variance_limit: LIMIT }),
  [1, 6, 6],
);
const random = new RandomSource(4);
const weights = new Map(model.parameters.map((parameter) => [parameter.name, parameter.initialise(random)]));
const bytes = await bytesOf(barsDataset(100, 60).test);
const examples = inMemory(bytes, [1, 6, 6]);

/** The posterior of each example, in double precision. */
const posteriors = Array.from({ length: examples.count }, (_, i) => {
  const x = Array.from(bytes.subarray(i * 36, (i + 1) * 36), (byte) => byte / 255);
  return encode(x, weights, 1, LIMIT);
});
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const covarianceOf = (a: readonly number[], b: readonly number[]) =>
  mean(a.map((value, i) => (value - mean(a)) * (b[i] - mean(b))));
const column = (j: number) => posteriors.map((posterior) => posterior.mean[j]);

describe('latent structure', async () => {
  const description = await describeLatent(new OnnxRuntimeEngine(1), model, weights, examples);
  const { aggregate_posterior: aggregate, traversal_ranges: ranges } = latentRecord(description, 'validation');

  test('the moments are those of the posterior means, plus the mean posterior variances', () => {
    for (let i = 0; i < SIZE; i++) {
      expect(description.moments.mean[i]).toBeCloseTo(mean(column(i)), 5);
      expect(description.moments.varianceOfMeans[i]).toBeCloseTo(covarianceOf(column(i), column(i)), 5);
      for (let j = 0; j < SIZE; j++) {
        const within = i === j ? mean(posteriors.map(({ logVariance }) => Math.exp(logVariance[i]))) : 0;
        const expected = covarianceOf(column(i), column(j)) + within;
        expect(description.moments.covariance[i * SIZE + j]).toBeCloseTo(expected, 5);
      }
    }
  });

  test('a traversal goes past all but one in a hundred posterior means at either end', () => {
    for (const [j, [low, high]] of ranges.entries()) {
      const sorted = column(j).sort((a, b) => a - b);
      // Quantiles lie between neighbours, at places 0.59 and 58.41 of 0 to 59.
      expect(low).toBeCloseTo(sorted[0] + 0.59 * (sorted[1] - sorted[0]), 3);
      expect(high).toBeCloseTo(sorted[58] + 0.41 * (sorted[59] - sorted[58]), 3);
    }
  });

  test('a manifest gets four significant digits', () => {
    expect(aggregate).toMatchObject({ split: 'validation', examples: 60 });
    const numbers = [
      ...aggregate.mean,
      ...aggregate.variance,
      ...(aggregate.covariance ?? []).flat(),
      ...ranges.flat(),
    ];
    expect(numbers).toHaveLength(SIZE + SIZE + SIZE * SIZE + 2 * SIZE);
    for (const number of numbers) expect(number).toBe(Number(number.toPrecision(4)));
    expect(aggregate.covariance?.map((row, i) => row[i])).toEqual(aggregate.variance);
  });

  test('each dimension names the one that it correlates with most, by a search over all pairs', () => {
    const { covariance } = description.moments;
    const correlation = (i: number, j: number) =>
      covariance[i * SIZE + j] / Math.sqrt(covariance[i * SIZE + i] * covariance[j * SIZE + j]);
    for (const [i, strongest] of aggregate.strongest_correlations.entries()) {
      const others = [0, 1, 2]
        .filter((j) => j !== i)
        .sort((a, b) => Math.abs(correlation(i, b)) - Math.abs(correlation(i, a)));
      expect(strongest.dimension).toBe(others[0]);
      expect(strongest.correlation).toBeCloseTo(correlation(i, others[0]), 3);
    }
  });
});

describe('the record of a latent space', () => {
  const independent = (size: number): LatentDescription => ({
    activeUnits: size,
    klPerDimension: new Array<number>(size).fill(1),
    count: 10,
    moments: {
      mean: new Float64Array(size),
      covariance: Float64Array.from({ length: size * size }, (_, at) => (at % (size + 1) === 0 ? 1 : 0)),
      varianceOfMeans: new Float64Array(size).fill(0.5),
    },
    traversalRanges: new Array<readonly [number, number]>(size).fill([-1, 1]),
  });

  test('leaves the covariance of a large space out', () => {
    expect(latentRecord(independent(32), 'test').aggregate_posterior.covariance).toHaveLength(32);
    const large = latentRecord(independent(33), 'test').aggregate_posterior;
    expect(large.covariance).toBeUndefined();
    expect(large.strongest_correlations).toHaveLength(33);
  });

  test('of one dimension names no other', () => {
    expect(latentRecord(independent(1), 'test').aggregate_posterior.strongest_correlations).toEqual([]);
  });
});
