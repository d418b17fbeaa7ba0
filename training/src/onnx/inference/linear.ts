import { type Dimension, formatShape, type Shape } from '../tensor.js';
import { broadcast, type Call, type Inference } from './call.js';

/** Products of matrices. */
export const LINEAR: Record<string, Inference> = {
  Gemm(call) {
    call.float('alpha', 1);
    call.float('beta', 1);
    const a = call.input(0, 'float32');
    const b = call.input(1, 'float32');
    const [transA, transB] = [call.int('transA', 0) === 1, call.int('transB', 0) === 1];
    if (a.shape.length !== 2 || b.shape.length !== 2) call.refuse('A and B must have two axes');
    const [m, k] = transA ? [a.shape[1], a.shape[0]] : a.shape;
    const [kOfB, n] = transB ? [b.shape[1], b.shape[0]] : b.shape;
    if (k !== kOfB) call.refuse(`inner dimensions ${k} and ${kOfB} differ`);
    const shape = [m as Dimension, n as Dimension];
    const c = call.optional(2) === undefined ? undefined : call.input(2, 'float32');
    if (c !== undefined && formatShape(broadcast(call, c.shape, shape)) !== formatShape(shape)) {
      call.refuse(`C does not broadcast to ${formatShape(shape)}`);
    }
    return [{ dtype: 'float32', shape }];
  },
  MatMul(call) {
    const a = call.input(0, 'float32').shape;
    const b = call.input(1, 'float32').shape;
    if (a.length === 0 || b.length === 0) call.refuse('a scalar has no axis to multiply along');
    return [{ dtype: 'float32', shape: matmulShape(call, a, b) }];
  },
};

/** A vector counts as a row on the left and as a column on the right; the product lacks that axis. */
function matmulShape(call: Call, a: Shape, b: Shape): Shape {
  const [k, kOfB] = [a.at(-1), b.at(b.length === 1 ? 0 : -2)];
  if (k !== kOfB) call.refuse(`inner dimensions ${k} and ${kOfB} differ`);
  const batch = broadcast(call, a.slice(0, -2), b.slice(0, -2));
  return [...batch, ...a.slice(0, -1).slice(-1), ...(b.length === 1 ? [] : b.slice(-1))];
}
