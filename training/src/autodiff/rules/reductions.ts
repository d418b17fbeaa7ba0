import {
  cast,
  cumSum,
  div,
  equal,
  exp,
  expandLike,
  mul,
  reduceProd,
  reduceSum,
  sign,
  sizeOf,
  sub,
  unsqueeze,
  where,
} from '../../onnx/ops.js';
import type { Tensor } from '../../onnx/tensor.js';
import { elementsOf, intAttribute, type NodeView, positiveAxis, type Rules, withoutGradient } from './rule.js';

export const REDUCTIONS: Rules = {
  ReduceSum: (view, g) => [() => expandLike(restoreAxes(view, g), view.inputs[0]), undefined],
  ReduceMean: (view, g) => {
    const [x] = view.inputs;
    return [() => expandLike(restoreAxes(view, mul(g, div(sizeOf(view.output), sizeOf(x)))), x), undefined];
  },
  ReduceSumSquare: (view, g) => [() => mul(restoreAxes(view, mul(g, 2)), view.inputs[0]), undefined],
  // Where several elements are largest, they share the gradient evenly.
  ReduceMax: (view, g) => [() => shareAmongEqual(view, g), undefined],
  ReduceMin: (view, g) => [() => shareAmongEqual(view, g), undefined],
  ReduceLogSumExp: (view, g) => [
    () => mul(restoreAxes(view, g), exp(sub(view.inputs[0], restoreAxes(view, view.output)))),
    undefined,
  ],
  // The product of the other elements: of all but a zero, if there is one zero; 0 elsewhere, if there are more.
  ReduceProd: (view, g) => [
    () => {
      const [x, axes] = view.inputs;
      const isZero = equal(x, 0);
      const nonZero = where(isZero, 1, x);
      const zeros = cast(isZero, 'float32');
      const otherZeros = sub(reduceSum(zeros, elementsOf(axes), true), zeros);
      const others = div(reduceProd(nonZero, elementsOf(axes), true), nonZero);
      return mul(restoreAxes(view, g), where(equal(otherZeros, 0), others, 0));
    },
    undefined,
  ],
  ReduceL1: (view, g) => [() => mul(restoreAxes(view, g), sign(view.inputs[0])), undefined],
  // The norm has no gradient at 0; 0 is one of its subgradients.
  ReduceL2: (view, g) => [
    () => {
      const norm = restoreAxes(view, view.output);
      return mul(view.inputs[0], div(restoreAxes(view, g), where(equal(norm, 0), 1, norm)));
    },
    undefined,
  ],
  // Each element is part of the sums from its place on: they are summed from the other end.
  CumSum: ({ inputs: [x, axis], node }, g) => [
    () =>
      cumSum(g, positiveAxis(Number(axis.constant?.data[0]), x), {
        exclusive: intAttribute(node, 'exclusive', 0) === 1,
        reverse: intAttribute(node, 'reverse', 0) === 0,
      }),
    undefined,
  ],
  ...withoutGradient(['ArgMax']),
};

/** Puts axes of length 1 where a reduction without keepdims took axes away. */
function restoreAxes({ inputs: [x, axes], node }: NodeView, reduced: Tensor): Tensor {
  if (intAttribute(node, 'keepdims', 1) === 1) return reduced;
  const positive = elementsOf(axes).map((axis) => (axis < 0 ? axis + x.shape.length : axis));
  return positive.length === 0 ? reduced : unsqueeze(reduced, positive);
}

function shareAmongEqual(view: NodeView, gradient: Tensor): Tensor {
  const [x, axes] = view.inputs;
  const isExtreme = cast(equal(x, restoreAxes(view, view.output)), 'float32');
  const count = reduceSum(isExtreme, elementsOf(axes), true);
  return mul(div(isExtreme, count), restoreAxes(view, gradient));
}
