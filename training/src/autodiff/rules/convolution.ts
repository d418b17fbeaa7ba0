import type { Node } from '../../onnx/graph.js';
import {
  averagePool,
  type ConvolutionOptions,
  conv,
  convTranspose,
  div,
  expandLike,
  mul,
  reduceSum,
  reshape,
  scatterAdd,
  sizeOf,
  slice,
  sub,
  transpose,
  upsampleNearest,
  zerosLike,
} from '../../onnx/ops.js';
import { type Dimension, elementCount, float32, int64, type Tensor, type TensorData } from '../../onnx/tensor.js';
import { span, transposedLength, type Window, windowOf } from '../../onnx/window.js';
import { fixedLength, intAttribute, intsAttribute, type Rules } from './rule.js';

export const CONVOLUTION: Rules = {
  Conv: ({ inputs: [x, w], node }, g) => {
    const { window, group } = convolutionOf(node, w);
    return [
      () => convTranspose(g, w, undefined, { ...optionsOf(window, group), outputPadding: missing(x, g, window) }),
      () => weightGradient(x, g, window, group),
      () => channelSums(g),
    ];
  },
  // The transpose of Conv: each is the other's gradient, and in the weights' gradient x and g change places.
  ConvTranspose: ({ inputs: [x, w], node }, g) => {
    const { window, group } = convolutionOf(node, w);
    return [
      () => conv(g, w, undefined, optionsOf(window, group)),
      () => weightGradient(g, x, window, group),
      () => channelSums(g),
    ];
  },

  // The first of several largest elements of a window (by rows) gets the gradient. The second output of the node holds
  // positions in the whole batch; within an example they are remainders.
  MaxPool: ({ inputs: [x], node }, g) => [
    () => {
      const flat = (tensor: Tensor) => reshape(tensor, [tensor.shape[0] as Dimension, countPerExample(tensor)]);
      const positions = flat(node.outputs[1] as Tensor);
      const size = x.graph.constant(int64([countPerExample(x)], []));
      const within = sub(positions, mul(div(positions, size), size));
      return reshape(scatterAdd(zerosLike(flat(x)), within, flat(g), 1), x.shape);
    },
  ],
  // Each element gets its share from every window it is in: windows that do not overlap repeat it, others add it up.
  AveragePool: ({ inputs: [x], node }, g) => [
    () => {
      const window = windowOf(node.attributes, intsAttribute(node, 'kernel_shape'));
      const shares = mul(
        g,
        g.graph.constant(windowShares(x, g, window, intAttribute(node, 'count_include_pad', 0) === 1)),
      );
      if (isTiling(x, g, window)) return upsampleNearest(shares, window.kernel);
      const channels = fixedLength(x, 1);
      const ones = new Float32Array(channels * elementCount(window.kernel)).fill(1);
      const kernel = g.graph.constant(float32(ones, [channels, 1, ...window.kernel]));
      const outputPadding = missing(x, g, window);
      return convTranspose(shares, kernel, undefined, { ...optionsOf(window, channels), outputPadding });
    },
  ],
  GlobalAveragePool: ({ inputs: [x], output: y }, g) => [() => expandLike(mul(g, div(sizeOf(y), sizeOf(x))), x)],
  // The copies of an element are one window of the output.
  Resize: ({ inputs: [x] }, g) => [
    () => {
      const factors = x.shape.slice(2).map((_, axis) => fixedLength(g, axis + 2) / fixedLength(x, axis + 2));
      return mul(averagePool(g, factors, { strides: factors }), elementCount(factors));
    },
    undefined,
    undefined,
  ],
};

function convolutionOf(node: Node, w: Tensor): { window: Window; group: number } {
  const kernel = w.shape.slice(2).map((_, axis) => fixedLength(w, axis + 2));
  return { window: windowOf(node.attributes, kernel), group: intAttribute(node, 'group', 1) };
}

function optionsOf({ strides, dilations, before, after }: Window, group: number): ConvolutionOptions {
  return { strides, dilations, pads: [...before, ...after], group };
}

/** What the transpose of a windowed operator lacks of its input x: the end that no window reaches. */
function missing(x: Tensor, g: Tensor, window: Window): number[] {
  const plain = { ...window, outputPadding: window.kernel.map(() => 0) };
  return window.kernel.map(
    (_, axis) => fixedLength(x, axis + 2) - transposedLength(fixedLength(g, axis + 2), plain, axis),
  );
}

/**
 * dW[m, c, k] = Σ over n, i of g[n, m, i] · x[n, c, i · stride + k · dilation − before]: again a convolution, of the
 * examples as channels, in which stride and dilation change places. Of g's groups each meets the same group of x.
 */
function weightGradient(x: Tensor, g: Tensor, window: Window, group: number): Tensor {
  const [input, kernel] = [examplesAsChannels(x, group), swapFirstAxes(g)];
  const lengths = window.kernel.map((_, axis) => fixedLength(g, axis + 2));
  const options = { kernel: lengths, strides: window.dilations, dilations: window.strides };
  // The end of x that no window reaches would give the kernel elements that it does not have.
  const after = window.after.map((padding, axis) => {
    const reached = span(options, axis) + span(window, axis) - 1 - (window.before[axis] as number);
    return Math.max(0, Math.min(padding, reached - fixedLength(x, axis + 2)));
  });
  const full = conv(input, kernel, undefined, {
    strides: window.dilations,
    dilations: window.strides,
    pads: [...window.before, ...after],
    group,
  });
  const cut = window.kernel.reduce(
    (rest, length, axis) => (rest.shape[axis + 2] === length ? rest : slice(rest, axis + 2, 0, length)),
    full,
  );
  return swapFirstAxes(cut);
}

/** [N, group · C, …] as [C, group · N, …]. */
function examplesAsChannels(x: Tensor, group: number): Tensor {
  if (group === 1) return swapFirstAxes(x);
  const [n, channels, ...spatial] = x.shape.map((_, axis) => fixedLength(x, axis)) as [number, number, ...number[]];
  const grouped = reshape(x, [n, group, channels / group, ...spatial]);
  const swapped = transpose(grouped, [2, 1, 0, ...spatial.map((_, axis) => axis + 3)]);
  return reshape(swapped, [channels / group, group * n, ...spatial]);
}

function swapFirstAxes(x: Tensor): Tensor {
  return transpose(x, [1, 0, ...x.shape.slice(2).map((_, axis) => axis + 2)]);
}

function channelSums(g: Tensor): Tensor {
  return reduceSum(
    g,
    g.shape.flatMap((_, axis) => (axis === 1 ? [] : [axis])),
  );
}

function countPerExample(x: Tensor): number {
  return elementCount(x.shape.slice(1).map((_, i) => fixedLength(x, i + 1)));
}

/** One over the number of elements that the mean of each window is of. */
function windowShares(x: Tensor, y: Tensor, window: Window, countPadding: boolean): TensorData {
  const { kernel, strides, before, after } = window;
  if (countPadding || [...before, ...after].every((padding) => padding === 0)) {
    return float32([1 / elementCount(kernel)], []);
  }
  const counts = kernel.map((length, axis) => {
    const start = (i: number) => i * (strides[axis] as number) - (before[axis] as number);
    return Array.from({ length: fixedLength(y, axis + 2) }, (_, i) => {
      return Math.min(start(i) + length, fixedLength(x, axis + 2)) - Math.max(start(i), 0);
    });
  });
  const products = counts.reduce((rows, axis) => rows.flatMap((row) => axis.map((count) => row * count)), [1]);
  return float32(
    products.map((count) => 1 / count),
    [1, 1, ...counts.map(({ length }) => length)],
  );
}

/** Whether every element of x is in exactly one window. */
function isTiling(x: Tensor, y: Tensor, { kernel, strides, before }: Window): boolean {
  return kernel.every(
    (length, axis) =>
      strides[axis] === length && before[axis] === 0 && fixedLength(x, axis + 2) === fixedLength(y, axis + 2) * length,
  );
}
