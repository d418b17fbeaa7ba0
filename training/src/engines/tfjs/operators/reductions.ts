import type { Tensor as TfTensor } from '@tensorflow/tfjs';
import type { Tf } from '../values.js';
import { type Call, fromFirst, type Operators, onLastAxis } from './call.js';

export function reductions(tf: Tf): Operators {
  const reduction = (f: (x: TfTensor, axes: number[], keepdims: boolean) => TfTensor) => (call: Call) => {
    const x = call.tensor(0);
    const axes = call.numbers(1).map((axis) => fromFirst(axis, x.shape.length));
    return f(x, axes, call.int('keepdims', 1) === 1);
  };
  return {
    ReduceSum: reduction(tf.sum),
    ReduceMean: reduction(tf.mean),
    ReduceProd: reduction(tf.prod),
    ReduceMax: reduction(tf.max),
    ReduceMin: reduction(tf.min),
    ReduceL1: reduction((x, axes, keepdims) => tf.sum(tf.abs(x), axes, keepdims)),
    ReduceL2: reduction((x, axes, keepdims) => tf.sqrt(tf.sum(tf.square(x), axes, keepdims))),
    ReduceSumSquare: reduction((x, axes, keepdims) => tf.sum(tf.square(x), axes, keepdims)),
    ReduceLogSumExp: reduction(tf.logSumExp),
    ArgMax(call) {
      const axis = call.axis(0);
      const positions = tf.argMax(call.tensor(0), axis);
      return call.int('keepdims', 1) === 1 ? tf.expandDims(positions, axis) : positions;
    },
    CumSum(call) {
      const axis = fromFirst(call.numbers(1)[0], call.shape(0).length);
      const [exclusive, reverse] = [call.int('exclusive', 0) === 1, call.int('reverse', 0) === 1];
      // tfjs's gradient of a sum along another axis has the wrong shape.
      return onLastAxis(tf, call.tensor(0), axis, (x) => tf.cumsum(x, x.shape.length - 1, exclusive, reverse));
    },
  };
}
