import { RandomSource } from '@elbo/models';
import type { Embedding } from '@elbo/training/evaluation/embedding';
import { minimise } from '@elbo/training/evaluation/lbfgs';
import { linearProbeAccuracy } from '@elbo/training/evaluation/linear-probe';
import { describe, expect, test } from 'vitest';

function labelled(rows: readonly (readonly number[])[], labels: readonly number[]) {
  const embedding: Embedding = { count: rows.length, size: rows[0].length, means: Float32Array.from(rows.flat()) };
  return { embedding, labels };
}

/** Normal clouds around the centres, in turn. */
function clouds(centres: readonly (readonly number[])[], count: number, seed: number) {
  const random = new RandomSource(seed);
  const labels = Array.from({ length: count }, (_, i) => i % centres.length);
  return labelled(
    labels.map((label) => centres[label].map((centre) => centre + random.fillNormal(new Float32Array(1))[0])),
    labels,
  );
}

describe('the linear probe', () => {
  test('tells classes that planes separate, whatever their scale', () => {
    const centres = [
      [0, 0, 1],
      [9000, 0, 1],
      [0, -9, 1],
      [9000, 9, 1],
    ];
    expect(linearProbeAccuracy(clouds(centres, 400, 1), clouds(centres, 400, 2))).toBe(1);
  });

  test('is as good as the best rule for two normal clouds', () => {
    // At a distance of 2 the best rule is wrong with probability Φ(−1) = 0.1587.
    const centres = [
      [0, 0],
      [2, 0],
    ];
    const accuracy = linearProbeAccuracy(clouds(centres, 4000, 1), clouds(centres, 4000, 2));
    expect(Math.abs(accuracy - (1 - 0.1587))).toBeLessThan(0.02);
  });

  test('cannot tell what no plane separates, nor noise', () => {
    const random = new RandomSource(4);
    const corners = (count: number) => {
      const rows = Array.from({ length: count }, () => [random.integer(2), random.integer(2)]);
      return labelled(
        rows,
        rows.map(([a, b]) => (a === b ? 1 : 0)),
      );
    };
    expect(linearProbeAccuracy(corners(2000), corners(1000))).toBeLessThan(0.8);
    const noise = (seed: number) => clouds([[0], [0], [0], [0]], 2000, seed);
    expect(linearProbeAccuracy(noise(5), noise(6))).toBeCloseTo(0.25, 1);
  });

  test('a dimension that never varies, and a class that the test part alone has, break nothing', () => {
    const train = labelled(
      [
        [5, 0],
        [5, 1],
        [5, 0],
        [5, 1],
      ],
      [0, 1, 0, 1],
    );
    const test = labelled(
      [
        [5, 0],
        [5, 1],
        [5, 1],
        [5, 0],
      ],
      [0, 1, 2, 0],
    );
    expect(linearProbeAccuracy(train, test)).toBe(0.75);
  });
});

describe('L-BFGS', () => {
  test('finds the minimum of a quadratic, which linear equations give, of condition 10,000', () => {
    const scales = [1, 10, 100, 1000, 10_000];
    const target = [3, -1, 4, -1, 5];
    const found = minimise(
      (point) => ({
        value: point.reduce((sum, entry, i) => sum + (scales[i] * (entry - target[i]) ** 2) / 2, 0),
        gradient: point.map((entry, i) => scales[i] * (entry - target[i])),
      }),
      new Float64Array(5),
      { tolerance: 1e-9 },
    );
    for (const [i, entry] of found.entries()) expect(entry).toBeCloseTo(target[i], 8);
  });

  test('finds the minimum of the Rosenbrock function', () => {
    const found = minimise(
      ([x, y]) => ({
        value: (1 - x) ** 2 + 100 * (y - x * x) ** 2,
        gradient: Float64Array.of(-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)),
      }),
      Float64Array.of(-1.2, 1),
    );
    expect(found[0]).toBeCloseTo(1, 5);
    expect(found[1]).toBeCloseTo(1, 5);
  });

  test('stays where it begins at a minimum, and where no step gets lower', () => {
    const start = Float64Array.of(0, 0);
    expect(minimise((point) => ({ value: 0, gradient: point.map(() => 0) }), start)).toEqual(start);
    expect(minimise((point) => ({ value: Number.NaN, gradient: point.map(() => 1) }), start)).toEqual(start);
  });
});
