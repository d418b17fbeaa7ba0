import * as ops from '@elbo/training/onnx/ops';
import type { Tensor } from '@elbo/training/onnx/tensor';
import { transposedLength, type Window, windowedLength } from '@elbo/training/onnx/window';
import * as tf from '@tensorflow/tfjs';
import { GRID, type OperatorCase, one, several } from '../operator-case.js';
import { tfAveragePool, tfConv, tfConvTranspose, tfMaxPool } from '../tfjs-convolution.js';

export interface WindowCase {
  readonly kernel: readonly number[];
  readonly strides?: readonly number[];
  readonly dilations?: readonly number[];
  readonly pads?: readonly number[];
  readonly outputPadding?: readonly number[];
}

/** What the case leaves out is ONNX's default. */
export function windowOfCase({ kernel, strides, dilations, pads, outputPadding }: WindowCase): Window {
  const all = (value: number) => kernel.map(() => value);
  const [before, after] = [pads?.slice(0, kernel.length), pads?.slice(kernel.length)];
  return {
    kernel,
    strides: strides ?? all(1),
    dilations: dilations ?? all(1),
    before: before ?? all(0),
    after: after ?? all(0),
    outputPadding: outputPadding ?? all(0),
  };
}

/** @param channels of x and of the output */
function convCase(
  name: string,
  spatial: readonly number[],
  [c, m]: readonly [number, number],
  windowCase: WindowCase,
  { group = 1, bias = false } = {},
): OperatorCase {
  const window = windowOfCase(windowCase);
  const lengths = spatial.map((length, axis) => windowedLength(length, window, axis));
  const shapes = [[2, c, ...spatial], [m, c / group, ...window.kernel], ...(bias ? [[m]] : [])];
  return several(
    'Conv',
    name,
    shapes,
    (x, w, b) => ops.conv(x as Tensor, w as Tensor, b, { ...windowCase, group }),
    (x, w, b) => withBias(tfConv(x as tf.Tensor, w as tf.Tensor, window, lengths, group), b),
    // The weights of groups need the number of examples.
    group === 1 ? [0] : [],
  );
}

function transposeCase(
  name: string,
  spatial: readonly number[],
  [c, m]: readonly [number, number],
  windowCase: WindowCase,
  { group = 1, bias = false } = {},
): OperatorCase {
  const window = windowOfCase(windowCase);
  const lengths = spatial.map((length, axis) => transposedLength(length, window, axis));
  const shapes = [[2, c, ...spatial], [c, m / group, ...window.kernel], ...(bias ? [[m]] : [])];
  return several(
    'ConvTranspose',
    name,
    shapes,
    (x, w, b) => ops.convTranspose(x as Tensor, w as Tensor, b, { ...windowCase, group }),
    (x, w, b) => withBias(tfConvTranspose(x as tf.Tensor, w as tf.Tensor, window, lengths, group), b),
    group === 1 ? [0] : [],
  );
}

export function withBias(y: tf.Tensor, b: tf.Tensor | undefined): tf.Tensor {
  return b === undefined ? y : tf.add(y, tf.reshape(b, [-1, ...y.shape.slice(2).map(() => 1)]));
}

function averageCase(
  name: string,
  spatial: readonly number[],
  windowCase: WindowCase,
  countPadding = false,
): OperatorCase {
  const window = windowOfCase(windowCase);
  const lengths = spatial.map((length, axis) => windowedLength(length, window, axis));
  const { kernel, ...options } = windowCase;
  return one(
    'AveragePool',
    name,
    [2, 2, ...spatial],
    (x) => ops.averagePool(x, kernel, { ...options, countPadding }),
    (x) => tfAveragePool(x, window, lengths, countPadding),
    [0],
  );
}

function maxCase(name: string, spatial: readonly number[], windowCase: WindowCase): OperatorCase {
  const { kernel, strides, before, after } = windowOfCase(windowCase);
  return one(
    'MaxPool',
    name,
    [2, 2, ...spatial],
    (x) => ops.maxPool(x, kernel, windowCase),
    (x) => tfMaxPool(x, kernel, strides, before, after),
    [0],
    GRID,
  );
}

const toChannelsLast = (x: tf.Tensor): tf.Tensor4D => tf.transpose(x, [0, 2, 3, 1]) as tf.Tensor4D;
const toChannelsFirst = (x: tf.Tensor): tf.Tensor => tf.transpose(x, [0, 3, 1, 2]);

export const convolutionCases: readonly OperatorCase[] = [
  convCase('one axis', [5], [2, 3], { kernel: [2] }, { bias: true }),
  convCase('one axis, dilated, with a stride and padding', [7], [2, 2], {
    kernel: [2],
    strides: [2],
    dilations: [3],
    pads: [2, 1],
  }),
  convCase('images with a bias', [4, 5], [2, 3], { kernel: [3, 2] }, { bias: true }),
  convCase('stride 2, padding 1, kernel 4', [6, 6], [2, 2], { kernel: [4, 4], strides: [2, 2], pads: [1, 1, 1, 1] }),
  convCase('strides that reach not the end', [6, 7], [1, 2], { kernel: [2, 3], strides: [3, 2] }),
  convCase('padding beyond the end that no window reaches', [6], [1, 1], { kernel: [2], strides: [3], pads: [0, 1] }),
  convCase('padding that differs at each end', [4, 3], [2, 2], { kernel: [2, 3], pads: [0, 1, 1, 2] }),
  convCase('dilations', [5, 6], [2, 2], { kernel: [2, 2], dilations: [3, 2] }),
  convCase('two groups', [4, 3], [4, 6], { kernel: [2, 2] }, { group: 2, bias: true }),
  convCase(
    'a group a channel, all attributes',
    [7, 6],
    [2, 4],
    { kernel: [2, 3], strides: [2, 1], dilations: [2, 1], pads: [1, 0, 0, 1] },
    { group: 2 },
  ),
  convCase('three axes', [3, 2, 3], [1, 2], { kernel: [2, 1, 2], strides: [1, 1, 2], pads: [0, 0, 1, 1, 0, 0] }),
  several(
    'Conv',
    "as tfjs's own conv2d",
    [
      [2, 2, 5, 5],
      [3, 2, 3, 3],
    ],
    (x, w) => ops.conv(x as Tensor, w as Tensor, undefined, { strides: [2, 2], pads: [1, 1, 1, 1] }),
    (x, w) =>
      toChannelsFirst(
        tf.conv2d(toChannelsLast(x as tf.Tensor), tf.transpose(w as tf.Tensor, [2, 3, 1, 0]) as tf.Tensor4D, 2, 1),
      ),
  ),

  transposeCase('one axis', [3], [2, 3], { kernel: [2] }, { bias: true }),
  transposeCase('one axis, dilated, with a stride, padding and output padding', [4], [2, 2], {
    kernel: [2],
    strides: [2],
    dilations: [3],
    pads: [2, 1],
    outputPadding: [1],
  }),
  transposeCase('images with a bias', [3, 2], [2, 3], { kernel: [2, 3] }, { bias: true }),
  transposeCase('stride 2, padding 1, kernel 4', [3, 3], [2, 2], {
    kernel: [4, 4],
    strides: [2, 2],
    pads: [1, 1, 1, 1],
  }),
  transposeCase('strides wider than the kernel, output padding', [2, 3], [1, 2], {
    kernel: [2, 2],
    strides: [3, 3],
    outputPadding: [2, 1],
  }),
  transposeCase('padding that differs at each end', [4, 3], [2, 2], { kernel: [2, 3], pads: [0, 1, 1, 2] }),
  transposeCase('dilations', [3, 2], [2, 2], { kernel: [2, 2], dilations: [3, 2] }),
  transposeCase('two groups', [2, 3], [4, 6], { kernel: [2, 2] }, { group: 2, bias: true }),
  transposeCase(
    'a group a channel, all attributes',
    [3, 4],
    [2, 4],
    { kernel: [2, 3], strides: [2, 2], dilations: [2, 1], pads: [1, 0, 0, 1], outputPadding: [1, 0] },
    { group: 2 },
  ),
  transposeCase('three axes', [2, 2, 2], [2, 1], { kernel: [2, 1, 2], strides: [1, 1, 2] }),
  several(
    'ConvTranspose',
    "as tfjs's own conv2dTranspose",
    [
      [2, 2, 3, 3],
      [2, 3, 4, 4],
    ],
    (x, w) => ops.convTranspose(x as Tensor, w as Tensor, undefined, { strides: [2, 2], pads: [1, 1, 1, 1] }),
    (x, w) =>
      toChannelsFirst(
        tf.conv2dTranspose(
          toChannelsLast(x as tf.Tensor),
          tf.transpose(w as tf.Tensor, [2, 3, 1, 0]) as tf.Tensor4D,
          [2, 6, 6, 3],
          2,
          'same',
        ),
      ),
  ),

  maxCase('one axis', [6], { kernel: [2], strides: [2] }),
  maxCase('windows that tile images', [4, 6], { kernel: [2, 3], strides: [2, 3] }),
  maxCase('windows that overlap, padded', [4, 5], { kernel: [3, 3], strides: [1, 2], pads: [1, 2, 0, 1] }),
  averageCase('one axis', [6], { kernel: [2], strides: [2] }),
  averageCase('windows that tile images', [4, 6], { kernel: [2, 3], strides: [2, 3] }),
  averageCase('windows that overlap', [4, 5], { kernel: [3, 2], strides: [1, 2] }),
  averageCase('windows that reach not the end', [5, 5], { kernel: [2, 2], strides: [2, 2] }),
  averageCase('padding that does not count', [4, 5], { kernel: [3, 3], strides: [2, 1], pads: [1, 2, 0, 1] }),
  averageCase('padding that counts', [4, 5], { kernel: [3, 3], strides: [2, 1], pads: [1, 2, 0, 1] }, true),
  one('GlobalAveragePool', 'images', [2, 3, 2, 3], ops.globalAveragePool, (x) => tf.mean(x, [2, 3], true), [0]),
  one('GlobalAveragePool', 'one axis', [2, 3, 4], ops.globalAveragePool, (x) => tf.mean(x, [2], true), [0]),
  one(
    'Resize',
    'images, by a factor an axis',
    [2, 2, 2, 3],
    (x) => ops.upsampleNearest(x, [3, 2]),
    (x) => tf.gather(tf.gather(x, [0, 0, 0, 1, 1, 1], 2), [0, 0, 1, 1, 2, 2], 3),
    [0],
  ),
  one(
    'Resize',
    'one axis',
    [2, 2, 3],
    (x) => ops.upsampleNearest(x, [2]),
    (x) => tf.reshape(tf.tile(tf.expandDims(x, 3), [1, 1, 1, 2]), [-1, 2, 6]),
    [0],
  ),
];
