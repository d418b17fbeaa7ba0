import { EigenvalueDecomposition, Matrix } from 'ml-matrix';

/** Points in the plane in which they spread most. */
export interface Projection {
  /** Of the rows, [size]. */
  readonly mean: Float64Array;
  /** Orthogonal unit vectors of the plane, [size] each; of rows of one number the second is 0. */
  readonly axes: readonly [Float64Array, Float64Array];
  /** axes · (row − mean), [n, 2], row-major. */
  readonly points: Float64Array;
  /** Share of the whole variance along each axis, 0 to 1. */
  readonly shares: readonly [number, number];
}

/**
 * The first two principal components (Pearson, 1901). Each axis points to where its largest weight is positive, so that
 * the same data give the same picture.
 * @param rows [n, size], row-major
 */
export function principalComponents(rows: Float32Array, size: number): Projection {
  const count = rows.length / size;
  const sum = new Float64Array(size);
  for (let i = 0; i < rows.length; i++) sum[i % size] += rows[i];
  // Divided once, so that rows that are all the same have no variance by rounding.
  const mean = sum.map((total) => total / count);
  const products = new Float64Array(size * size);
  for (let at = 0; at < rows.length; at += size) {
    for (let i = 0; i < size; i++) {
      const deviation = rows[at + i] - mean[i];
      for (let j = 0; j <= i; j++) products[i * size + j] += deviation * (rows[at + j] - mean[j]);
    }
  }
  const covariance = Matrix.zeros(size, size);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      covariance.set(i, j, products[i * size + j] / count);
      covariance.set(j, i, products[i * size + j] / count);
    }
  }
  const { realEigenvalues: variances, eigenvectorMatrix: vectors } = new EigenvalueDecomposition(covariance, {
    assumeSymmetric: true,
  });
  const order = variances.map((_, i) => i).sort((a, b) => variances[b] - variances[a]);
  const axisOf = (place: number) =>
    place < size ? towardsPositive(vectors.getColumn(order[place])) : new Float64Array(size);
  const axes = [axisOf(0), axisOf(1)] as const;
  const points = new Float64Array(2 * count);
  for (let row = 0; row < count; row++) {
    for (const [axis, weights] of axes.entries()) {
      let sum = 0;
      for (let j = 0; j < size; j++) sum += (rows[row * size + j] - mean[j]) * weights[j];
      points[2 * row + axis] = sum;
    }
  }
  const total = variances.reduce((sum, variance) => sum + variance, 0);
  // What is left of variances of 0 may be a little below.
  const share = (place: number) =>
    place < size && total > 0 ? Math.min(1, Math.max(0, variances[order[place]]) / total) : 0;
  return { mean, axes, points, shares: [share(0), share(1)] };
}

function towardsPositive(vector: readonly number[]): Float64Array {
  const largest = vector.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
  return Float64Array.from(vector, (value) => (largest < 0 ? -value : value));
}
