import { type Shape, sameShape } from '../tensor.js';
import { axisOf, type Call, constantInteger, type Inference, numbers } from './call.js';

/** Operators that pick elements by their position, or put them there. */
export const INDEXING: Record<string, Inference> = {
  Gather(call) {
    const x = call.input(0);
    const indices = call.input(1, 'int64', 'int32');
    const axis = axisOf(call, call.int('axis', 0), x.shape.length);
    return [{ dtype: x.dtype, shape: [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)] }];
  },
  GatherElements(call) {
    const x = call.input(0);
    const indices = call.input(1, 'int64', 'int32');
    const axis = axisOf(call, call.int('axis', 0), x.shape.length);
    checkPositions(call, x.shape, indices.shape, axis);
    return [{ dtype: x.dtype, shape: indices.shape }];
  },
  /** The data with the updates added at their positions, as often as these repeat. */
  ScatterElements(call) {
    const x = call.input(0, 'float32');
    const indices = call.input(1, 'int64', 'int32');
    const updates = call.input(2, 'float32');
    const axis = axisOf(call, call.int('axis', 0), x.shape.length);
    if (call.string('reduction', 'none') !== 'add') call.refuse('attribute reduction must be add');
    checkPositions(call, x.shape, indices.shape, axis);
    if (!sameShape(indices.shape, updates.shape)) call.refuse('each update needs one index');
    return [{ dtype: x.dtype, shape: x.shape }];
  },
  /** Outputs the k largest (or smallest) elements along an axis in order, and their positions. */
  TopK(call) {
    const { shape } = call.input(0, 'float32');
    const axis = axisOf(call, call.int('axis', -1), shape.length);
    call.int('largest', 1);
    const counts = numbers(call, 1);
    const [k] = counts;
    const length = shape[axis];
    if (counts.length !== 1 || k === undefined || k < 1 || (typeof length === 'number' && k > length)) {
      return call.refuse(`k must be one number from 1 to ${length}`);
    }
    return [
      { dtype: 'float32', shape: shape.with(axis, k) },
      { dtype: 'int64', shape: shape.with(axis, k) },
    ];
  },
  /** Indices, the number of classes, and a vector of the two values [off, on]. */
  OneHot(call) {
    const indices = call.input(0, 'int64');
    const depth = constantInteger(call, 1);
    const values = call.input(2, 'float32', 'int64');
    if (values.shape.length !== 1 || values.shape[0] !== 2) call.refuse('values must be two: off and on');
    if (indices.shape.length === 0) call.refuse('indices must have an axis');
    if (depth < 1) call.refuse('the number of classes must be 1 or more');
    if (call.int('axis', -1) !== -1) call.refuse('attribute axis must be -1');
    return [{ dtype: values.dtype, shape: [...indices.shape, depth] }];
  },
};

/** ONNX lets the indices be shorter than the data along the other axes; here they must be as long. */
function checkPositions(call: Call, data: Shape, indices: Shape, axis: number): void {
  const agree = indices.length === data.length && data.every((dimension, i) => i === axis || dimension === indices[i]);
  if (!agree) call.refuse(`indices must have the shape of the data outside axis ${axis}`);
}
