import { EigenvalueDecomposition, Matrix } from 'ml-matrix';
import type { Features } from './features.js';

/** Of the Gaussian that features are taken for. */
export interface Moments {
  /** [size] */
  readonly mean: Float64Array;
  /** [size, size], with n − 1 below the sums. */
  readonly covariance: Matrix;
}

/** @param features of at least 2 images */
export function momentsOf({ count, size, values }: Features): Moments {
  const mean = new Float64Array(size);
  for (let i = 0; i < values.length; i++) mean[i % size] += values[i] / count;
  const products = new Float64Array(size * size);
  const centred = new Float64Array(size);
  for (let row = 0; row < count; row++) {
    for (let i = 0; i < size; i++) centred[i] = values[row * size + i] - mean[i];
    for (let i = 0; i < size; i++) {
      for (let j = 0; j <= i; j++) products[i * size + j] += centred[i] * centred[j];
    }
  }
  const covariance = Matrix.zeros(size, size);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      const value = products[i * size + j] / (count - 1);
      covariance.set(i, j, value).set(j, i, value);
    }
  }
  return { mean, covariance };
}

/**
 * The squared Fréchet distance of two Gaussians, |m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁ C₂)^½) (Dowson & Landau, 1982; the
 * formula of FID, Heusel et al., 2017, eq. 6). C₁ C₂ is not symmetric and its root may come out complex; it has the
 * eigenvalues of C₁^½ C₂ C₁^½, which is symmetric and has none below 0 but for rounding.
 * @returns at least 0, in squared units of the features
 */
export function frechetDistance(a: Moments, b: Moments): number {
  const shift = a.mean.reduce((sum, value, i) => sum + (value - b.mean[i]) ** 2, 0);
  const root = rootOf(a.covariance);
  const product = root.mmul(b.covariance).mmul(root);
  // Rounding makes it slightly asymmetric.
  const symmetric = Matrix.add(product, product.transpose()).mul(0.5);
  const { realEigenvalues } = new EigenvalueDecomposition(symmetric, { assumeSymmetric: true });
  const overlap = realEigenvalues.reduce((sum, value) => sum + Math.sqrt(Math.max(0, value)), 0);
  return Math.max(0, shift + a.covariance.trace() + b.covariance.trace() - 2 * overlap);
}

/** The symmetric square root of a covariance, which may be singular. */
function rootOf(covariance: Matrix): Matrix {
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(covariance, { assumeSymmetric: true });
  const scaled = eigenvectorMatrix.clone();
  for (const [i, value] of realEigenvalues.entries()) scaled.mulColumn(i, Math.sqrt(Math.max(0, value)));
  return scaled.mmul(eigenvectorMatrix.transpose());
}
