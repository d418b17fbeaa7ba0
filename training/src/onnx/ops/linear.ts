import { float, int } from '../graph.js';
import type { Tensor } from '../tensor.js';
import { apply } from './apply.js';

/** alpha · op(A) · op(B) + beta · C, for matrices; C broadcasts. */
export function gemm(
  a: Tensor,
  b: Tensor,
  c?: Tensor,
  { transA = false, transB = false, alpha = 1, beta = 1 } = {},
): Tensor {
  return apply('Gemm', c === undefined ? [a, b] : [a, b, c], {
    ...(transA ? { transA: int(1) } : {}),
    ...(transB ? { transB: int(1) } : {}),
    ...(alpha !== 1 ? { alpha: float(alpha) } : {}),
    ...(beta !== 1 ? { beta: float(beta) } : {}),
  });
}

/** NumPy's product of matrices: leading axes broadcast, a vector counts as a row on the left, a column on the right. */
export function matmul(a: Tensor, b: Tensor): Tensor {
  return apply('MatMul', [a, b]);
}
