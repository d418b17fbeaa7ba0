import type { Window } from '@elbo/training/onnx/window';
import * as tf from '@tensorflow/tfjs';

// Convolutions, their transposes and mean pools of any number of axes, strides, dilations, paddings and groups, made of
// matrix products alone: tfjs itself has gradients for fewer.

type Taps = Pick<Window, 'kernel' | 'strides' | 'dilations' | 'before'>;

/** x [N, C, …] by w [M, C / group, …kernel]. */
export function tfConv(x: tf.Tensor, w: tf.Tensor, taps: Taps, lengths: readonly number[], group = 1): tf.Tensor {
  return tapSum(x, w, taps, lengths, group, false);
}

/** x [N, C, …] by w [C, M / group, …kernel]. */
export function tfConvTranspose(
  x: tf.Tensor,
  w: tf.Tensor,
  taps: Taps,
  lengths: readonly number[],
  group = 1,
): tf.Tensor {
  return tapSum(x, w, taps, lengths, group, true);
}

/** Σ over the kernel's taps of W[tap] · (x moved by the tap), one group of channels after the other. */
function tapSum(
  x: tf.Tensor,
  w: tf.Tensor,
  taps: Taps,
  lengths: readonly number[],
  group: number,
  transposed: boolean,
): tf.Tensor {
  // tfjs's gradient of split knows no single part.
  const parts = (tensor: tf.Tensor, axis: number) => (group === 1 ? [tensor] : tf.split(tensor, group, axis));
  const [inputs, weights] = [parts(x, 1), parts(w, 0)];
  const outputs = inputs.map((input, g) => {
    const terms = allTaps(taps.kernel).map((tap) => {
      const moved = tap.reduce((rest, k, axis) => {
        const [from, to] = [x.shape[axis + 2] as number, lengths[axis] as number];
        return alongAxis(rest, axis + 2, moving(k, axis, taps, from, to, transposed));
      }, input);
      const matrix = tf.reshape(
        tf.slice(weights[g] as tf.Tensor, [0, 0, ...tap], [-1, -1, ...tap.map(() => 1)]),
        (weights[g] as tf.Tensor).shape.slice(0, 2),
      );
      return alongAxis(moved, 1, transposed ? tf.transpose(matrix) : matrix);
    });
    return terms.reduce((a, b) => tf.add(a, b));
  });
  return group === 1 ? (outputs[0] as tf.Tensor) : tf.concat(outputs, 1);
}

/** The 0-1 matrix [to, from] that picks (or, transposed, puts) what a tap of the kernel meets. */
function moving(k: number, axis: number, taps: Taps, from: number, to: number, transposed: boolean): tf.Tensor {
  const [stride, dilation, before] = [taps.strides, taps.dilations, taps.before].map(
    (values) => values[axis] as number,
  );
  const meets = (output: number, input: number) =>
    input === output * (stride as number) + k * (dilation as number) - (before as number);
  const rows = Array.from({ length: to }, (_, i) =>
    Array.from({ length: from }, (_, j) => Number(transposed ? meets(j, i) : meets(i, j))),
  );
  return tf.tensor(rows, [to, from], 'float32');
}

function alongAxis(x: tf.Tensor, axis: number, matrix: tf.Tensor): tf.Tensor {
  const order = x.shape.map((_, i) => i).filter((i) => i !== axis);
  const last = tf.transpose(x, [...order, axis]);
  const product = tf.matMul(tf.reshape(last, [-1, x.shape[axis] as number]), matrix, false, true);
  const back = tf.reshape(product, [...last.shape.slice(0, -1), matrix.shape[0] as number]);
  return tf.transpose(
    back,
    x.shape.map((_, i) => (i === axis ? order.length : order.indexOf(i))),
  );
}

function allTaps(kernel: readonly number[]): number[][] {
  return kernel.reduce<number[][]>(
    (taps, length) => taps.flatMap((tap) => Array.from({ length }, (_, k) => [...tap, k])),
    [[]],
  );
}

/** The mean of each window of x [N, C, …]; without `countPadding` of its part inside x. */
export function tfAveragePool(x: tf.Tensor, taps: Taps, lengths: readonly number[], countPadding = false): tf.Tensor {
  const channels = x.shape[1] as number;
  const size = taps.kernel.reduce((product, length) => product * length, 1);
  const ones = tf.ones([channels, 1, ...taps.kernel]);
  const sums = tfConv(x, ones, taps, lengths, channels);
  return countPadding ? tf.div(sums, size) : tf.div(sums, tfConv(tf.onesLike(x), ones, taps, lengths, channels));
}

/** The largest element of each window of x [N, C, …] with one or two spatial axes, by tfjs's own pool. */
export function tfMaxPool(
  x: tf.Tensor,
  kernel: readonly number[],
  strides: readonly number[],
  before: readonly number[],
  after: readonly number[],
): tf.Tensor {
  const spatial = kernel.map((_, axis): [number, number] => [before[axis] as number, after[axis] as number]);
  const padded = tf.pad(x, [[0, 0], [0, 0], ...spatial], -1e9);
  const image = (kernel.length === 1 ? tf.expandDims(padded, 2) : padded) as tf.Tensor4D;
  const two = (values: readonly number[]) => (values.length === 1 ? [1, ...values] : [...values]) as [number, number];
  const pooled = tf.maxPool(tf.transpose(image, [0, 2, 3, 1]), two(kernel), two(strides), 'valid');
  const back = tf.transpose(pooled, [0, 3, 1, 2]);
  return kernel.length === 1 ? tf.squeeze(back, [2]) : back;
}
