import type { Tensor as TfTensor } from '@tensorflow/tfjs';
import type { Tf } from '../values.js';
import { broadcastShape, expand, type Operators, product } from './call.js';

export function linear(tf: Tf): Operators {
  return {
    Gemm(call) {
      const alpha = call.float('alpha', 1);
      const beta = call.float('beta', 1);
      const whole = tf.matMul(call.tensor(0), call.tensor(1), call.int('transA', 0) === 1, call.int('transB', 0) === 1);
      const scaled = alpha === 1 ? whole : tf.mul(whole, alpha);
      if (!call.has(2)) return scaled;
      return tf.add(scaled, beta === 1 ? call.tensor(2) : tf.mul(call.tensor(2), beta));
    },
    MatMul: (call) => matmul(tf, call.tensor(0), call.tensor(1)),
  };
}

/** A vector is a row on the left and a column on the right; matrices come in batches that broadcast. */
function matmul(tf: Tf, a: TfTensor, b: TfTensor): TfTensor {
  const isRow = a.shape.length === 1;
  const isColumn = b.shape.length === 1;
  if (isRow || isColumn) {
    const whole = matmul(tf, isRow ? tf.expandDims(a, 0) : a, isColumn ? tf.expandDims(b, 1) : b);
    const batch = whole.shape.slice(0, -2);
    return tf.reshape(whole, [
      ...batch,
      ...(isRow ? [] : a.shape.slice(-2, -1)),
      ...(isColumn ? [] : b.shape.slice(-1)),
    ]);
  }
  const [m, k] = a.shape.slice(-2);
  const n = b.shape.at(-1) ?? 1;
  if (b.shape.length === 2) {
    const rows = tf.reshape(a, [product(a.shape.slice(0, -1)), k]);
    return tf.reshape(tf.matMul(rows, b), [...a.shape.slice(0, -1), n]);
  }
  const batch = broadcastShape(tf, [a.shape.slice(0, -2), b.shape.slice(0, -2)]);
  const flat = (x: TfTensor) => {
    const matrix = x.shape.slice(-2);
    return tf.reshape(expand(tf, x, [...batch, ...matrix]), [product(batch), ...matrix]);
  };
  return tf.reshape(tf.matMul(flat(a), flat(b)), [...batch, m, n]);
}
