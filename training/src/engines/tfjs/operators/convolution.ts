import type { Tensor4D, Tensor5D, Tensor as TfTensor } from '@tensorflow/tfjs';
import { span, transposedLength, type Window, windowedLength, windowOf } from '../../../onnx/window.js';
import type { Tf } from '../values.js';
import { aroundAxis, type Call, type Operators } from './call.js';
import { cutAxis, repeatEach } from './shaping.js';

// tfjs's backends for CPUs have convolutions and pools with channels last only. Padding is put around the input first,
// since not all of them take it from one side alone.

export function convolution(tf: Tf): Operators {
  return {
    Conv(call) {
      const weights = call.tensor(1);
      const window = windowOf(call.node.attributes, weights.shape.slice(2));
      // [M, C / group, …kernel] as [… kernel, C / group, M].
      const kernel = dilated(tf, fromChannelsFirst(tf, weights, [1, 0]), window.dilations);
      const x = padded(tf, channelsLast(tf, call.tensor(0)), window);
      const result = inGroups(tf, call.int('group', 1), x, kernel, (part, filter) =>
        convolve(tf, part, filter, window.strides),
      );
      return channelsFirst(tf, withBias(tf, call, result));
    },
    ConvTranspose(call) {
      const weights = call.tensor(1);
      const window = windowOf(call.node.attributes, weights.shape.slice(2));
      // [C, M / group, …kernel] as [… kernel, M / group, C].
      const kernel = dilated(tf, fromChannelsFirst(tf, weights, [1, 0]), window.dilations);
      const x = channelsLast(tf, call.tensor(0));
      const result = inGroups(tf, call.int('group', 1), x, kernel, (part, filter) =>
        convolveTransposed(tf, part, filter, window),
      );
      return channelsFirst(tf, withBias(tf, call, result));
    },
    MaxPool(call) {
      const window = windowOf(call.node.attributes, call.ints('kernel_shape'));
      const x = padded(tf, channelsLast(tf, call.tensor(0)), window, Number.NEGATIVE_INFINITY);
      const y = channelsFirst(tf, pool(tf, 'max', x, window));
      return [y, call.needs(1) ? positionsOfMaxima(tf, call.tensor(0), y, window) : undefined];
    },
    AveragePool(call) {
      const window = windowOf(call.node.attributes, call.ints('kernel_shape'));
      const x = channelsLast(tf, call.tensor(0));
      const means = pool(tf, 'avg', padded(tf, x, window), window);
      const isPadded = [...window.before, ...window.after].some((amount) => amount > 0);
      if (!isPadded || call.int('count_include_pad', 0) === 1) return channelsFirst(tf, means);
      // The share of each window that lies inside.
      const ones = tf.ones([1, ...x.shape.slice(1, -1), 1]);
      return channelsFirst(tf, tf.div(means, pool(tf, 'avg', padded(tf, ones, window), window)));
    },
    GlobalAveragePool: (call) => tf.mean(call.tensor(0), [...call.shape(0).keys()].slice(2), true),
    Resize: (call) => call.numbers(2).reduce((x, factor, axis) => repeatEach(tf, x, axis, factor), call.tensor(0)),
  };
}

function channelsLast(tf: Tf, x: TfTensor): TfTensor {
  const axes = [...x.shape.keys()];
  return tf.transpose(x, [0, ...axes.slice(2), 1]);
}

function channelsFirst(tf: Tf, x: TfTensor): TfTensor {
  const axes = [...x.shape.keys()];
  return tf.transpose(x, [0, axes.length - 1, ...axes.slice(1, -1)]);
}

/** The spatial axes first, then the first two axes in the given order. */
function fromChannelsFirst(tf: Tf, weights: TfTensor, order: readonly number[]): TfTensor {
  return tf.transpose(weights, [...[...weights.shape.keys()].slice(2), ...order]);
}

function withBias(tf: Tf, call: Call, x: TfTensor): TfTensor {
  return call.has(2) ? tf.add(x, call.tensor(2)) : x;
}

function padded(tf: Tf, x: TfTensor, { before, after }: Window, value = 0): TfTensor {
  if ([...before, ...after].every((amount) => amount === 0)) return x;
  return tf.pad(x, [[0, 0], ...before.map((amount, axis): [number, number] => [amount, after[axis]]), [0, 0]], value);
}

/** Zeros between the elements of an axis, `stride` − 1 of them. */
function stretched(tf: Tf, x: TfTensor, axis: number, stride: number): TfTensor {
  if (stride === 1 || x.shape[axis] === 1) return x;
  const [before, length, after] = aroundAxis(x.shape, axis);
  const apart = tf.pad(tf.reshape(x, [before, length, 1, after]), [
    [0, 0],
    [0, 0],
    [0, stride - 1],
    [0, 0],
  ]);
  const whole = tf.reshape(apart, x.shape.with(axis, length * stride));
  return cutAxis(tf, whole, axis, 0, (length - 1) * stride + 1);
}

/** A kernel with zeros where a dilated one has gaps: tfjs does not differentiate dilated convolutions. */
function dilated(tf: Tf, kernel: TfTensor, dilations: readonly number[]): TfTensor {
  return dilations.reduce((whole, dilation, axis) => stretched(tf, whole, axis, dilation), kernel);
}

/** Channels are the last axis of both; each group of the one meets its group of the other. */
function inGroups(
  tf: Tf,
  groups: number,
  x: TfTensor,
  kernel: TfTensor,
  f: (x: TfTensor, kernel: TfTensor) => TfTensor,
): TfTensor {
  if (groups === 1) return f(x, kernel);
  const kernels = tf.split(kernel, groups, -1);
  return tf.concat(
    tf.split(x, groups, -1).map((part, i) => f(part, kernels[i])),
    -1,
  );
}

/** @param x padded: [N, …spatial, C], kernel [… kernel, C, M] */
function convolve(tf: Tf, x: TfTensor, kernel: TfTensor, strides: readonly number[]): TfTensor {
  switch (strides.length) {
    case 1:
      return flat(tf, convolve(tf, raised(tf, x, 1), raised(tf, kernel, 0), [1, ...strides]));
    case 2:
      return tf.conv2d(x as Tensor4D, kernel as Tensor4D, strides as [number, number], 'valid');
    default:
      return tf.conv3d(x as Tensor5D, kernel as Tensor5D, strides as [number, number, number], 'valid');
  }
}

/** @param kernel without gaps: [… kernel, M, C] */
function convolveTransposed(tf: Tf, x: TfTensor, kernel: TfTensor, window: Window): TfTensor {
  const spatial = x.shape.slice(1, -1);
  const uncut = spatial.map((length, axis) => transposedLength(length, withoutPadding(window), axis));
  const whole = spread(tf, x, kernel, window, uncut);
  return spatial.reduce((rest, length, axis) => {
    return cutAxis(tf, rest, axis + 1, window.before[axis], transposedLength(length, window, axis));
  }, whole);
}

function withoutPadding(window: Window): Window {
  return { ...window, before: window.before.map(() => 0), after: window.after.map(() => 0) };
}

/** Adds the kernel, scaled by each element of x, to the output at that element's place. */
function spread(tf: Tf, x: TfTensor, kernel: TfTensor, window: Window, lengths: readonly number[]): TfTensor {
  const { strides } = window;
  const channels = kernel.shape.at(-2) ?? 1;
  switch (lengths.length) {
    case 1: {
      const flatWindow = { ...window, strides: [1, ...strides] };
      return flat(tf, spread(tf, raised(tf, x, 1), raised(tf, kernel, 0), flatWindow, [1, ...lengths]));
    }
    case 2: {
      const shape: [number, number, number, number] = [x.shape[0], lengths[0], lengths[1], channels];
      return tf.conv2dTranspose(x as Tensor4D, kernel as Tensor4D, shape, strides as [number, number], 'valid');
    }
    default: {
      // tfjs does not differentiate conv3dTranspose: the same by a convolution with the kernel turned round.
      const apart = strides.reduce((rest, stride, axis) => stretched(tf, rest, axis + 1, stride), x);
      const reach = lengths.map((_, axis) => span(window, axis) - 1);
      const ends = reach.map((amount, axis): [number, number] => [amount, amount + window.outputPadding[axis]]);
      const turned = tf.reverse(
        kernel,
        lengths.map((_, axis) => axis),
      );
      const swapped = tf.transpose(turned, [0, 1, 2, 4, 3]);
      const around = tf.pad(apart, [[0, 0], ...ends, [0, 0]]);
      return convolve(
        tf,
        around,
        swapped,
        lengths.map(() => 1),
      );
    }
  }
}

/** With an axis of length 1 more: tfjs differentiates by two spatial axes or three. */
function raised(tf: Tf, x: TfTensor, axis: number): TfTensor {
  return tf.expandDims(x, axis);
}

function flat(tf: Tf, x: TfTensor): TfTensor {
  return tf.squeeze(x, [1]);
}

/** @param x padded, channels last */
function pool(tf: Tf, kind: 'max' | 'avg', x: TfTensor, { kernel, strides }: Window): TfTensor {
  switch (kernel.length) {
    case 1:
      return flat(tf, tf.pool(raised(tf, x, 1) as Tensor4D, [1, kernel[0]], kind, 'valid', [1, 1], [1, strides[0]]));
    case 2: {
      const [size, step] = [kernel as [number, number], strides as [number, number]];
      return kind === 'max'
        ? tf.maxPool(x as Tensor4D, size, step, 'valid')
        : tf.avgPool(x as Tensor4D, size, step, 'valid');
    }
    default: {
      const [size, step] = [kernel as [number, number, number], strides as [number, number, number]];
      return kind === 'max'
        ? tf.maxPool3d(x as Tensor5D, size, step, 'valid')
        : tf.avgPool3d(x as Tensor5D, size, step, 'valid');
    }
  }
}

/** Where each maximum lies in the flattened input, channels first: the first place in its window that equals it. */
function positionsOfMaxima(tf: Tf, x: TfTensor, y: TfTensor, window: Window): TfTensor {
  const [values, maxima] = [x.dataSync(), y.dataSync()];
  const inner = x.shape.slice(2);
  const outer = inner.map((length, axis) => windowedLength(length, window, axis));
  const [planeSize, windows] = [inner, outer].map((lengths) => lengths.reduce((a, b) => a * b, 1));
  const places = kernelPlaces(window.kernel);
  const positions = Int32Array.from(maxima, (maximum, i) => {
    const corner = coordinates(i % windows, outer).map((at, axis) => at * window.strides[axis] - window.before[axis]);
    const base = Math.floor(i / windows) * planeSize;
    for (const place of places) {
      const at = place.map((offset, axis) => corner[axis] + offset);
      if (at.some((index, axis) => index < 0 || index >= inner[axis])) continue;
      const position = base + at.reduce((sum, index, axis) => sum * inner[axis] + index, 0);
      if (values[position] === maximum) return position;
    }
    throw new Error('a window has no maximum: are there values that are not numbers?');
  });
  return tf.tensor(positions, y.shape, 'int32');
}

function kernelPlaces(kernel: readonly number[]): number[][] {
  const count = kernel.reduce((a, b) => a * b, 1);
  return Array.from({ length: count }, (_, i) => coordinates(i, kernel));
}

/** Of the element at a row-major position. */
function coordinates(position: number, lengths: readonly number[]): number[] {
  let rest = position;
  return lengths
    .toReversed()
    .map((length) => {
      const at = rest % length;
      rest = Math.floor(rest / length);
      return at;
    })
    .toReversed();
}
