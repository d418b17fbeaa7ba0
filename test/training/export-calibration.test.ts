import { conformalPValue, RandomSource } from '@elbo/models';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { AggregatePosteriorEstimator } from '@elbo/training/evaluation/aggregate-posterior';
import { describeCalibration, fitCombination, type ScoreCombination } from '@elbo/training/export/calibration';
import { combine } from '@elbo/training/export/score';
import { Graph } from '@elbo/training/onnx/graph';
import { float32 } from '@elbo/training/onnx/tensor';
import { describe, expect, test } from 'vitest';

/** Skewed, heavy-tailed and correlated, as real components are. */
function components(count: number, seed: number): Float32Array[] {
  const random = new RandomSource(seed);
  const [a, b, c] = [0, 1, 2].map(() => random.fillNormal(new Float32Array(count)));
  return [a.map((v) => Math.exp(v)), a.map((v, i) => (0.8 * v + 0.6 * b[i]) ** 3), c.map((v) => 5 + v * v)];
}

const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

/** z of one component by the ramps, and the score by its definition in export/score.ts. */
function score({ knots }: ScoreCombination, values: readonly number[]): number {
  const normal = values.map((value, i) =>
    knots.start[i].reduce(
      (z, start, k) => z + knots.slope[i][k] * Math.min(Math.max(value - start, knots.low[i][k]), knots.high[i][k]),
      knots.offset[i],
    ),
  );
  return Math.hypot(...normal.map((z) => Math.hypot(softplus(3 * z) / 3, Math.max(-z - 2.5, 0))));
}

const row = (all: readonly Float32Array[], i: number) => all.map((component) => component[i]);

describe('the combination of components into a score', () => {
  const fitted = fitCombination(components(4000, 1));
  const scoresOf = (all: readonly Float32Array[]) =>
    Float32Array.from({ length: all[0].length }, (_, i) => score(fitted, row(all, i)));

  test('the graph computes what is defined', async () => {
    const graph = new Graph('score');
    const inputs = ['a', 'b', 'c'].map((name) => graph.input(name, 'float32', ['N']));
    graph.output(combine(inputs, fitted), 'score');
    const all = components(200, 6);
    const engine = new OnnxRuntimeEngine(1);
    const program = await engine.compile(graph);
    const feeds = Object.fromEntries(['a', 'b', 'c'].map((name, i) => [name, float32(all[i], [200])]));
    const { score: computed } = await program.run(feeds);
    await program.release();
    const expected = scoresOf(all);
    for (const [i, value] of (computed.data as Float32Array).entries()) expect(value).toBeCloseTo(expected[i], 3);
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

  test('a large component raises the score at once, a small one far outside alone, and both go on without end', () => {
    const sorted = components(4000, 1).map((component) => component.slice().sort());
    const at = (share: number) => sorted.map((component) => component[Math.floor(share * 4000)]);
    const median = at(0.5);
    const with1 = (value: number) => score(fitted, [median[0], value, median[2]]);
    expect(with1(at(0.9)[1])).toBeGreaterThan(with1(median[1]) + 0.4);
    expect(with1(at(0.1)[1])).toBeLessThan(with1(median[1]));
    expect(with1(10 * sorted[1][3999])).toBeGreaterThan(with1(sorted[1][3999]) + 1);
    expect(with1(10 * sorted[1][0])).toBeGreaterThan(with1(median[1]) + 1);
    expect(with1(100 * sorted[1][0])).toBeGreaterThan(with1(10 * sorted[1][0]) + 1);
  });

  test('a component that never changes, and one that repeats another, do no harm', () => {
    const [a] = components(500, 5);
    const combination = fitCombination([a, a, new Float32Array(500).fill(3)]);
    for (const value of [0.1, 1, 50]) expect(score(combination, [value, value, 3])).toBeLessThan(100);
    expect(Number.isFinite(score(combination, [1, 1, 1e6]))).toBe(true);
  });

  test('a value beyond all that were held out counts, even where they are equal', () => {
    const equal = fitCombination([new Float32Array(200).fill(2)]);
    const mostly = fitCombination([Float32Array.from({ length: 200 }, (_, i) => (i < 20 ? i / 20 : 2))]);
    for (const combination of [equal, mostly]) {
      expect(score(combination, [2.5])).toBeGreaterThan(score(combination, [2]) + 10);
      expect(score(combination, [2])).toBeLessThan(2);
    }
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
