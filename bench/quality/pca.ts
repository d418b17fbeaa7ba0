import { EigenvalueDecomposition, Matrix } from 'ml-matrix';

/** Rows of counts, [count, size] row-major. */
export interface Counts {
  readonly count: number;
  readonly size: number;
  readonly values: ArrayLike<number>;
}

/**
 * Principal components of single cells as they are usually taken: counts divided by the cell's sum, times the training
 * part's median sum, log(1 + x), centred by the training part's means.
 * @returns the first components of all cells, [count, components] row-major, of both parts
 */
export class PrincipalComponents {
  readonly #train: Matrix;
  readonly #test: Matrix;
  /** [genes, rank], the strongest first. */
  readonly #directions: Matrix;

  constructor(train: Counts, test: Counts) {
    const totals = Float64Array.from({ length: train.count }, (_, i) => total(train, i)).sort();
    const median = totals[Math.floor(totals.length / 2)];
    this.#train = logarithms(train, median);
    const means = this.#train.mean('column');
    this.#train.subRowVector(means);
    this.#test = logarithms(test, median).subRowVector(means);
    // There are fewer cells than genes: the eigenvectors of the cells' products give the directions.
    const products = new EigenvalueDecomposition(this.#train.mmul(this.#train.transpose()), { assumeSymmetric: true });
    const order = [...products.realEigenvalues.keys()]
      .filter((i) => products.realEigenvalues[i] > 1e-9)
      .sort((a, b) => products.realEigenvalues[b] - products.realEigenvalues[a]);
    const scores = products.eigenvectorMatrix.subMatrixColumn(order);
    const scales = order.map((i) => 1 / Math.sqrt(products.realEigenvalues[i]));
    this.#directions = this.#train.transpose().mmul(scores).mulRowVector(scales);
  }

  project(components: number): { readonly train: Float32Array; readonly test: Float32Array } {
    const directions = this.#directions.subMatrix(0, this.#directions.rows - 1, 0, components - 1);
    const [train, test] = [this.#train, this.#test].map((rows) => Float32Array.from(rows.mmul(directions).to1DArray()));
    return { train, test };
  }
}

function total({ size, values }: Counts, row: number): number {
  let sum = 0;
  for (let j = 0; j < size; j++) sum += values[row * size + j];
  return sum;
}

function logarithms(counts: Counts, median: number): Matrix {
  const { count, size, values } = counts;
  const rows = new Matrix(count, size);
  for (let i = 0; i < count; i++) {
    const factor = median / Math.max(1, total(counts, i));
    for (let j = 0; j < size; j++) rows.set(i, j, Math.log1p(values[i * size + j] * factor));
  }
  return rows;
}
