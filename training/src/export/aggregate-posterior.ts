import { CholeskyDecomposition, inverse, Matrix } from 'ml-matrix';

/** The latent distribution of normal data, as the Mahalanobis component measures distances to it. */
export interface AggregatePosterior {
  /** [Z] */
  readonly mean: Float64Array;
  /** [Z, Z] row-major: (μ − mean) · whitening has unit covariance. */
  readonly whitening: Float64Array;
}

/**
 * Moments of q(z) = (1/n) Σ q(z | x_i): covariance Cov(μ) + E[diag σ²], which is near the identity where the model
 * fits its prior, and never singular, since an unused dimension has σ² near 1.
 * @param means [n, Z] posterior means
 * @param logVariances [n, Z]
 */
export function aggregatePosterior(
  means: Float32Array,
  logVariances: Float32Array,
  latentSize: number,
): AggregatePosterior {
  const count = means.length / latentSize;
  const mean = new Float64Array(latentSize);
  for (let i = 0; i < means.length; i++) mean[i % latentSize] += means[i] / count;
  const covariance = Matrix.zeros(latentSize, latentSize);
  for (let row = 0; row < count; row++) {
    const at = row * latentSize;
    for (let i = 0; i < latentSize; i++) {
      const deviation = means[at + i] - mean[i];
      for (let j = 0; j <= i; j++) {
        covariance.set(i, j, covariance.get(i, j) + (deviation * (means[at + j] - mean[j])) / count);
      }
    }
  }
  for (let i = 0; i < latentSize; i++) for (let j = 0; j < i; j++) covariance.set(j, i, covariance.get(i, j));
  for (let i = 0; i < logVariances.length; i++) {
    const dimension = i % latentSize;
    covariance.set(dimension, dimension, covariance.get(dimension, dimension) + Math.exp(logVariances[i]) / count);
  }
  return { mean, whitening: Float64Array.from(whiteningOf(covariance).to1DArray()) };
}

/**
 * W with Wᵀ · covariance · W = I, for row vectors x · W: the transposed inverse of the Cholesky factor.
 * @throws {Error} where the covariance is not positive definite
 */
export function whiteningOf(covariance: Matrix): Matrix {
  const cholesky = new CholeskyDecomposition(covariance);
  if (!cholesky.isPositiveDefinite()) throw new Error('the covariance is not positive definite');
  return inverse(cholesky.lowerTriangularMatrix).transpose();
}
