import { RandomSource } from '@elbo/models';
import type { Features } from '@elbo/training/sample-quality/features';
import { frechetDistance, type Moments, momentsOf } from '@elbo/training/sample-quality/frechet-distance';
import { Matrix } from 'ml-matrix';
import { describe, expect, test } from 'vitest';
import { featuresFrom } from './support/features.js';

const random = new RandomSource(5);
const normals = (count: number) => random.fillNormal(new Float32Array(count));

const diagonal = (mean: readonly number[], variances: readonly number[]): Moments => ({
  mean: Float64Array.from(mean),
  covariance: Matrix.diag([...variances]),
});

function noise(count: number, size: number): Features {
  return { count, size, values: normals(count * size) };
}

/** x → x · matrix + shift, of each row. */
function mapped({ count, size, values }: Features, matrix: Matrix, shift: readonly number[]): Features {
  const rows = Array.from({ length: count }, (_, i) =>
    shift.map(
      (offset, column) =>
        offset +
        matrix.getColumn(column).reduce((sum, weight, k) => sum + weight * (values[i * size + k] as number), 0),
    ),
  );
  return featuresFrom(rows);
}

/** A rotation of the plane of the first two of some axes, then of the second and the last. */
function rotation(size: number): Matrix {
  const [c, s] = [Math.cos(0.7), Math.sin(0.7)];
  const turn = (i: number, j: number) => Matrix.eye(size).set(i, i, c).set(j, j, c).set(i, j, s).set(j, i, -s);
  return turn(0, 1).mmul(turn(1, size - 1));
}

describe('moments of features', () => {
  test('are the mean and the covariance with n − 1, of a set worked out by hand', () => {
    const { mean, covariance } = momentsOf(
      featuresFrom([
        [1, 2],
        [3, 2],
        [5, 8],
      ]),
    );
    expect([...mean]).toEqual([3, 4]);
    expect(covariance.to2DArray()).toEqual([
      [4, 6],
      [6, 12],
    ]);
  });

  test('keep small variances beside a large mean', () => {
    const { covariance } = momentsOf(featuresFrom([[4096], [4097], [4098]]));
    expect(covariance.get(0, 0)).toBeCloseTo(1, 10);
  });
});

describe('the Fréchet distance', () => {
  test('of Gaussians with diagonal covariances is |m₁ − m₂|² + Σ (σ₁ − σ₂)²', () => {
    const a = diagonal([1, -2, 0.5, 3], [4, 0.25, 9, 0]);
    const b = diagonal([0, 2, 0.5, 2], [1, 2.25, 9, 0.01]);
    const expected = 1 + 16 + 0 + 1 + ((2 - 1) ** 2 + (0.5 - 1.5) ** 2 + 0 + 0.1 ** 2);
    expect(frechetDistance(a, b)).toBeCloseTo(expected, 10);
    expect(frechetDistance(b, a)).toBeCloseTo(expected, 10);
  });

  test('of covariances that do not commute agrees with the eigenvalues of C₁ C₂ in two dimensions', () => {
    // tr (C₁ C₂)^½ = √(tr M + 2 √det M) for a 2 × 2 matrix M with positive eigenvalues.
    const of = (covariance: number[][]): Moments => ({ mean: new Float64Array(2), covariance: new Matrix(covariance) });
    const a = of([
      [2, 1.2],
      [1.2, 1],
    ]);
    const b = of([
      [1, -0.6],
      [-0.6, 3],
    ]);
    const trace = 2 * 1 - 2 * 1.2 * 0.6 + 1 * 3;
    const determinant = (2 * 1 - 1.2 ** 2) * (1 * 3 - 0.6 ** 2);
    const overlap = Math.sqrt(trace + 2 * Math.sqrt(determinant));
    expect(frechetDistance(a, b)).toBeCloseTo(3 + 4 - 2 * overlap, 10);
  });

  test('does not change when both sets are rotated and shifted alike', () => {
    const size = 5;
    const scale = Matrix.diag([1, 2, 0.5, 3, 1]);
    const [a, b] = [noise(200, size), mapped(noise(300, size), scale, [1, 0, 0, 2, 0])];
    const before = frechetDistance(momentsOf(a), momentsOf(b));
    const turned = [a, b].map((set) => momentsOf(mapped(set, rotation(size), [4, -1, 2, 0, 1])));
    expect(before).toBeGreaterThan(5);
    expect(frechetDistance(turned[0] as Moments, turned[1] as Moments)).toBeCloseTo(before, 3);
  });

  test('of a set and itself shifted is the squared shift, scaled by s it is (s − 1)² tr C + |(s − 1) m|²', () => {
    const set = mapped(noise(500, 4), rotation(4), [1, 2, 3, 4]);
    const { mean, covariance } = momentsOf(set);
    const shifted = momentsOf(mapped(set, Matrix.eye(4), [1, -2, 0, 2]));
    expect(frechetDistance({ mean, covariance }, shifted)).toBeCloseTo(9, 4);
    const scaled = momentsOf(mapped(set, Matrix.eye(4).mul(3), [0, 0, 0, 0]));
    const length = mean.reduce((sum, value) => sum + value * value, 0);
    expect(frechetDistance({ mean, covariance }, scaled)).toBeCloseTo(4 * covariance.trace() + 4 * length, 3);
  });

  test('of a set and itself is 0, with features that never fire or fire as one', () => {
    const { count, values } = noise(40, 1);
    const set = featuresFrom(
      Array.from({ length: count }, (_, i) => [values[i] as number, 0, 2 * (values[i] as number), 7]),
    );
    const moments = momentsOf(set);
    const distance = frechetDistance(moments, moments);
    expect(distance).toBeGreaterThanOrEqual(0);
    expect(distance).toBeLessThan(1e-6);
  });

  test('is finite with fewer images than features', () => {
    const [a, b] = [momentsOf(noise(10, 30)), momentsOf(noise(10, 30))];
    expect(frechetDistance(a, b)).toBeGreaterThan(0);
    expect(frechetDistance(a, b)).toBeLessThan(100);
  });
});
