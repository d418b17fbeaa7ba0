import { CholeskyDecomposition, inverse, Matrix } from 'ml-matrix';

/** The latent distribution of normal data, as the Mahalanobis component measures distances to it. */
export interface AggregatePosterior {
  /** [Z] */
  readonly mean: Float64Array;
  /** [Z, Z] row-major: (μ − mean) · whitening has unit covariance. */
  readonly whitening: Float64Array;
}

/** First and second moments of the latents of some examples. */
export interface LatentMoments {
  /** [Z] */
  readonly mean: Float64Array;
  /** Of q(z): that of the posterior means, plus the mean posterior variances on the diagonal. [Z, Z], row-major. */
  readonly covariance: Float64Array;
  /** Variance of the posterior means alone: [Z]. */
  readonly varianceOfMeans: Float64Array;
}

/**
 * Moments of q(z) = (1/n) Σ q(z | x_i): covariance Cov(μ) + E[diag σ²], which is near the identity where the model
 * fits its prior, and never singular, since an unused dimension has σ² near 1.
 */
export class AggregatePosteriorEstimator {
  readonly #size: number;
  #count = 0;
  readonly #sum: Float64Array;
  readonly #variance: Float64Array;
  /** Σ μ μᵀ, its lower triangle. */
  readonly #products: Float64Array;

  constructor(latentSize: number) {
    this.#size = latentSize;
    this.#sum = new Float64Array(latentSize);
    this.#variance = new Float64Array(latentSize);
    this.#products = new Float64Array(latentSize * latentSize);
  }

  /**
   * @param means [n, Z] posterior means
   * @param logVariances [n, Z]
   */
  add(means: Float32Array, logVariances: Float32Array): void {
    const size = this.#size;
    for (let at = 0; at < means.length; at += size) {
      this.#count++;
      for (let i = 0; i < size; i++) {
        this.#sum[i] += means[at + i];
        this.#variance[i] += Math.exp(logVariances[at + i]);
        for (let j = 0; j <= i; j++) this.#products[i * size + j] += means[at + i] * means[at + j];
      }
    }
  }

  moments(): LatentMoments {
    const size = this.#size;
    const count = this.#count;
    const mean = this.#sum.map((sum) => sum / count);
    const covariance = new Float64Array(size * size);
    const varianceOfMeans = new Float64Array(size);
    for (let i = 0; i < size; i++) {
      for (let j = 0; j <= i; j++) {
        const ofMeans = this.#products[i * size + j] / count - mean[i] * mean[j];
        // Rounding can leave a variance of 0 slightly below it.
        if (i === j) varianceOfMeans[i] = Math.max(0, ofMeans);
        const value = ofMeans + (i === j ? this.#variance[i] / count : 0);
        covariance[i * size + j] = value;
        covariance[j * size + i] = value;
      }
    }
    return { mean, covariance, varianceOfMeans };
  }

  estimate(): AggregatePosterior {
    const { mean, covariance } = this.moments();
    const size = this.#size;
    const whitening = whiteningOf(Matrix.from1DArray(size, size, covariance));
    return { mean, whitening: Float64Array.from(whitening.to1DArray()) };
  }
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
