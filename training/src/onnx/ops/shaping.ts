import { GraphError } from '../errors.js';
import { int, ints, string } from '../graph.js';
import { formatShape, isStatic, type Shape, sameShape, type Tensor } from '../tensor.js';
import { apply, applyAll, scalar, unary, vector } from './apply.js';
import { cast } from './elementwise.js';

/** The shape as an int64 vector, computed where the graph runs. */
export const shapeOf = unary('Shape');

/** The number of elements as a float32 scalar: a constant where the shape is fixed. */
export function sizeOf(x: Tensor): Tensor {
  if (!isStatic(x.shape)) return cast(apply('Size', [x]), 'float32');
  return scalar(
    x.graph,
    x.shape.reduce((product, dimension) => product * dimension, 1),
  );
}

/** Reshapes; at most one axis of the new shape may have a name instead of a length. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const named = shape.filter((dimension) => typeof dimension === 'string');
  if (named.length > 1) throw new GraphError(`Reshape to ${formatShape(shape)}: only one axis may be named`);
  const target = shape.map((dimension) => (typeof dimension === 'string' ? -1 : dimension));
  return apply('Reshape', [x, vector(x.graph, target)]);
}

/** [N, …rest] as [N, product of rest]. */
export function flatten(x: Tensor): Tensor {
  return x.shape.length === 2 ? x : apply('Flatten', [x], { axis: int(1) });
}

/** Repeats x along axes of length 1 until it has the shape of `like`, which it must broadcast to. */
export function expandLike(x: Tensor, like: Tensor): Tensor {
  if (isStatic(like.shape)) return expand(x, like.shape);
  return sameShape(x.shape, like.shape) ? x : apply('Expand', [x, shapeOf(like)]);
}

/** Repeated along axes of length 1, or new ones at the front, until it has that shape. */
export function expand(x: Tensor, shape: readonly number[]): Tensor {
  return sameShape(x.shape, shape) ? x : apply('Expand', [x, vector(x.graph, shape)]);
}

export function transpose(x: Tensor, order: readonly number[]): Tensor {
  return apply('Transpose', [x], { perm: ints(order) });
}

export function unsqueeze(x: Tensor, axes: readonly number[]): Tensor {
  return apply('Unsqueeze', [x, vector(x.graph, axes)]);
}

export function squeeze(x: Tensor, axes: readonly number[]): Tensor {
  return apply('Squeeze', [x, vector(x.graph, axes)]);
}

export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  return apply('Concat', tensors, { axis: int(axis) });
}

/** Cuts an axis into parts of the given lengths. */
export function split(x: Tensor, axis: number, lengths: readonly number[]): readonly Tensor[] {
  return applyAll('Split', [x, vector(x.graph, lengths)], { axis: int(axis) });
}

/**
 * Every `step`-th element of one axis from `start` on, up to but not including `end`. A negative step walks back; `end`
 * is then -1 where the first element belongs to the result.
 */
export function slice(x: Tensor, axis: number, start: number, end: number, step = 1): Tensor {
  const length = x.shape.at(axis);
  // In ONNX -1 is the last element; what lies before the first one is -1 - length.
  const stop = step < 0 && end === -1 && typeof length === 'number' ? -1 - length : end;
  const range = [start, stop, axis, ...(step === 1 ? [] : [step])];
  return apply('Slice', [x, ...range.map((value) => vector(x.graph, [value]))]);
}

/** The elements of an axis in the opposite order. */
export function reverse(x: Tensor, axis: number): Tensor {
  const length = x.shape.at(axis);
  if (typeof length !== 'number') throw new GraphError(`Slice(${formatShape(x.shape)}): axis ${axis} has no length`);
  return slice(x, axis, length - 1, -1, -1);
}

export type PadMode = 'constant' | 'reflect' | 'edge';

/** Puts `before` and `after` elements at the ends of one axis: zeros, or what the mode says. */
export function pad(x: Tensor, axis: number, before: number, after: number, mode: PadMode = 'constant'): Tensor {
  if (before === 0 && after === 0) return x;
  const rank = x.shape.length;
  const at = axis < 0 ? axis + rank : axis;
  if (!(at >= 0 && at < rank))
    throw new GraphError(`Pad(${formatShape(x.shape)}): axis ${axis} is not among ${rank} axes`);
  const amounts = new Array<number>(2 * rank).fill(0);
  amounts[at] = before;
  amounts[at + rank] = after;
  return padAxes(x, amounts, mode);
}

/**
 * Pads every axis.
 * @param amounts what is put before each axis, then what is put after each
 * @param mode a constant value; the elements mirrored at the ends, which are not repeated; or the ends repeated
 */
export function padAxes(x: Tensor, amounts: readonly number[], mode: PadMode = 'constant', value = 0): Tensor {
  const inputs = [x, vector(x.graph, amounts), ...(value === 0 ? [] : [scalar(x.graph, value)])];
  return apply('Pad', inputs, mode === 'constant' ? {} : { mode: string(mode) });
}

/** Repeats the whole tensor along each axis. */
export function tile(x: Tensor, repeats: readonly number[]): Tensor {
  return apply('Tile', [x, vector(x.graph, repeats)]);
}

/** Zeros of the shape of another tensor. */
export function zerosLike(x: Tensor): Tensor {
  return expandLike(scalar(x.graph, 0), x);
}
