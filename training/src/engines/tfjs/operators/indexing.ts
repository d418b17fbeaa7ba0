import type { Tensor as TfTensor } from '@tensorflow/tfjs';
import { DATA_TYPES, type TensorData, type TypedArray } from '../../../onnx/tensor.js';
import { isTensor, numbersOf, type Tf, toTensor, type Value } from '../values.js';
import { aroundAxis, detached, expand, fromFirst, type Operators, onLastAxis, product } from './call.js';

export function indexing(tf: Tf): Operators {
  return {
    Gather(call) {
      const axis = call.axis(0);
      const [x, indices] = [call.value(0), call.value(1)];
      if (!isTensor(x)) return onHost(tf, gatherOnHost(x, numbersOf(indices), indices.shape, axis));
      if (indices.shape.length > 0) return tf.gather(x, fromStart(tf, call.tensor(1), x.shape[axis]), axis);
      const at = fromFirst(numbersOf(indices)[0], x.shape[axis]);
      if (!(at >= 0 && at < x.shape[axis])) throw new Error(`index ${at} is outside axis ${axis} of [${x.shape}]`);
      return tf.squeeze(
        tf.slice(
          x,
          x.shape.map((_, i) => (i === axis ? at : 0)),
          x.shape.with(axis, 1),
        ),
        [axis],
      );
    },
    GatherElements(call) {
      const x = call.tensor(0);
      return gatherFlat(tf, x, flatPositions(tf, call.tensor(1), x.shape, call.axis(0)));
    },
    ScatterElements(call) {
      const x = call.tensor(0);
      const positions = flatPositions(tf, call.tensor(1), x.shape, call.axis(0));
      return tf.add(x, scatterFlat(tf, call.tensor(2), positions, x.shape));
    },
    TopK(call) {
      const x = call.tensor(0);
      const axis = call.axis(-1);
      const [k] = call.numbers(1);
      const sign = call.int('largest', 1) === 1 ? 1 : -1;
      // tfjs does not differentiate topk, so the values are gathered at its positions.
      const indices = detached(
        tf,
        onLastAxis(tf, x, axis, (rows) => tf.topk(tf.mul(rows, sign), k, true).indices),
      );
      return [gatherFlat(tf, x, flatPositions(tf, indices, x.shape, axis)), indices];
    },
    OneHot(call) {
      const [depth] = call.numbers(1);
      const [off, on] = call.numbers(2);
      const indices = tf.expandDims(fromStart(tf, call.tensor(0), depth), -1);
      const dtype = call.tensor(2).dtype === 'int32' ? 'int32' : 'float32';
      // tfjs's own oneHot refuses one class.
      const hot = tf.equal(indices, tf.range(0, depth, 1, 'int32'));
      const all = (value: number) => expand(tf, tf.scalar(value, dtype), hot.shape);
      return tf.where(hot, all(on), all(off));
    },
  };
}

/** Indices below 0 count from the end. */
function fromStart(tf: Tf, indices: TfTensor, length: number): TfTensor {
  return tf.add(indices, tf.mul(tf.cast(tf.less(indices, tf.scalar(0, 'int32')), 'int32'), tf.scalar(length, 'int32')));
}

/** What tfjs has an element type for becomes a tensor. */
function onHost(tf: Tf, data: TensorData): Value {
  return data.dtype === 'uint8' || data.dtype === 'int64' ? data : toTensor(tf, data);
}

/** Without a copy where it is one part of the whole, as a minibatch is of the examples of many. */
function gatherOnHost(
  { dtype, shape, data }: TensorData,
  indices: readonly number[],
  indicesShape: readonly number[],
  axis: number,
): TensorData {
  const [before, length, after] = aroundAxis(shape, axis);
  const places = indices.map((index) => {
    const place = fromFirst(index, length);
    if (place >= 0 && place < length) return place;
    throw new Error(`index ${index} is outside axis ${axis} of [${shape}]`);
  });
  const result = [...shape.slice(0, axis), ...indicesShape, ...shape.slice(axis + 1)];
  if (before === 1 && places.length === 1) {
    return { dtype, shape: result, data: data.subarray(places[0] * after, (places[0] + 1) * after) };
  }
  const gathered: TypedArray = new DATA_TYPES[dtype].array(before * places.length * after);
  for (let i = 0; i < before; i++) {
    for (const [j, place] of places.entries()) {
      const from = (i * length + place) * after;
      gathered.set(data.subarray(from, from + after) as never, (i * places.length + j) * after);
    }
  }
  return { dtype, shape: result, data: gathered };
}

/** Where the elements that indices along an axis name lie in the flattened data, whose other axes are as long. */
function flatPositions(tf: Tf, indices: TfTensor, shape: readonly number[], axis: number): TfTensor {
  const [, length, after] = aroundAxis(shape, axis);
  const [before, count] = aroundAxis(indices.shape, axis);
  const wrong = numbersOf(indices).find((index) => !(index >= -length && index < length));
  if (wrong !== undefined) throw new Error(`index ${wrong} is outside axis ${axis} of [${shape}]`);
  const starts = tf.mul(tf.range(0, before, 1, 'int32'), tf.scalar(length * after, 'int32'));
  const within = tf.range(0, after, 1, 'int32');
  const positions = tf.mul(
    fromStart(tf, tf.reshape(indices, [before, count, after]), length),
    tf.scalar(after, 'int32'),
  );
  return tf.reshape(tf.add(tf.add(positions, tf.reshape(starts, [before, 1, 1])), within), indices.shape);
}

/**
 * Elements of the flattened x. tfjs's own gradient of `gather` makes a pass over all for every element of x, so this
 * one scatters.
 */
function gatherFlat(tf: Tf, x: TfTensor, positions: TfTensor): TfTensor {
  const gathered = (input: TfTensor) => tf.gather(tf.reshape(input, [-1]), positions);
  if (x.dtype !== 'float32') return gathered(x);
  return linear(tf, x, positions, gathered, (gradient, kept) => scatterFlat(tf, gradient, kept, x.shape));
}

/** Zeros of a shape with every update added at its position; tfjs has no gradient for its own `scatterND`. */
function scatterFlat(tf: Tf, updates: TfTensor, positions: TfTensor, shape: readonly number[]): TfTensor {
  const scattered = (input: TfTensor) => {
    const [places, values] = [tf.reshape(positions, [-1, 1]), tf.reshape(input, [-1])];
    return tf.reshape(tf.scatterND(places, values, [product(shape)]), [...shape]);
  };
  return linear(tf, updates, positions, scattered, (gradient, kept) => gatherFlat(tf, gradient, kept));
}

/** A function with a gradient of our own, for which the positions are kept. */
function linear(
  tf: Tf,
  x: TfTensor,
  positions: TfTensor,
  forward: (x: TfTensor) => TfTensor,
  backward: (gradient: TfTensor, positions: TfTensor) => TfTensor,
): TfTensor {
  return tf.customGrad((input, save) => {
    (save as (tensors: TfTensor[]) => void)([positions]);
    return { value: forward(input as TfTensor), gradFunc: (gradient, [kept]) => backward(gradient, kept) };
  })(x);
}
