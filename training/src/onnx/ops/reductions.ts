import { int } from '../graph.js';
import type { Tensor } from '../tensor.js';
import { apply, integer, vector } from './apply.js';

const reduction =
  (operator: string) =>
  (x: Tensor, axes: readonly number[] = x.shape.map((_, axis) => axis), keepdims = false): Tensor =>
    apply(operator, [x, vector(x.graph, axes)], { keepdims: int(keepdims ? 1 : 0) });

/** Reductions over all axes unless some are named. */
export const reduceSum = reduction('ReduceSum');
export const reduceMean = reduction('ReduceMean');
export const reduceMax = reduction('ReduceMax');
export const reduceMin = reduction('ReduceMin');
export const reduceSumSquare = reduction('ReduceSumSquare');
export const reduceLogSumExp = reduction('ReduceLogSumExp');
export const reduceProd = reduction('ReduceProd');
/** Σ |x|. */
export const reduceL1 = reduction('ReduceL1');
/** sqrt(Σ x²). */
export const reduceL2 = reduction('ReduceL2');

/** The int64 position of the largest element along an axis, the first of several. */
export function argMax(x: Tensor, axis: number, keepdims = false): Tensor {
  return apply('ArgMax', [x], { axis: int(axis), keepdims: int(keepdims ? 1 : 0) });
}

/** Running sums along an axis: from its end if `reverse`, without the element itself if `exclusive`. */
export function cumSum(x: Tensor, axis: number, { exclusive = false, reverse = false } = {}): Tensor {
  return apply('CumSum', [x, integer(x.graph, axis)], {
    ...(exclusive ? { exclusive: int(1) } : {}),
    ...(reverse ? { reverse: int(1) } : {}),
  });
}
