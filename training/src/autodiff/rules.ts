import type { Node } from '../onnx/graph.js';
import {
  cast,
  div,
  equal,
  exp,
  expandLike,
  gemm,
  greater,
  greaterOrEqual,
  lessOrEqual,
  log,
  matmul,
  mul,
  neg,
  pad,
  pow,
  reduceSum,
  reshape,
  sigmoid,
  sign,
  sizeOf,
  slice,
  square,
  squeeze,
  sub,
  transpose,
  unsqueeze,
  where,
} from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';

/**
 * The gradient with respect to each input of a node, given the gradient of its output. Each is a function, called only
 * where somebody needs it; `undefined` stands for an input that no gradient flows to (an index, a shape, a bound).
 */
type Rule = (node: NodeView, gradient: Tensor) => readonly ((() => Tensor) | undefined)[];

interface NodeView {
  readonly inputs: readonly Tensor[];
  readonly output: Tensor;
  readonly node: Node;
}

/**
 * One rule an operator. With y the output and g the gradient of the loss with respect to y.
 * The forms are those of ONNX Runtime's "Per Op Gradient Building" and tinygrad's gradient.py: standard operators only.
 */
const RULES: Record<string, Rule> = {
  Identity: (_, g) => [() => g],
  Neg: (_, g) => [() => neg(g)],
  Exp: ({ output: y }, g) => [() => mul(g, y)],
  Log: ({ inputs: [x] }, g) => [() => div(g, x)],
  Sqrt: ({ output: y }, g) => [() => div(mul(g, 0.5), y)],
  Abs: ({ inputs: [x] }, g) => [() => mul(g, sign(x))],
  Relu: ({ output: y }, g) => [() => mul(g, cast(greater(y, 0), 'float32'))],
  Tanh: ({ output: y }, g) => [() => mul(g, sub(1, square(y)))],
  Sigmoid: ({ output: y }, g) => [() => mul(g, mul(y, sub(1, y)))],
  Softplus: ({ inputs: [x] }, g) => [() => mul(g, sigmoid(x))],
  // d erf(x) / dx = 2 / sqrt(pi) * exp(-x^2)
  Erf: ({ inputs: [x] }, g) => [() => mul(g, mul(exp(neg(square(x))), 2 / Math.sqrt(Math.PI)))],

  Add: ({ inputs: [a, b] }, g) => [() => sumTo(g, a), () => sumTo(g, b)],
  Sub: ({ inputs: [a, b] }, g) => [() => sumTo(g, a), () => neg(sumTo(g, b))],
  Mul: ({ inputs: [a, b] }, g) => [() => sumTo(mul(g, b), a), () => sumTo(mul(g, a), b)],
  Div: ({ inputs: [a, b], output: y }, g) => [() => sumTo(div(g, b), a), () => neg(sumTo(div(mul(g, y), b), b))],
  Pow: ({ inputs: [a, b], output: y }, g) => [
    () => sumTo(mul(g, mul(b, pow(a, sub(b, 1)))), a),
    // 0^b does not change with b > 0, though log(0) is infinite.
    () => sumTo(mul(g, mul(y, log(where(greater(a, 0), a, 1)))), b),
  ],
  // Where both are equal, the gradient goes to the first alone, so that none is counted twice.
  Max: ({ inputs: [a, b] }, g) => [
    () => sumTo(mul(g, cast(greaterOrEqual(a, b), 'float32')), a),
    () => sumTo(mul(g, cast(greater(b, a), 'float32')), b),
  ],
  Min: ({ inputs: [a, b] }, g) => [
    () => sumTo(mul(g, cast(lessOrEqual(a, b), 'float32')), a),
    () => sumTo(mul(g, cast(greater(a, b), 'float32')), b),
  ],
  Where: ({ inputs: [condition, a, b] }, g) => [
    undefined,
    () => sumTo(where(condition, g, 0), a),
    () => sumTo(where(condition, 0, g), b),
  ],
  // Clip's gradient is that of the identity inside the bounds, 0 outside.
  Clip: ({ inputs: [x, low, high] }, g) => [
    () => {
      const above = low === undefined ? g : mul(g, cast(greaterOrEqual(x, low), 'float32'));
      return high === undefined ? above : mul(above, cast(lessOrEqual(x, high), 'float32'));
    },
    undefined,
    undefined,
  ],

  // Y = alpha * op(A) op(B) + beta * C; each factor's gradient is again a Gemm, with no transposed copy.
  Gemm: ({ inputs: [a, b, c], node }, g) => {
    const { transA, transB, alpha, beta } = gemmAttributes(node);
    return [
      () =>
        transA
          ? gemm(b, g, undefined, { transA: transB, transB: true, alpha })
          : gemm(g, b, undefined, { transB: !transB, alpha }),
      () =>
        transB
          ? gemm(g, a, undefined, { transA: true, transB: transA, alpha })
          : gemm(a, g, undefined, { transA: !transA, alpha }),
      () => sumTo(beta === 1 ? g : mul(g, beta), c),
    ];
  },
  MatMul: ({ inputs: [a, b] }, g) => [
    () => sumTo(matmul(g, swapLastAxes(b)), a),
    () => sumTo(matmul(swapLastAxes(a), g), b),
  ],

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

  Reshape: ({ inputs: [x] }, g) => [() => reshapeLike(g, x), undefined],
  Flatten: ({ inputs: [x] }, g) => [() => reshapeLike(g, x)],
  Squeeze: ({ inputs: [, axes] }, g) => [() => unsqueeze(g, elementsOf(axes)), undefined],
  Unsqueeze: ({ inputs: [, axes] }, g) => [() => squeeze(g, elementsOf(axes)), undefined],
  Expand: ({ inputs: [x] }, g) => [() => sumTo(g, x), undefined],
  Transpose: ({ inputs: [x], node }, g) => [
    () => {
      const order = intsAttribute(node, 'perm');
      return transpose(
        g,
        x.shape.map((_, axis) => order.indexOf(axis)),
      );
    },
  ],
  Concat: ({ inputs, node }, g) => {
    const axis = intAttribute(node, 'axis', 0);
    let end = 0;
    return inputs.map((x) => {
      const length = fixedLength(x, axis);
      const start = end;
      end += length;
      return () => slice(g, axis, start, start + length);
    });
  },
  // Zeros fill what was cut away.
  Slice: ({ inputs: [x, starts, , axes] }, g) => [
    () => {
      let padded = g;
      for (const [i, axis] of elementsOf(axes).entries()) {
        const before = elementsOf(starts)[i];
        padded = pad(padded, axis, before, fixedLength(x, axis) - before - fixedLength(padded, axis));
      }
      return padded;
    },
    undefined,
    undefined,
    undefined,
  ],

  Pad: ({ inputs: [x, amounts] }, g) => [
    () => {
      const before = elementsOf(amounts);
      return x.shape.reduce<Tensor>((cut, dimension, axis) => {
        if (cut.shape[axis] === dimension) return cut;
        return slice(cut, axis, before[axis], before[axis] + fixedLength(x, axis));
      }, g);
    },
    undefined,
  ],

  ...withoutGradient(['Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual', 'Equal', 'Sign', 'Shape', 'Size']),
  // Casts go from or to integers and booleans here, which have no gradient.
  ...withoutGradient(['Cast']),
};

export const differentiableOperators: readonly string[] = Object.keys(RULES);

/** @throws {Error} where the operator has no rule */
export function ruleOf(operator: string): Rule {
  const rule = RULES[operator];
  if (rule === undefined) throw new Error(`${operator}: has no gradient rule; see autodiff/rules.ts`);
  return rule;
}

function withoutGradient(operators: readonly string[]): Record<string, Rule> {
  return Object.fromEntries(
    operators.map((operator) => [operator, ({ inputs }: NodeView) => inputs.map(() => undefined)]),
  );
}

/** Sums the axes along which x was broadcast, so that the gradient gets the shape of x. */
function sumTo(gradient: Tensor, x: Tensor): Tensor {
  const extra = gradient.shape.length - x.shape.length;
  const axes = gradient.shape.flatMap((dimension, axis) =>
    axis < extra || (x.shape[axis - extra] === 1 && dimension !== 1) ? [axis] : [],
  );
  const summed = axes.length === 0 ? gradient : reduceSum(gradient, axes, true);
  return extra === 0 ? summed : squeeze(summed, axes.slice(0, extra));
}

function reshapeLike(gradient: Tensor, x: Tensor): Tensor {
  return reshape(gradient, x.shape);
}

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

function swapLastAxes(x: Tensor): Tensor {
  const order = x.shape.map((_, axis) => axis);
  const last = order.length - 1;
  return transpose(x, [...order.slice(0, -2), last, last - 1]);
}

function gemmAttributes(node: Node): { transA: boolean; transB: boolean; alpha: number; beta: number } {
  const { alpha, beta } = node.attributes;
  return {
    transA: intAttribute(node, 'transA', 0) === 1,
    transB: intAttribute(node, 'transB', 0) === 1,
    alpha: alpha?.kind === 'float' ? alpha.value : 1,
    beta: beta?.kind === 'float' ? beta.value : 1,
  };
}

function intAttribute(node: Node, name: string, fallback: number): number {
  const attribute = node.attributes[name];
  return attribute?.kind === 'int' ? attribute.value : fallback;
}

function intsAttribute(node: Node, name: string): readonly number[] {
  const attribute = node.attributes[name];
  return attribute?.kind === 'ints' ? attribute.value : [];
}

function elementsOf(vector: Tensor): number[] {
  return (vector.elements ?? []).map(Number);
}

function fixedLength(x: Tensor, axis: number): number {
  const length = x.shape.at(axis);
  if (typeof length !== 'number') throw new Error(`axis ${axis} of ${x.name} must have a fixed length`);
  return length;
}
