import { type Attributes, int, ints, string } from '../graph.js';
import { NEAREST } from '../inference/convolution.js';
import { float32, type Tensor } from '../tensor.js';
import { apply } from './apply.js';

/** How a kernel walks over the spatial axes; one number for each of them, where pads are all starts, then all ends. */
export interface WindowOptions {
  readonly strides?: readonly number[];
  readonly pads?: readonly number[];
}
export interface ConvolutionOptions extends WindowOptions {
  readonly dilations?: readonly number[];
  /** Channels are cut into so many groups, each with weights of its own. */
  readonly group?: number;
}

/** [N, C, …] by weights [M, C / group, …kernel] and bias [M] to [N, M, …]. */
export function conv(x: Tensor, weight: Tensor, bias?: Tensor, options: ConvolutionOptions = {}): Tensor {
  return apply('Conv', withBias(x, weight, bias), convolutionAttributes(options));
}

/**
 * The transpose of a convolution: [N, C, …] by weights [C, M / group, …kernel] and bias [M] to [N, M, …]. An axis becomes
 * (length − 1) · stride + (kernel − 1) · dilation + 1 + outputPadding − pads long.
 */
export function convTranspose(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor,
  { outputPadding, ...options }: ConvolutionOptions & { readonly outputPadding?: readonly number[] } = {},
): Tensor {
  return apply('ConvTranspose', withBias(x, weight, bias), {
    ...convolutionAttributes(options),
    ...(outputPadding?.some((padding) => padding > 0) ? { output_padding: ints(outputPadding) } : {}),
  });
}

/** The largest element of each window; of several, the first one gets the gradient. */
export function maxPool(x: Tensor, kernel: readonly number[], options: WindowOptions = {}): Tensor {
  return apply('MaxPool', [x], { kernel_shape: ints(kernel), ...windowAttributes(options) });
}

/** The mean of each window: of its part inside the tensor, unless padding counts. */
export function averagePool(
  x: Tensor,
  kernel: readonly number[],
  { countPadding = false, ...options }: WindowOptions & { readonly countPadding?: boolean } = {},
): Tensor {
  return apply('AveragePool', [x], {
    kernel_shape: ints(kernel),
    ...windowAttributes(options),
    ...(countPadding ? { count_include_pad: int(1) } : {}),
  });
}

/** [N, C, …] to the mean over the spatial axes, [N, C, 1, …]. */
export function globalAveragePool(x: Tensor): Tensor {
  return apply('GlobalAveragePool', [x]);
}

/** Repeats each element along the spatial axes, by a whole factor for each of them. */
export function upsampleNearest(x: Tensor, factors: readonly number[]): Tensor {
  const scales = x.graph.constant(float32([1, 1, ...factors], [2 + factors.length]));
  const attributes = Object.entries(NEAREST).map(([name, value]) => [name, string(value)] as const);
  return apply('Resize', [x, undefined, scales], Object.fromEntries(attributes));
}

function withBias(x: Tensor, weight: Tensor, bias: Tensor | undefined): Tensor[] {
  return bias === undefined ? [x, weight] : [x, weight, bias];
}

/** What equals ONNX's default is not written. */
function windowAttributes({ strides, pads }: WindowOptions): Attributes {
  return {
    ...(strides?.some((stride) => stride !== 1) ? { strides: ints(strides) } : {}),
    ...(pads?.some((padding) => padding !== 0) ? { pads: ints(pads) } : {}),
  };
}

function convolutionAttributes({ dilations, group = 1, ...options }: ConvolutionOptions): Attributes {
  return {
    ...windowAttributes(options),
    ...(dilations?.some((dilation) => dilation !== 1) ? { dilations: ints(dilations) } : {}),
    ...(group === 1 ? {} : { group: int(group) }),
  };
}
