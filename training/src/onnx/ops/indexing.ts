import { int, string } from '../graph.js';
import { float32, type Tensor } from '../tensor.js';
import { apply, applyAll, integer, vector } from './apply.js';

/** The slices of x along an axis at the indices, whose axes take the place of that one; negative ones count from the end. */
export function gather(x: Tensor, indices: Tensor, axis = 0): Tensor {
  return apply('Gather', [x, indices], { axis: int(axis) });
}

/** y[i, j, …] = x[indices[i, j, …], j, …] where the axis is 0, and alike for others. */
export function gatherElements(x: Tensor, indices: Tensor, axis = 0): Tensor {
  return apply('GatherElements', [x, indices], { axis: int(axis) });
}

/** x with every update added at its index along an axis, as often as an index repeats. */
export function scatterAdd(x: Tensor, indices: Tensor, updates: Tensor, axis = 0): Tensor {
  return apply('ScatterElements', [x, indices, updates], { axis: int(axis), reduction: string('add') });
}

/** The k largest elements along an axis, the largest first, and their int64 positions. */
export function topK(x: Tensor, k: number, axis = -1): { values: Tensor; indices: Tensor } {
  const [values, indices] = applyAll('TopK', [x, vector(x.graph, [k])], { axis: int(axis) });
  return { values: values as Tensor, indices: indices as Tensor };
}

/** int64 indices […] as float32 [… , classes]: 1 at the index, 0 elsewhere. */
export function oneHot(indices: Tensor, classes: number): Tensor {
  const { graph } = indices;
  return apply('OneHot', [indices, integer(graph, classes), graph.constant(float32([0, 1], [2]))]);
}
