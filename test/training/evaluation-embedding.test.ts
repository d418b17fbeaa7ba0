import { RandomSource } from '@elbo/models';
import { type Embedding, nearestNeighbourAccuracy } from '@elbo/training/evaluation/embedding';
import { mutualInformationGap } from '@elbo/training/evaluation/mutual-information-gap';
import { describe, expect, test } from 'vitest';

const embedding = (rows: readonly (readonly number[])[]): Embedding => ({
  count: rows.length,
  size: rows[0]?.length ?? 0,
  means: Float32Array.from(rows.flat()),
});

describe('nearest neighbours', () => {
  test('every example of well separated classes is found, none of classes that are swapped', () => {
    const rows = Array.from({ length: 40 }, (_, i) => [10 * (i % 2) + Math.sin(i), Math.cos(i)]);
    const labels = rows.map((_, i) => i % 2);
    expect(nearestNeighbourAccuracy(embedding(rows), labels)).toBe(1);
    // Each of a pair has the other's class nearest to it.
    const pairs = Array.from({ length: 40 }, (_, i) => [100 * Math.floor(i / 2) + (i % 2), 0]);
    expect(nearestNeighbourAccuracy(embedding(pairs), labels, { neighbours: 1 })).toBe(0);
  });

  test('the majority decides, and among equals the nearest', () => {
    const line = embedding([[0], [1], [2], [3], [50]]);
    // Around the first: classes 1, 2, 2 and, with four neighbours, 1.
    expect(nearestNeighbourAccuracy(line, [2, 1, 2, 2, 1], { neighbours: 3, queries: 1 })).toBe(1);
    expect(nearestNeighbourAccuracy(line, [1, 1, 2, 2, 1], { neighbours: 4, queries: 1 })).toBe(1);
    expect(nearestNeighbourAccuracy(line, [2, 1, 2, 2, 1], { neighbours: 4, queries: 1 })).toBe(0);
  });
});

describe('the mutual information gap', () => {
  const random = new RandomSource(3);
  const count = 4000;
  const factors = {
    names: ['shape', 'x', 'constant'],
    cardinalities: [3, 8, 1],
    values: Uint8Array.from(Array.from({ length: count }, () => [random.integer(3), random.integer(8), 0]).flat()),
  };
  const rows = (build: (shape: number, x: number, noise: number) => number[]) =>
    embedding(
      Array.from({ length: count }, (_, i) =>
        build(factors.values[3 * i], factors.values[3 * i + 1], random.fillNormal(new Float32Array(1))[0]),
      ),
    );

  test('is 1 where one dimension knows each factor and no other does', () => {
    expect(
      mutualInformationGap(
        rows((shape, x) => [-x, 5, 3 * shape]),
        factors,
      ),
    ).toBeGreaterThan(0.99);
  });

  test('is 0 where two dimensions know as much', () => {
    expect(
      mutualInformationGap(
        rows((shape, x) => [x, shape, -shape, 2 * x]),
        factors,
      ),
    ).toBeCloseTo(0, 6);
  });

  test('is near 0 where no dimension knows anything', () => {
    expect(
      mutualInformationGap(
        rows((_shape, _x, noise) => [noise, noise ** 2]),
        factors,
      ),
    ).toBeLessThan(0.02);
  });

  test('is the share of the entropy that is known, where a dimension knows a part', () => {
    // Whether x is below 4 is one of its three bits; shape is known in full.
    const gap = mutualInformationGap(
      rows((shape, x) => [x < 4 ? 0 : 1, shape]),
      factors,
    );
    expect(gap).toBeCloseTo((1 + 1 / 3) / 2, 1);
  });
});
