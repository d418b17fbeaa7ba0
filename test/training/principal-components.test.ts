import { RandomSource } from '@elbo/models';
import { principalComponents } from '@elbo/training/evaluation/principal-components';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

/** Row-major, of `size` columns that depend on each other. */
function mixedRows(count: number, size: number, seed: number): Float32Array {
  const random = new RandomSource(seed);
  const mixing = random.fillNormal(new Float32Array(size * size));
  const noise = random.fillNormal(new Float32Array(count * size));
  return Float32Array.from({ length: count * size }, (_, at) => {
    const [row, j] = [Math.floor(at / size), at % size];
    let sum = 3 * j;
    for (let k = 0; k < size; k++) sum += (noise[row * size + k] * mixing[k * size + j]) / (1 + k);
    return sum;
  });
}

/** [size][size], by its definition. */
function covarianceOf(rows: Float32Array, size: number): number[][] {
  const count = rows.length / size;
  const mean = Array.from({ length: size }, (_, j) => {
    let sum = 0;
    for (let row = 0; row < count; row++) sum += rows[row * size + j];
    return sum / count;
  });
  return mean.map((_, i) =>
    mean.map((_unused, j) => {
      let sum = 0;
      for (let row = 0; row < count; row++) sum += (rows[row * size + i] - mean[i]) * (rows[row * size + j] - mean[j]);
      return sum / count;
    }),
  );
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((sum, value, i) => sum + value * b[i], 0);
const times = (matrix: readonly (readonly number[])[], vector: ArrayLike<number>) =>
  matrix.map((row) => dot(row, vector));

/** The largest eigenvalue of a matrix and its vector, by powers of the matrix. */
function largest(matrix: readonly (readonly number[])[]): { value: number; vector: number[] } {
  let vector = matrix.map((_, i) => 1 + 0.1 * i);
  for (let step = 0; step < 3000; step++) {
    const next = times(matrix, vector);
    const length = Math.sqrt(dot(next, next));
    vector = next.map((value) => value / length);
  }
  return { value: dot(vector, times(matrix, vector)), vector };
}

describe('principal components', () => {
  test.each([2, 3, 8, 40])('of %i columns are those that powers of the covariance find', (size) => {
    const rows = mixedRows(300, size, size);
    const { mean, axes, points, shares } = principalComponents(rows, size);
    const covariance = covarianceOf(rows, size);
    const total = covariance.reduce((sum, row, i) => sum + row[i], 0);
    const first = largest(covariance);
    const second = largest(
      covariance.map((row, i) => row.map((value, j) => value - first.value * first.vector[i] * first.vector[j])),
    );
    for (const [axis, { value, vector }] of [first, second].entries()) {
      expect(Math.abs(dot(axes[axis], vector)), `axis ${axis}`).toBeCloseTo(1, 6);
      expect(shares[axis]).toBeCloseTo(value / total, 8);
    }
    expect(dot(axes[0], axes[1])).toBeCloseTo(0, 10);
    for (const row of [0, 17, 299]) {
      const deviation = Array.from(mean, (value, j) => rows[row * size + j] - value);
      for (const axis of [0, 1]) expect(points[2 * row + axis]).toBeCloseTo(dot(axes[axis], deviation), 10);
    }
  });

  test('of two columns give every row back', () => {
    const rows = mixedRows(50, 2, 7);
    const { mean, axes, points, shares } = principalComponents(rows, 2);
    expect(shares[0] + shares[1]).toBeCloseTo(1, 12);
    for (let row = 0; row < 50; row++) {
      for (const j of [0, 1]) {
        const back = mean[j] + axes[0][j] * points[2 * row] + axes[1][j] * points[2 * row + 1];
        expect(back).toBeCloseTo(rows[2 * row + j], 5);
      }
    }
  });

  test('of one column are the column itself', () => {
    const { axes, points, shares } = principalComponents(Float32Array.of(1, 2, 6), 1);
    expect(axes.map((axis) => Array.from(axis))).toEqual([[1], [0]]);
    expect(Array.from(points)).toEqual([-2, 0, -1, 0, 3, 0]);
    expect(shares).toEqual([1, 0]);
  });

  test('explain nothing of rows that are all the same, and are numbers all the same', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 9 }), (size, count) => {
        const { axes, points, shares } = principalComponents(new Float32Array(size * count).fill(0.5), size);
        expect(shares).toEqual([0, 0]);
        expect([...axes[0], ...axes[1], ...points].every(Number.isFinite)).toBe(true);
      }),
    );
  });
});
