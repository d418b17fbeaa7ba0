import { conformalPValue, RandomSource } from '@elbo/models';
import { AggregatePosteriorEstimator } from '@elbo/training/evaluation/aggregate-posterior';
import { describeCalibration, fitCombination, type ScoreCombination } from '@elbo/training/export/calibration';
import { describe, expect, test } from 'vitest';

/** Skewed, heavy-tailed and correlated, as real components are. */
function components(count: number, seed: number): Float32Array[] {
  const random = new RandomSource(seed);
  const [a, b, c] = [0, 1, 2].map(() => random.fillNormal(new Float32Array(count)));
  return [a.map((v) => Math.exp(v)), a.map((v, i) => (0.8 * v + 0.6 * b[i]) ** 3), c.map((v) => 5 + v * v)];
}

/** The score by the definition in ScoreCombination: the oracle of the ONNX form is in export-oracle.test.ts. */
function score({ knots, decorrelation }: ScoreCombination, values: readonly number[]): number {
  const normal = values.map((value, i) =>
    knots.start[i].reduce(
      (z, start, k) => z + knots.slope[i][k] * Math.min(Math.max(value - start, knots.low[i][k]), knots.high[i][k]),
      knots.offset[i],
    ),
  );
  const decorrelated = normal.map((_, j) => normal.reduce((sum, z, i) => sum + z * decorrelation[i][j], 0));
  return Math.hypot(...decorrelated);
}

const row = (all: readonly Float32Array[], i: number) => all.map((component) => component[i]);

describe('the combination of components into a score', () => {
  const fitted = fitCombination(components(4000, 1));
  const scoresOf = (all: readonly Float32Array[]) =>
    Float32Array.from({ length: all[0].length }, (_, i) => score(fitted, row(all, i)));

  test('makes new normal data look like standard normals: squared scores follow a chi-square of as many degrees', () => {
    const squares = scoresOf(components(20_000, 2))
      .map((s) => s * s)
      .sort();
    // Quantiles of chi-square with 3 degrees of freedom.
    expect(squares[10_000]).toBeCloseTo(2.366, 0);
    expect(Math.abs(squares[18_000] - 6.251)).toBeLessThan(0.4);
    expect(Math.abs(squares[19_000] - 7.815)).toBeLessThan(0.6);
  });

  test('gives p-values that are uniform on new normal data', () => {
    const reference = scoresOf(components(3000, 3)).sort();
    const p = scoresOf(components(10_000, 4))
      .map((s) => conformalPValue(reference, s))
      .sort();
    const distance = p.reduce((largest, value, i) => Math.max(largest, Math.abs(value - (i + 0.5) / p.length)), 0);
    // Two-sample Kolmogorov-Smirnov bound at the level 0.1 %: 1.95 sqrt((n + m) / (n m)).
    expect(distance).toBeLessThan(1.95 * Math.sqrt(13_000 / 30_000_000));
  });

  test('both tails count, and a value far outside goes on raising the score', () => {
    const median = components(4000, 1).map((component) => component.slice().sort()[2000]);
    const centre = score(fitted, median);
    expect(score(fitted, [1e-4, median[1], median[2]])).toBeGreaterThan(centre + 2);
    expect(score(fitted, [100, median[1], median[2]])).toBeGreaterThan(centre + 2);
    expect(score(fitted, [1000, median[1], median[2]])).toBeGreaterThan(score(fitted, [100, median[1], median[2]]));
  });

  test('a component that never changes, and one that repeats another, do no harm', () => {
    const [a] = components(500, 5);
    const combination = fitCombination([a, a, new Float32Array(500).fill(3)]);
    for (const value of [0.1, 1, 50]) expect(score(combination, [value, value, 3])).toBeLessThan(100);
    expect(Number.isFinite(score(combination, [1, 1, 1e6]))).toBe(true);
  });
});

describe('the account of a calibration', () => {
  test('states only rates that the sample is large enough for', () => {
    const sample = (count: number) => new RandomSource(1).fillNormal(new Float32Array(count)).sort();
    const rates = (count: number) =>
      describeCalibration(sample(count), 'd').thresholds.map((t) => t.false_positive_rate);
    expect(rates(3000)).toEqual([0.001, 0.01, 0.05]);
    expect(rates(200)).toEqual([0.01, 0.05]);
    expect(rates(50)).toEqual([0.05]);
    expect(rates(10)).toHaveLength(1);
    expect(describeCalibration(sample(50), 'd').default_false_positive_rate).toBe(0.05);
    expect(describeCalibration(sample(3000), 'd').default_false_positive_rate).toBe(0.01);
  });
});

test('the aggregate posterior whitens: its covariance is that of the means plus the mean variance', () => {
  const count = 50_000;
  const random = new RandomSource(6);
  const [a, b] = [0, 1].map(() => random.fillNormal(new Float32Array(count)));
  const means = new Float32Array(2 * count);
  const logVariances = new Float32Array(2 * count);
  for (let i = 0; i < count; i++) {
    means.set([2 * a[i] + 1, a[i] + b[i]], 2 * i);
    logVariances.set([Math.log(0.5), Math.log(0.25)], 2 * i);
  }
  const estimator = new AggregatePosteriorEstimator(2);
  // In parts, as a data set comes.
  for (const [start, end] of [
    [0, 8000],
    [8000, means.length],
  ]) {
    estimator.add(means.subarray(start, end), logVariances.subarray(start, end));
  }
  const { mean, whitening: w } = estimator.estimate();
  expect(mean[0]).toBeCloseTo(1, 1);
  // Σ = [[4 + 0.5, 2], [2, 2 + 0.25]]; W Wᵀ must be its inverse.
  const determinant = 4.5 * 2.25 - 4;
  expect(w[0] * w[0] + w[1] * w[1]).toBeCloseTo(2.25 / determinant, 2);
  expect(w[0] * w[2] + w[1] * w[3]).toBeCloseTo(-2 / determinant, 2);
  expect(w[2] * w[2] + w[3] * w[3]).toBeCloseTo(4.5 / determinant, 2);
});
