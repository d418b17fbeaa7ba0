import * as ops from '@elbo/training/onnx/ops';
import { int64, type Tensor } from '@elbo/training/onnx/tensor';
import * as tf from '@tensorflow/tfjs';
import { GRID, type OperatorCase, one, several } from '../operator-case.js';

/** Indices that repeat, some counted from the end. */
function gatherCase(
  name: string,
  shape: readonly number[],
  axis: number,
  indices: readonly number[],
  indicesShape: readonly number[],
  batched: readonly number[] = [],
): OperatorCase {
  const at = axis < 0 ? axis + shape.length : axis;
  const positive = indices.map((index) => (index < 0 ? index + (shape[at] as number) : index));
  return one(
    'Gather',
    name,
    shape,
    (x) => ops.gather(x, x.graph.constant(int64(indices, indicesShape)), axis),
    (x) => tf.gather(x, tf.tensor(positive, [...indicesShape], 'int32'), at),
    batched,
  );
}

/** Σ over the positions of an axis of x there, where the index is that position: a one-hot product. */
function tfGatherElements(x: tf.Tensor, indices: tf.Tensor, axis: number): tf.Tensor {
  const length = x.shape[axis] as number;
  return tf
    .unstack(x, axis)
    .map((part, position) => {
      const hit = tf.cast(tf.logicalOr(tf.equal(indices, position), tf.equal(indices, position - length)), 'float32');
      return tf.mul(hit, tf.expandDims(part, axis));
    })
    .reduce((a, b) => tf.add(a, b));
}

function tfScatterAdd(x: tf.Tensor, indices: tf.Tensor, updates: tf.Tensor, axis: number): tf.Tensor {
  const length = x.shape[axis] as number;
  const sums = Array.from({ length }, (_, position) => {
    const hit = tf.cast(tf.logicalOr(tf.equal(indices, position), tf.equal(indices, position - length)), 'float32');
    return tf.sum(tf.mul(hit, updates), axis);
  });
  return tf.add(x, tf.stack(sums, axis));
}

const ROWS = [2, 0, -1, 0, 1, 2];
const COLUMNS = [0, 1, 1, -1, -2, 1];

function elementsCases(operator: 'GatherElements' | 'ScatterElements'): OperatorCase[] {
  // Data [3, 2] with indices [3, 2] along either axis, and data [4, 2] with 3 indices a column.
  const variants = [
    ['along the first axis', [3, 2], 0, ROWS],
    ['along the last axis', [3, 2], 1, COLUMNS],
    ['fewer than there are elements', [4, 2], 0, ROWS],
  ] as const;
  return variants.map(([name, shape, axis, indices]) => {
    const elboIndices = (x: Tensor) => x.graph.constant(int64(indices, [3, 2]));
    const tfIndices = () => tf.tensor([...indices], [3, 2], 'int32');
    return operator === 'GatherElements'
      ? one(
          operator,
          name,
          shape,
          (x) => ops.gatherElements(x, elboIndices(x), axis),
          (x) => tfGatherElements(x, tfIndices(), axis),
        )
      : several(
          operator,
          name,
          [shape, [3, 2]],
          (x, updates) => ops.scatterAdd(x as Tensor, elboIndices(x as Tensor), updates as Tensor, axis),
          (x, updates) => tfScatterAdd(x as tf.Tensor, tfIndices(), updates as tf.Tensor, axis),
        );
  });
}

/** The k largest by tfjs, picked by one-hot vectors: its topk has no gradient. */
function topKCase(
  name: string,
  shape: readonly number[],
  k: number,
  axis: number,
  batched: readonly number[],
): OperatorCase {
  const last = shape.length - 1;
  const swap = shape.map((_, i) => (i === axis ? last : i === last ? axis : i));
  return one(
    'TopK',
    name,
    shape,
    (x) => ops.topK(x, k, axis).values,
    (x) => {
      const moved = tf.transpose(x, swap);
      const { indices } = tf.topk(tf.tensor(moved.dataSync(), moved.shape), k);
      const picked = tf.oneHot(indices, shape[axis] as number, 1, 0, 'float32');
      return tf.transpose(tf.sum(tf.mul(picked, tf.expandDims(moved, -2)), -1), swap);
    },
    batched,
    GRID,
  );
}

export const indexingCases: readonly OperatorCase[] = [
  gatherCase('rows of an embedding', [4, 3], 0, [2, 0, 2, -1, 2], [5]),
  gatherCase('rows by a matrix of indices', [4, 2], 0, [2, 0, 2, -4, 1, 1], [2, 3]),
  gatherCase('one row', [4, 3], 0, [-2], []),
  gatherCase('columns', [2, 4], -1, [3, 3, 0, -3], [4], [0]),
  gatherCase('an inner axis by a matrix of indices', [2, 3, 2], 1, [2, 2, 0, -1], [2, 2], [0]),
  ...elementsCases('GatherElements'),
  ...elementsCases('ScatterElements'),
  topKCase('of rows', [2, 5], 3, 1, [0]),
  topKCase('along an inner axis', [2, 4, 2], 2, 1, [0]),
];
