import type { Tensor as TfTensor } from '@tensorflow/tfjs';
import { rangeOf } from '../../../onnx/inference/shaping.js';
import { int64 } from '../../../onnx/tensor.js';
import { isTensor, type Tf, type Value } from '../values.js';
import { aroundAxis, broadcastShape, type Call, expand, fromFirst, type Operators, product } from './call.js';

export function shaping(tf: Tf): Operators {
  /** What is on the host stays there. */
  const reshaped = (value: Value, shape: number[]): Value =>
    isTensor(value) ? tf.reshape(value, shape) : { ...value, shape };
  return {
    Shape: (call) => int64(call.shape(0)),
    Size: (call) => int64([product(call.shape(0))], []),
    Reshape: (call) => reshaped(call.value(0), targetShape(call.shape(0), call.numbers(1))),
    Flatten(call) {
      const shape = call.shape(0);
      const axis = fromFirst(call.int('axis', 1), shape.length);
      return reshaped(call.value(0), [product(shape.slice(0, axis)), product(shape.slice(axis))]);
    },
    Squeeze(call) {
      const shape = call.shape(0);
      const axes = call.numbers(1).map((axis) => fromFirst(axis, shape.length));
      return reshaped(
        call.value(0),
        shape.filter((_, axis) => !axes.includes(axis)),
      );
    },
    Unsqueeze(call) {
      const rest = [...call.shape(0)];
      const given = call.numbers(1);
      const rank = rest.length + given.length;
      const axes = given.map((axis) => fromFirst(axis, rank));
      const shape = Array.from({ length: rank }, (_, axis) => (axes.includes(axis) ? 1 : (rest.shift() ?? 1)));
      return reshaped(call.value(0), shape);
    },
    Expand(call) {
      const x = call.tensor(0);
      return expand(tf, x, broadcastShape(tf, [x.shape, call.numbers(1)]));
    },
    Transpose: (call) => tf.transpose(call.tensor(0), [...call.ints('perm')]),
    Concat(call) {
      const tensors = call.tensors();
      return tensors.length === 1 ? tensors[0] : tf.concat(tensors, call.axis(0));
    },
    Split: (call) => tf.split(call.tensor(0), call.numbers(1), call.axis(0)),
    Slice: (call) => slice(tf, call),
    Pad: (call) => pad(tf, call),
    Tile(call) {
      return call.numbers(1).reduce((x, count, axis) => repeatWhole(tf, x, axis, count), call.tensor(0));
    },
  };
}

/** ONNX's Reshape: 0 copies the axis of the input, one -1 takes what is left. */
function targetShape(from: readonly number[], target: readonly number[]): number[] {
  const shape = target.map((length, axis) => (length === 0 ? from[axis] : length));
  const rest = product(shape.filter((length) => length !== -1));
  return shape.map((length) => (length === -1 ? (rest === 0 ? 0 : product(from) / rest) : length));
}

function slice(tf: Tf, call: Call): TfTensor {
  const x = call.tensor(0);
  const [starts, ends, axes] = [call.numbers(1), call.numbers(2), call.numbers(3)];
  const steps = call.has(4) ? call.numbers(4) : starts.map(() => 1);
  return axes.reduce((rest, given, i) => {
    const axis = fromFirst(given, x.shape.length);
    const length = x.shape[axis];
    const { start, end, step } = rangeOf(axis, length, starts[i], ends[i], steps[i]);
    return step > 0
      ? sliceAxis(tf, rest, axis, start, end, step)
      : sliceAxis(tf, tf.reverse(rest, axis), axis, length - 1 - start, length - 1 - end, -step);
  }, x);
}

/** Every step-th element, without tfjs's `stridedSlice`, which it cannot differentiate. */
function sliceAxis(tf: Tf, x: TfTensor, axis: number, start: number, end: number, step: number): TfTensor {
  const cut = cutAxis(tf, x, axis, start, end - start);
  if (step === 1) return cut;
  const [before, length, after] = aroundAxis(cut.shape, axis);
  const count = Math.ceil(length / step);
  const padded = tf.pad(tf.reshape(cut, [before, length, after]), [
    [0, 0],
    [0, count * step - length],
    [0, 0],
  ]);
  const firsts = cutAxis(tf, tf.reshape(padded, [before, count, step, after]), 2, 0, 1);
  return tf.reshape(
    firsts,
    cut.shape.map((old, other) => (other === axis ? count : old)),
  );
}

export function cutAxis(tf: Tf, x: TfTensor, axis: number, start: number, length: number): TfTensor {
  if (start === 0 && length === x.shape[axis]) return x;
  return tf.slice(
    x,
    x.shape.map((_, other) => (other === axis ? start : 0)),
    x.shape.map((old, other) => (other === axis ? length : old)),
  );
}

function pad(tf: Tf, call: Call): TfTensor {
  const x = call.tensor(0);
  const amounts = call.numbers(1);
  const rank = x.shape.length;
  const ends = x.shape.map((_, axis): [number, number] => [amounts[axis], amounts[axis + rank]]);
  const mode = call.string('mode', 'constant');
  if (mode === 'constant') return tf.pad(x, ends, call.has(2) ? call.numbers(2)[0] : 0);
  return ends.reduce((whole, [before, after], axis) => {
    if (before + after === 0) return whole;
    const length = whole.shape[axis];
    const cut = (start: number, count: number) => cutAxis(tf, whole, axis, start, count);
    const start = () =>
      mode === 'reflect' ? tf.reverse(cut(1, before), axis) : repeatWhole(tf, cut(0, 1), axis, before);
    const end = () =>
      mode === 'reflect'
        ? tf.reverse(cut(length - 1 - after, after), axis)
        : repeatWhole(tf, cut(length - 1, 1), axis, after);
    const parts = [...(before > 0 ? [start()] : []), whole, ...(after > 0 ? [end()] : [])];
    return tf.concat(parts, axis);
  }, x);
}

/** The whole of an axis `count` times in a row. */
function repeatWhole(tf: Tf, x: TfTensor, axis: number, count: number): TfTensor {
  if (count === 1) return x;
  const [before, length, after] = aroundAxis(x.shape, axis);
  const repeated = expand(tf, tf.reshape(x, [before, 1, length * after]), [before, count, length * after]);
  return tf.reshape(
    repeated,
    x.shape.map((old, other) => (other === axis ? old * count : old)),
  );
}

/** Each element of an axis `count` times in a row. */
export function repeatEach(tf: Tf, x: TfTensor, axis: number, count: number): TfTensor {
  if (count === 1) return x;
  const [before, length, after] = aroundAxis(x.shape, axis);
  const repeated = expand(tf, tf.reshape(x, [before, length, 1, after]), [before, length, count, after]);
  return tf.reshape(
    repeated,
    x.shape.map((old, other) => (other === axis ? old * count : old)),
  );
}
