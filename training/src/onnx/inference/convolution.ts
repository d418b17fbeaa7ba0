import { type Dimension, formatShape, type Shape, sameShape, type Tensor } from '../tensor.js';
import { transposedLength, type Window, windowedLength, windowOf } from '../window.js';
import { type Call, fixed, type Inference } from './call.js';

/** Operators on [N, C, …spatial] that slide a window over one to three spatial axes. */
export const CONVOLUTION: Record<string, Inference> = {
  /** X [N, C, …], W [M, C / group, …kernel], B [M]. */
  Conv(call) {
    const x = images(call);
    const w = weights(call, x);
    const group = call.int('group', 1);
    const [m, perGroup] = w.shape as [Dimension, Dimension];
    if (x.shape[1] !== times(perGroup, group) || (group !== 1 && fixed(call, m) % group !== 0))
      refuseChannels(call, x, w);
    bias(call, m);
    const window = checkedWindow(call, w.shape.slice(2));
    return [{ dtype: 'float32', shape: [x.shape[0] as Dimension, m, ...windowed(call, x, window)] }];
  },
  /** X [N, C, …], W [C, M / group, …kernel], B [M]. */
  ConvTranspose(call) {
    const x = images(call);
    const w = weights(call, x);
    const group = call.int('group', 1);
    const [channels, perGroup] = w.shape as [Dimension, Dimension];
    if (x.shape[1] !== channels || (group !== 1 && fixed(call, channels) % group !== 0)) refuseChannels(call, x, w);
    const m = times(perGroup, group);
    bias(call, m);
    const window = checkedWindow(call, w.shape.slice(2));
    const spatial = x.shape.slice(2).map((dimension, axis) => {
      const length = transposedLength(fixed(call, dimension), window, axis);
      return length > 0 ? length : call.refuse(`padding leaves nothing of spatial axis ${axis}`);
    });
    return [{ dtype: 'float32', shape: [x.shape[0] as Dimension, m, ...spatial] }];
  },

  /** Outputs Y, and the position of each maximum in the flattened input. */
  MaxPool(call) {
    const x = images(call);
    const shape = [...x.shape.slice(0, 2), ...windowed(call, x, poolingWindow(call, x))];
    return [
      { dtype: 'float32', shape },
      { dtype: 'int64', shape },
    ];
  },
  AveragePool(call) {
    const x = images(call);
    call.int('count_include_pad', 0);
    return [{ dtype: 'float32', shape: [...x.shape.slice(0, 2), ...windowed(call, x, poolingWindow(call, x))] }];
  },
  GlobalAveragePool(call) {
    const { shape } = images(call);
    return [{ dtype: 'float32', shape: shape.map((dimension, axis) => (axis < 2 ? dimension : 1)) }];
  },

  /** Nearest neighbours, by whole factors: output element i is input element floor(i / factor). */
  Resize(call) {
    const x = images(call);
    if (call.optional(1) !== undefined || call.optional(3) !== undefined) call.refuse('takes factors only');
    const factors = Array.from(call.input(2, 'float32').constant?.data ?? [], Number);
    const [n, c, ...spatial] = factors;
    if (factors.length !== x.shape.length || n !== 1 || c !== 1 || spatial.some((f) => !Number.isInteger(f) || f < 1)) {
      call.refuse('factors must be constant whole numbers, 1 for the first two axes');
    }
    for (const [name, value] of Object.entries(NEAREST)) {
      if (call.string(name, '') !== value) call.refuse(`attribute ${name} must be ${value}`);
    }
    const shape = x.shape.map((dimension, axis) =>
      axis < 2 ? dimension : fixed(call, dimension) * (factors[axis] as number),
    );
    return [{ dtype: 'float32', shape }];
  },
};

/** The one of ONNX's many roundings in which a whole factor repeats each element. */
export const NEAREST = {
  mode: 'nearest',
  coordinate_transformation_mode: 'asymmetric',
  nearest_mode: 'floor',
} as const;

function images(call: Call): Tensor {
  const x = call.input(0, 'float32');
  const spatial = x.shape.length - 2;
  return spatial >= 1 && spatial <= 3 ? x : call.refuse('input 0 must be [N, C] and one to three spatial axes');
}

function weights(call: Call, x: Tensor): Tensor {
  const w = call.input(1, 'float32');
  return w.shape.length === x.shape.length ? w : call.refuse(`weights must have ${x.shape.length} axes`);
}

function bias(call: Call, length: Dimension): void {
  const b = call.optional(2);
  if (b !== undefined && !(b.dtype === 'float32' && sameShape(b.shape, [length]))) {
    call.refuse(`the bias must be float32 [${length}]`);
  }
}

/** The channels of all groups; where there is one group they may have a name: a batch that takes their place. */
function times(channels: Dimension, group: number): Dimension {
  return typeof channels === 'number' ? channels * group : group === 1 ? channels : Number.NaN;
}

function refuseChannels(call: Call, x: Tensor, w: Tensor): never {
  const group = call.int('group', 1);
  return call.refuse(`${x.shape[1]} channels in ${group} groups do not meet weights ${formatShape(w.shape)}`);
}

/** Reads the window's attributes and refuses those that are not whole, not positive or not one for each axis. */
function checkedWindow(call: Call, kernelShape: Shape): Window {
  const kernel = kernelShape.map((dimension) => fixed(call, dimension));
  const count = kernel.length;
  const check = (name: string, length: number, least: number) => {
    const values = call.ints(name, new Array<number>(length).fill(least));
    if (values.length !== length || values.some((value) => !Number.isInteger(value) || value < least)) {
      call.refuse(`${name} must be ${length} whole numbers of ${least} or more`);
    }
  };
  check('strides', count, 1);
  check('pads', 2 * count, 0);
  if (!call.operator.endsWith('Pool')) check('dilations', count, 1);
  if (call.operator === 'ConvTranspose') check('output_padding', count, 0);
  const window = windowOf(call.attributes, kernel);
  if (window.outputPadding.some((padding, axis) => padding >= (window.strides[axis] as number))) {
    call.refuse('output_padding must be less than the stride');
  }
  return window;
}

function poolingWindow(call: Call, x: Tensor): Window {
  const kernel = call.ints('kernel_shape');
  if (kernel.length !== x.shape.length - 2 || kernel.some((length) => !Number.isInteger(length) || length < 1)) {
    call.refuse(`kernel_shape must be ${x.shape.length - 2} whole numbers of 1 or more`);
  }
  const window = checkedWindow(call, kernel);
  // A window must not lie in the padding alone.
  if (kernel.some((length, axis) => Math.max(window.before[axis] as number, window.after[axis] as number) >= length)) {
    call.refuse('pads must be less than the kernel');
  }
  return window;
}

function windowed(call: Call, x: Tensor, window: Window): number[] {
  return x.shape.slice(2).map((dimension, axis) => {
    const length = windowedLength(fixed(call, dimension), window, axis);
    return length > 0 ? length : call.refuse(`the kernel is longer than spatial axis ${axis} with its padding`);
  });
}
