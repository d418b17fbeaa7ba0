import { gemm, reduceSum, sqrt, square } from '../onnx/ops.js';
import { float32, type Tensor } from '../onnx/tensor.js';

/** Numbers that ONNX Runtime adds at a time. */
const LANES = 4;

/**
 * Each row times a matrix: [N, K] → [N, at least K].
 * Columns of zeros fill the matrix up: sums over a row of another length round differently at different places of a batch.
 * @param matrix [K, K], row-major
 */
export function transformed(rows: Tensor, matrix: ArrayLike<number>): Tensor {
  const size = Math.round(Math.sqrt(matrix.length));
  const columns = LANES * Math.ceil(size / LANES);
  const filled = new Float32Array(size * columns);
  for (let i = 0; i < matrix.length; i++) filled[Math.floor(i / size) * columns + (i % size)] = matrix[i];
  return gemm(rows, rows.graph.constant(float32(filled, [size, columns])));
}

/** The length of each row: [N, K] → [N]. */
export function lengths(rows: Tensor): Tensor {
  return sqrt(reduceSum(square(rows), [1]));
}
