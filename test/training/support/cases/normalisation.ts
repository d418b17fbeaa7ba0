import { float, int } from '@elbo/training/onnx/graph';
import * as ops from '@elbo/training/onnx/ops';
import type { Tensor } from '@elbo/training/onnx/tensor';
import * as tf from '@tensorflow/tfjs';
import { type OperatorCase, one, several } from '../operator-case.js';

const EPSILON = 1e-3;

/** Mean 0 and variance 1 over some axes, and the statistics. */
export function tfNormalised(x: tf.Tensor, axes: number[]): { normal: tf.Tensor; mean: tf.Tensor; inverse: tf.Tensor } {
  const mean = tf.mean(x, axes, true);
  const centred = tf.sub(x, mean);
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(centred), axes, true), EPSILON));
  return { normal: tf.mul(centred, inverse), mean, inverse };
}

function alongAxes(operator: string, elbo: (x: Tensor, axis: number) => Tensor): OperatorCase[] {
  const tfjs = (x: tf.Tensor, axis: number) => {
    const logits = tf.sub(x, tf.logSumExp(x, axis, true));
    return operator === 'Softmax' ? tf.exp(logits) : logits;
  };
  return [
    one(
      operator,
      'rows',
      [2, 4],
      (x) => elbo(x, -1),
      (x) => tfjs(x, 1),
      [0],
    ),
    one(
      operator,
      'an inner axis',
      [2, 3, 2],
      (x) => elbo(x, 1),
      (x) => tfjs(x, 1),
      [0],
    ),
    one(
      operator,
      'the first axis',
      [3, 2],
      (x) => elbo(x, 0),
      (x) => tfjs(x, 0),
    ),
    one(
      operator,
      'a vector',
      [4],
      (x) => elbo(x, 0),
      (x) => tfjs(x, 0),
    ),
  ];
}

const layerNorm = (x?: Tensor, scale?: Tensor, bias?: Tensor) =>
  ops.applyAll('LayerNormalization', bias === undefined ? [x, scale] : [x, scale, bias], {
    axis: int(1),
    epsilon: float(EPSILON),
  }) as [Tensor, Tensor, Tensor];

export const normalisationCases: readonly OperatorCase[] = [
  ...alongAxes('Softmax', ops.softmax),
  ...alongAxes('LogSoftmax', ops.logSoftmax),
  several(
    'LayerNormalization',
    'rows, scaled and shifted',
    [[2, 5], [5], [5]],
    (x, scale, bias) => ops.layerNorm(x as Tensor, scale as Tensor, bias, { epsilon: EPSILON }),
    (x, scale, bias) => tf.add(tf.mul(tfNormalised(x as tf.Tensor, [1]).normal, scale as tf.Tensor), bias as tf.Tensor),
    [0],
  ),
  several(
    'LayerNormalization',
    'the last two axes, scaled',
    [
      [2, 2, 2, 3],
      [2, 3],
    ],
    (x, scale) => ops.layerNorm(x as Tensor, scale as Tensor, undefined, { epsilon: EPSILON }),
    (x, scale) => tf.mul(tfNormalised(x as tf.Tensor, [2, 3]).normal, scale as tf.Tensor),
    [0],
  ),
  several(
    'LayerNormalization',
    'all three outputs',
    [[2, 4], [4], [4]],
    (x, scale, bias) => {
      const [y, mean, inverse] = layerNorm(x, scale, bias);
      return ops.add(ops.mul(y, inverse), ops.square(mean));
    },
    (x, scale, bias) => {
      const { normal, mean, inverse } = tfNormalised(x as tf.Tensor, [1]);
      const y = tf.add(tf.mul(normal, scale as tf.Tensor), bias as tf.Tensor);
      return tf.add(tf.mul(y, inverse), tf.square(mean));
    },
    [0],
  ),
  one(
    'LayerNormalization',
    'the statistics alone',
    [2, 4],
    (x) => {
      const ones = ops.add(
        ops.mul(x.graph.constant({ dtype: 'float32', shape: [4], data: new Float32Array(4) }), 0),
        1,
      );
      const [, mean, inverse] = layerNorm(x, ones);
      return ops.mul(mean, inverse);
    },
    (x) => {
      const { mean, inverse } = tfNormalised(x, [1]);
      return tf.mul(mean, inverse);
    },
    [0],
  ),
];
