import { axesOf, axisOf, constantInteger, each, type Inference, typeOf } from './call.js';

/** Operators that combine the elements along axes. */
export const REDUCTIONS: Record<string, Inference> = {
  // The axes are a constant second input (opset 18); reduced ones are kept as 1 unless keepdims is 0.
  ...each(
    // biome-ignore format: one line a family
    [
      'ReduceSum', 'ReduceMean', 'ReduceProd', 'ReduceMax', 'ReduceMin',
      'ReduceL1', 'ReduceL2', 'ReduceSumSquare', 'ReduceLogSumExp',
    ],
    (call) => {
      const x = call.input(0, 'float32');
      const reduced = axesOf(call, 1, x.shape.length);
      // ONNX takes no axes for all axes; here each is named.
      if (reduced.size === 0 && x.shape.length > 0) call.refuse('axes must be named');
      const keep = call.int('keepdims', 1) === 1;
      const shape = x.shape.flatMap((dimension, axis) => (reduced.has(axis) ? (keep ? [1] : []) : [dimension]));
      return [{ dtype: x.dtype, shape }];
    },
  ),
  ArgMax(call) {
    const { shape } = call.input(0, 'float32');
    const axis = axisOf(call, call.int('axis', 0), shape.length);
    return [{ dtype: 'int64', shape: call.int('keepdims', 1) === 1 ? shape.with(axis, 1) : shape.toSpliced(axis, 1) }];
  },
  CumSum(call) {
    const x = call.input(0, 'float32');
    axisOf(call, constantInteger(call, 1), x.shape.length);
    call.int('exclusive', 0);
    call.int('reverse', 0);
    return [typeOf(x)];
  },
};
