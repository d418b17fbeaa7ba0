import { expandLike, gatherElements, reshape, scatterAdd, zerosLike } from '../../onnx/ops.js';
import { type Dimension, elementCount, isStatic, type Shape, type Tensor } from '../../onnx/tensor.js';
import { intAttribute, positiveAxis, type Rules, withoutGradient } from './rule.js';

// Gradients are added up by ScatterElements, not by ScatterND: on the CPU the threads of the latter race for indices that
// repeat (onnxruntime issue 18048).
export const INDEXING: Rules = {
  Gather: ({ inputs: [x, indices], node }, g) => [
    () => {
      const axis = positiveAxis(intAttribute(node, 'axis', 0), x);
      const [before, after] = [x.shape.slice(0, axis), x.shape.slice(axis + 1)];
      const count = lengthOf(indices.shape);
      const rows = reshape(g, [...before, count, ...after]);
      const column = reshape(indices, [...before.map(() => 1), count, ...after.map(() => 1)]);
      return scatterAdd(zerosLike(x), expandLike(column, rows), rows, axis);
    },
    undefined,
  ],
  GatherElements: ({ inputs: [x, indices], node }, g) => [
    () => scatterAdd(zerosLike(x), indices, g, intAttribute(node, 'axis', 0)),
    undefined,
  ],
  ScatterElements: ({ inputs: [, indices], node }, g) => [
    () => g,
    undefined,
    () => gatherElements(g, indices, intAttribute(node, 'axis', 0)),
  ],
  TopK: ({ inputs: [x], node }, g) => [
    () => scatterAdd(zerosLike(x), node.outputs[1] as Tensor, g, intAttribute(node, 'axis', -1)),
    undefined,
  ],
  ...withoutGradient(['OneHot']),
};

/** The number of elements: a name where one axis has a name and the others have length 1. */
function lengthOf(shape: Shape): Dimension {
  if (isStatic(shape)) return elementCount(shape);
  const [name, ...others] = shape.filter((dimension) => dimension !== 1);
  if (name === undefined || others.length > 0) throw new Error('the gradient of Gather needs indices of fixed shape');
  return name;
}
