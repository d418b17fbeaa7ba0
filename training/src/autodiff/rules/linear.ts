import type { Node } from '../../onnx/graph.js';
import { gemm, matmul, mul, squeeze, transpose, unsqueeze } from '../../onnx/ops.js';
import type { Tensor } from '../../onnx/tensor.js';
import { floatAttribute, intAttribute, type Rules, sumTo } from './rule.js';

export const LINEAR: Rules = {
  // Y = alpha * op(A) op(B) + beta * C; each factor's gradient is again a Gemm, with no transposed copy.
  Gemm: ({ inputs: [a, b, c], node }, g) => {
    const { transA, transB, alpha, beta } = gemmAttributes(node);
    return [
      () =>
        transA
          ? gemm(b, g, undefined, { transA: transB, transB: true, alpha })
          : gemm(g, b, undefined, { transB: !transB, alpha }),
      () =>
        transB
          ? gemm(g, a, undefined, { transA: true, transB: transA, alpha })
          : gemm(a, g, undefined, { transA: !transA, alpha }),
      () => sumTo(beta === 1 ? g : mul(g, beta), c),
    ];
  },
  // A vector is a matrix of one row (on the left) or one column (on the right).
  MatMul: ({ inputs: [a, b] }, g) => {
    const [row, column] = [a.shape.length === 1, b.shape.length === 1];
    const [left, right] = [row ? unsqueeze(a, [0]) : a, column ? unsqueeze(b, [1]) : b];
    const product = unsqueezed(g, [...(row ? [-2] : []), ...(column ? [-1] : [])]);
    return [
      () => squeezed(sumTo(matmul(product, swapLastAxes(right)), left), row ? [0] : []),
      () => squeezed(sumTo(matmul(swapLastAxes(left), product), right), column ? [1] : []),
    ];
  },
};

function unsqueezed(x: Tensor, axes: readonly number[]): Tensor {
  return axes.length === 0 ? x : unsqueeze(x, axes);
}

function squeezed(x: Tensor, axes: readonly number[]): Tensor {
  return axes.length === 0 ? x : squeeze(x, axes);
}

function swapLastAxes(x: Tensor): Tensor {
  const order = x.shape.map((_, axis) => axis);
  const last = order.length - 1;
  return transpose(x, [...order.slice(0, -2), last, last - 1]);
}

function gemmAttributes(node: Node): { transA: boolean; transB: boolean; alpha: number; beta: number } {
  return {
    transA: intAttribute(node, 'transA', 0) === 1,
    transB: intAttribute(node, 'transB', 0) === 1,
    alpha: floatAttribute(node, 'alpha', 1),
    beta: floatAttribute(node, 'beta', 1),
  };
}
