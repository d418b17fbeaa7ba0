import * as ops from '@elbo/training/onnx/ops';
import { int64, type Tensor } from '@elbo/training/onnx/tensor';
import * as tf from '@tensorflow/tfjs';
import { type OperatorCase, one } from '../operator-case.js';

/** Elements `positions` of an axis. */
const picked = (x: tf.Tensor, axis: number, positions: readonly number[]) => tf.gather(x, [...positions], axis);

function stepCase(name: string, start: number, end: number, step: number, positions: readonly number[]): OperatorCase {
  return one(
    'Slice',
    name,
    [2, 7],
    (x) => ops.slice(x, 1, start, end, step),
    (x) => picked(x, 1, positions),
    [0],
  );
}

function cumSumCase(exclusive: boolean, reverse: boolean): OperatorCase {
  return one(
    'CumSum',
    `along rows${exclusive ? ', exclusive' : ''}${reverse ? ', from the end' : ''}`,
    [2, 4],
    (x) => ops.cumSum(x, -1, { exclusive, reverse }),
    (x) => tf.cumsum(x, 1, exclusive, reverse),
    [0],
  );
}

export const shapingCases: readonly OperatorCase[] = [
  one(
    'Split',
    'three parts of rows, each used',
    [2, 6],
    (x) => {
      const [a, b, c] = ops.split(x, -1, [1, 3, 2]) as [Tensor, Tensor, Tensor];
      return ops.concat([ops.mul(c, a), ops.exp(b)], 1);
    },
    (x) => {
      const [a, b, c] = tf.split(x, [1, 3, 2], 1) as [tf.Tensor, tf.Tensor, tf.Tensor];
      return tf.concat([tf.mul(c, a), tf.exp(b)], 1);
    },
    [0],
  ),
  one(
    'Split',
    'a part that nobody uses',
    [2, 5],
    (x) => ops.mul(ops.split(x, 1, [2, 1, 2])[2] as Tensor, 3),
    (x) => tf.mul(tf.slice(x, [0, 3], [-1, 2]), 3),
    [0],
  ),
  one(
    'Split',
    'the first axis',
    [3, 2],
    (x) => ops.split(x, 0, [1, 2])[1] as Tensor,
    (x) => tf.slice(x, [1, 0], [2, 2]),
  ),

  stepCase('every second element', 1, 6, 2, [1, 3, 5]),
  stepCase('every third element to the end', 0, 7, 3, [0, 3, 6]),
  stepCase('backwards', 5, 1, -1, [5, 4, 3, 2]),
  stepCase('backwards from end to start', 6, -1, -1, [6, 5, 4, 3, 2, 1, 0]),
  stepCase('every second element backwards', 6, 1, -2, [6, 4, 2]),
  stepCase('every third element backwards to the start', 6, -1, -3, [6, 3, 0]),
  one(
    'Slice',
    'two axes at once, one backwards',
    [2, 4, 5],
    (x) => {
      const vector = (...values: number[]) => x.graph.constant(int64(values));
      return ops.apply('Slice', [x, vector(3, 0), vector(-5, 5), vector(1, -1), vector(-2, 3)]);
    },
    (x) => picked(picked(x, 1, [3, 1]), 2, [0, 3]),
    [0],
  ),

  one(
    'Pad',
    'mirrored at both ends',
    [2, 4],
    (x) => ops.pad(x, 1, 3, 2, 'reflect'),
    (x) => picked(x, 1, [3, 2, 1, 0, 1, 2, 3, 2, 1]),
    [0],
  ),
  one(
    'Pad',
    'two axes mirrored',
    [3, 4],
    (x) => ops.padAxes(x, [1, 0, 2, 3], 'reflect'),
    (x) => picked(picked(x, 0, [1, 0, 1, 2, 1, 0]), 1, [0, 1, 2, 3, 2, 1, 0]),
  ),
  one(
    'Pad',
    'the ends repeated',
    [2, 3],
    (x) => ops.pad(x, 1, 2, 1, 'edge'),
    (x) => picked(x, 1, [0, 0, 0, 1, 2, 2]),
    [0],
  ),
  one(
    'Pad',
    'two axes, the ends repeated',
    [2, 3],
    (x) => ops.padAxes(x, [1, 0, 0, 4], 'edge'),
    (x) => picked(picked(x, 0, [0, 0, 1]), 1, [0, 1, 2, 2, 2, 2, 2]),
  ),
  one(
    'Pad',
    'with a value',
    [2, 3],
    (x) => ops.padAxes(x, [0, 1, 0, 2], 'constant', -1.5),
    (x) =>
      tf.pad(
        x,
        [
          [0, 0],
          [1, 2],
        ],
        -1.5,
      ),
    [0],
  ),

  one(
    'Tile',
    'rows and columns',
    [2, 3],
    (x) => ops.tile(x, [2, 3]),
    (x) => tf.tile(x, [2, 3]),
  ),
  one(
    'Tile',
    'inner axes of a batch',
    [2, 2, 3],
    (x) => ops.tile(x, [1, 3, 2]),
    (x) => tf.tile(x, [1, 3, 2]),
    [0],
  ),
  one(
    'Tile',
    'once',
    [2, 3],
    (x) => ops.tile(x, [1, 1]),
    (x) => x.clone(),
    [0],
  ),

  ...[false, true].flatMap((exclusive) => [false, true].map((reverse) => cumSumCase(exclusive, reverse))),
  one(
    'CumSum',
    'along the first axis',
    [3, 2],
    (x) => ops.cumSum(x, 0),
    // tfjs's own gradient is for the last axis.
    (x) => tf.transpose(tf.cumsum(tf.transpose(x), 1)),
  ),
];
