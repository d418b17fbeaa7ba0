import { withGradient } from '../autodiff/custom-gradient.js';
import { GraphError } from '../onnx/errors.js';
import { add, concat, gemm, pad, reduceSum, reshape, slice, transpose } from '../onnx/ops.js';
import { float32, formatShape, isStatic, type Tensor } from '../onnx/tensor.js';
import { gatherPatches, patchPixels, pickRows, type Reads, reads } from './patches.js';

// The training form of convolutions. ONNX Runtime's own kernels multiply one image at a time and are fast only where
// weights are constant; here the patches of the whole batch are one matrix, and each convolution and each gradient one
// large product. Images are [N, height, width, channels], so that a patch is copied in runs of all channels, and kernels
// [height, width, …], so that none is transposed element by element. No scatter is needed: an image's gradient is
// gathered, as is a transposed convolution.

type Pair = readonly [height: number, width: number];

export interface ConvolutionOptions {
  readonly strides?: Pair;
  /** Zeros around the image, in ONNX's order. */
  readonly pads?: readonly [top: number, left: number, bottom: number, right: number];
}

export interface TransposedConvolutionOptions extends ConvolutionOptions {
  /** Rows and columns added at the bottom and the right, fewer than the stride. */
  readonly outputPadding?: Pair;
}

/** One axis of a convolution: place o of `small` reads positions o · stride + k − before of `large`, k < kernel. */
interface Axis {
  readonly large: number;
  readonly small: number;
  readonly kernel: number;
  readonly stride: number;
  readonly before: number;
}
type Axes = readonly [height: Axis, width: Axis];

/**
 * What ONNX's Conv computes.
 * @param x [N, height, width, in], all fixed
 * @param kernel [kernel height, kernel width, in, out]; see `onnxKernel`
 * @param bias [out]
 * @returns [N, output height, output width, out]
 * @throws {GraphError} where shapes or options do not fit
 */
export function convolution(x: Tensor, kernel: Tensor, bias: Tensor, options: ConvolutionOptions = {}): Tensor {
  const { strides = [1, 1], pads = [0, 0, 0, 0] } = options;
  const fail = failure('convolution', x, kernel, bias);
  const [image, filter] = checkedShapes(x, kernel, bias, 3, strides, pads, fail);
  return correlate(
    x,
    kernel,
    bothAxes((i) => {
      const [large, size, stride] = [image[1 + i], filter[i], strides[i]];
      const small = Math.floor((large + pads[i] + pads[i + 2] - size) / stride) + 1;
      if (small < 1) fail('the kernel does not fit into the padded image');
      return { large, small, kernel: size, stride, before: pads[i] };
    }),
    bias,
  );
}

/**
 * What ONNX's ConvTranspose computes.
 * @param x [N, height, width, in], all fixed
 * @param kernel [kernel height, kernel width, out, in]; see `onnxKernel`
 * @param bias [out]
 * @returns [N, output height, output width, out]
 * @throws {GraphError} where shapes or options do not fit
 */
export function transposedConvolution(
  x: Tensor,
  kernel: Tensor,
  bias: Tensor,
  options: TransposedConvolutionOptions = {},
): Tensor {
  const { strides = [1, 1], pads = [0, 0, 0, 0], outputPadding = [0, 0] } = options;
  const fail = failure('transposedConvolution', x, kernel, bias);
  const [image, filter] = checkedShapes(x, kernel, bias, 2, strides, pads, fail);
  return spread(
    x,
    kernel,
    bothAxes((i) => {
      const [small, size, stride] = [image[1 + i], filter[i], strides[i]];
      if (!(isWhole(outputPadding[i], 0) && outputPadding[i] < stride))
        fail(`output padding ${outputPadding[i]} is not below the stride ${stride}`);
      const large = (small - 1) * stride + size + outputPadding[i] - pads[i] - pads[i + 2];
      if (large < 1) fail('the padding leaves nothing of the output');
      return { large, small, kernel: size, stride, before: pads[i] };
    }),
    bias,
  );
}

/** A kernel of `convolution` as Conv takes it, one of `transposedConvolution` as ConvTranspose takes it. */
export function onnxKernel(kernel: Tensor): Tensor {
  return transpose(kernel, [3, 2, 0, 1]);
}

// Three maps, each linear in either argument; the gradients of one are the other two.

/** [N, large, a] and a kernel [kh, kw, a, b] → [N, small, b]. */
function correlate(x: Tensor, kernel: Tensor, axes: Axes, bias?: Tensor): Tensor {
  const product = gemm(patchMatrix(x, axes), kernelMatrix(kernel, axes), bias);
  const result = reshape(product, [x.shape[0], axes[0].small, axes[1].small, kernel.shape[3]]);
  return withGradient(result, bias === undefined ? [x, kernel] : [x, kernel, bias], (g) => [
    () => spread(g, kernel, axes),
    () => kernelGradient(x, g, axes),
    () => sumPixels(g),
  ]);
}

/** [N, small, b] and a kernel [kh, kw, a, b] → [N, large, a]. */
function spread(y: Tensor, kernel: Tensor, axes: Axes, bias?: Tensor): Tensor {
  const [count] = y.shape as number[];
  const out = kernel.shape[2] as number;
  const [h, w] = bothAxes((i) => blocksOf(axes[i]));
  const compute = gathersFirst(y, out, h, w) ? multiplyPatches : addProducts;
  const blocks = compute(y, splitKernel(kernel, axes), h, w, bias && repeat(bias, h.stride * w.stride));
  const rows = reshape(blocks, [count, h.count * w.count * h.stride * w.stride, out]);
  const numbers = h.pixels.flatMap((y) =>
    w.pixels.map((x) => ((y.block * w.count + x.block) * h.stride + y.offset) * w.stride + x.offset),
  );
  const result = reshape(pickRows(rows, numbers), [count, axes[0].large, axes[1].large, out]);
  return withGradient(result, bias === undefined ? [y, kernel] : [y, kernel, bias], (g) => [
    () => correlate(g, kernel, axes),
    () => kernelGradient(g, y, axes),
    () => sumPixels(g),
  ]);
}

/** [N, large, a] and [N, small, b] → [kh, kw, a, b]. */
function kernelGradient(x: Tensor, y: Tensor, axes: Axes): Tensor {
  const [count, height, width, out] = y.shape as number[];
  const matrix = gemm(patchMatrix(x, axes), reshape(y, [count * height * width, out]), undefined, { transA: true });
  return withGradient(kernelOf(matrix, axes, x.shape[3] as number, out), [x, y], (g) => [
    () => spread(y, g, axes),
    () => correlate(x, g, axes),
  ]);
}

/** Patches by image and geometry, so that a kernel's gradient takes those that the convolution itself took. */
const patchMatrices = new WeakMap<Tensor, Map<string, Tensor>>();

/** [N · small, kh · kw · a]: what each place of the small image reads. */
function patchMatrix(x: Tensor, axes: Axes): Tensor {
  const known = patchMatrices.get(x) ?? new Map<string, Tensor>();
  patchMatrices.set(x, known);
  const key = JSON.stringify(axes);
  const matrix = known.get(key) ?? (inBlocks(x.shape[3], axes) ? patchesOfBlocks(x, axes) : patchesOf(x, axes));
  known.set(key, matrix);
  return matrix;
}

function patchesOf(x: Tensor, axes: Axes): Tensor {
  const [h, w] = bothAxes((i) => {
    const { large, small, kernel, stride, before } = axes[i];
    return reads(large, small, kernel, (place, tap) => place * stride + tap - before);
  });
  return gatherPatches(x, h, w);
}

/**
 * Few channels are short runs, slow to gather. So blocks of stride × stride pixels become the pixels of a smaller image
 * with more channels, which the kernel crosses in steps of 1.
 */
function inBlocks(channels: unknown, axes: Axes): boolean {
  return Number(channels) <= 4 && axes.some(({ stride }) => stride > 1) && axes.every((a) => a.kernel >= a.stride);
}

function patchesOfBlocks(x: Tensor, axes: Axes): Tensor {
  const [count, , , channels] = x.shape as number[];
  const [h, w] = bothAxes((i) => {
    const { large, small, stride, before } = axes[i];
    const taps = tapsOf(axes[i]);
    const places = small + taps - 1;
    return {
      places,
      toBlocks: reads(large, places, stride, (place, offset) => place * stride + offset - before),
      toPatches: reads(places, small, taps, (place, tap) => place + tap),
    };
  });
  const blocks = gatherPatches(x, h.toBlocks, w.toBlocks);
  const image = reshape(blocks, [count, h.places, w.places, axes[0].stride * axes[1].stride * channels]);
  return gatherPatches(image, h.toPatches, w.toPatches);
}

/** A kernel as the matrix that patches are multiplied by. */
function kernelMatrix(kernel: Tensor, axes: Axes): Tensor {
  const [height, width, channels, out] = kernel.shape as number[];
  if (!inBlocks(channels, axes)) return reshape(kernel, [height * width * channels, out]);
  const split = transpose(splitKernel(kernel, axes), [0, 2, 1, 3, 4, 5]);
  return reshape(split, [split.shape.slice(0, -1).reduce<number>((size, length) => size * Number(length), 1), out]);
}

/** The inverse of `kernelMatrix`. */
function kernelOf(matrix: Tensor, axes: Axes, channels: number, out: number): Tensor {
  const [h, w] = axes;
  if (!inBlocks(channels, axes)) return reshape(matrix, [h.kernel, w.kernel, channels, out]);
  const split = reshape(matrix, [tapsOf(h), tapsOf(w), h.stride, w.stride, channels, out]);
  const whole = reshape(transpose(split, [0, 2, 1, 3, 4, 5]), [
    tapsOf(h) * h.stride,
    tapsOf(w) * w.stride,
    channels,
    out,
  ]);
  return slice(slice(whole, 0, 0, h.kernel), 1, 0, w.kernel);
}

/** How many strides a kernel reaches over. */
const tapsOf = ({ kernel, stride }: Axis): number => Math.ceil(kernel / stride);

/** [kh, kw, a, b] as [taps, stride, taps, stride, a, b], with zeros where the kernel ends before its last stride. */
function splitKernel(kernel: Tensor, axes: Axes): Tensor {
  const whole = axes.reduce((k, axis, i) => pad(k, i, 0, tapsOf(axis) * axis.stride - axis.kernel), kernel);
  const [h, w] = axes;
  return reshape(whole, [tapsOf(h), h.stride, tapsOf(w), w.stride, ...kernel.shape.slice(2)]);
}

/** One axis of the large image cut into blocks of stride positions, which all read the same places of the small one. */
interface Blocks {
  readonly count: number;
  readonly stride: number;
  readonly taps: number;
  readonly reads: Reads;
  /** Where each position of the large image is found. */
  readonly pixels: readonly { readonly block: number; readonly offset: number }[];
}

function blocksOf(axis: Axis): Blocks {
  const { large, small, stride, before } = axis;
  // The blocks are those of the padded image; what lies wholly in the padding is left out.
  const first = Math.floor(before / stride);
  const count = Math.floor((before + large - 1) / stride) - first + 1;
  const taps = tapsOf(axis);
  return {
    count,
    stride,
    taps,
    reads: reads(small, count, taps, (block, tap) => first + block - tap),
    pixels: Array.from({ length: large }, (_, position) => ({
      block: Math.floor((position + before) / stride) - first,
      offset: (position + before) % stride,
    })),
  };
}

/** Multiply-adds that a matrix product does while one number is copied. */
const COPY = 40;
/** A matrix product takes its columns by as many as this. */
const COLUMNS = 16;

/**
 * Whether it is cheaper to gather what a block reads and to multiply it than to multiply what each pixel gives to the
 * blocks around it and to gather that: the first multiplies zeros at the border, the second copies more where the result
 * has more channels than the input.
 */
function gathersFirst(y: Tensor, out: number, h: Blocks, w: Blocks): boolean {
  const [, height, width, channels] = y.shape as number[];
  const [blocks, taps, depth] = [h.count * w.count, h.taps * w.taps, h.stride * w.stride * out];
  const gathering = blocks * taps * channels * (COPY + Math.max(depth, COLUMNS));
  const adding = height * width * channels * Math.max(taps * depth, COLUMNS) + 2 * blocks * taps * depth * COPY;
  return gathering <= adding;
}

/**
 * Blocks [N · blocks, stride · stride · a], each the product of what it reads.
 * @param kernel see `splitKernel`
 * @param bias [stride · stride · a]
 */
function multiplyPatches(y: Tensor, kernel: Tensor, h: Blocks, w: Blocks, bias?: Tensor): Tensor {
  const [, , , , out, channels] = kernel.shape as number[];
  const shape = [h.stride * w.stride * out, h.taps * w.taps * channels];
  const matrix = reshape(transpose(kernel, [1, 3, 4, 0, 2, 5]), shape);
  return gemm(gatherPatches(y, h.reads, w.reads), matrix, bias, { transB: true });
}

/** The same, each the sum of what the pixels that it reads give. */
function addProducts(y: Tensor, kernel: Tensor, h: Blocks, w: Blocks, bias?: Tensor): Tensor {
  const [count, height, width, channels] = y.shape as number[];
  const [taps, depth] = [h.taps * w.taps, h.stride * w.stride * (kernel.shape[4] as number)];
  const matrix = reshape(transpose(kernel, [0, 2, 1, 3, 4, 5]), [taps * depth, channels]);
  // What blocks read outside the image is one more pixel, of zeros: cheaper here than among the larger products.
  const outside = height * width;
  const source = pad(reshape(y, [count, outside, channels]), 1, 0, 1);
  const pixels = reshape(source, [count * (outside + 1), channels]);
  // Every block takes one product of its first tap: there the bias is.
  const product = gemm(pixels, matrix, bias && pad(bias, 0, 0, (taps - 1) * depth), { transB: true });
  const rows = reshape(product, [count, (outside + 1) * taps, depth]);
  const numbers = patchPixels(h.reads, w.reads, width).map((pixel) => (pixel < 0 ? outside : pixel));
  return Array.from({ length: taps }, (_, tap) =>
    pickRows(
      rows,
      numbers.filter((_, i) => i % taps === tap).map((pixel) => pixel * taps + tap),
    ),
  ).reduce((sum, part) => add(sum, part));
}

function repeat(vector: Tensor, times: number): Tensor {
  return times === 1 ? vector : concat(new Array<Tensor>(times).fill(vector), 0);
}

/**
 * [N, height, width, channels] → [channels]: a bias's gradient. As a product with ones, for which ONNX Runtime takes a
 * fifth of its ReduceSum's time.
 */
function sumPixels(g: Tensor): Tensor {
  const [count, height, width, channels] = g.shape as number[];
  // Rows of few channels are summed as long ones first.
  const joined = channels < COLUMNS ? width : 1;
  const rows = (count * height * width) / joined;
  const ones = g.graph.constant(float32(new Float32Array(rows).fill(1), [1, rows]));
  const sum = gemm(ones, reshape(g, [rows, joined * channels]));
  return joined === 1 ? reshape(sum, [channels]) : reduceSum(reshape(sum, [joined, channels]), [0]);
}

function bothAxes<T>(build: (axis: 0 | 1) => T): readonly [height: T, width: T] {
  return [build(0), build(1)];
}

type Fail = (rule: string) => never;

function failure(name: string, ...tensors: readonly Tensor[]): Fail {
  return (rule) => {
    throw new GraphError(`${name}(${tensors.map(({ shape }) => formatShape(shape)).join(', ')}): ${rule}`);
  };
}

const isWhole = (value: number, least: number): boolean => Number.isSafeInteger(value) && value >= least;

/** @param outAxis the kernel's axis of output channels; the other of 2 and 3 is that of input channels */
function checkedShapes(
  x: Tensor,
  kernel: Tensor,
  bias: Tensor,
  outAxis: 2 | 3,
  strides: readonly number[],
  pads: readonly number[],
  fail: Fail,
): readonly [image: readonly number[], kernel: readonly number[]] {
  const [image, filter] = [x.shape, kernel.shape];
  if (image.length !== 4 || !isStatic(image)) return fail('the image must have four fixed axes');
  if (filter.length !== 4 || !isStatic(filter)) return fail('the kernel must have four fixed axes');
  if (image[3] !== filter[5 - outAxis]) fail('image and kernel differ in channels');
  if (bias.shape.length !== 1 || bias.shape[0] !== filter[outAxis]) fail(`the bias must be [${filter[outAxis]}]`);
  if (strides.some((stride) => !isWhole(stride, 1))) fail(`strides ${formatShape(strides)} must be 1 or more`);
  if (pads.some((amount) => !isWhole(amount, 0))) fail(`pads ${formatShape(pads)} must be 0 or more`);
  return [image, filter];
}
