import {
  add,
  and,
  cast,
  cos,
  div,
  exp,
  greater,
  greaterOrEqual,
  less,
  lessOrEqual,
  log,
  mul,
  neg,
  pow,
  sigmoid,
  sign,
  sin,
  square,
  sub,
  where,
} from '../../onnx/ops.js';
import type { Tensor } from '../../onnx/tensor.js';
import { floatAttribute, type Rules, sumTo, withoutGradient } from './rule.js';

/** With y the output and g the gradient of the loss with respect to y. */
export const ELEMENTWISE: Rules = {
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
  Reciprocal: ({ output: y }, g) => [() => neg(mul(g, square(y)))],
  Sin: ({ inputs: [x] }, g) => [() => mul(g, cos(x))],
  Cos: ({ inputs: [x] }, g) => [() => neg(mul(g, sin(x)))],
  // y + alpha = alpha * exp(x) where x < 0
  Elu: ({ inputs: [x], output: y, node }, g) => [
    () => mul(g, where(greater(x, 0), 1, add(y, floatAttribute(node, 'alpha', 1)))),
  ],
  LeakyRelu: ({ inputs: [x], node }, g) => [() => mul(g, where(greater(x, 0), 1, floatAttribute(node, 'alpha', 0.01)))],
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
  Max: ({ inputs }, g) => inputs.map((_, i) => () => routed(g, inputs, i, greater, greaterOrEqual)),
  Min: ({ inputs }, g) => inputs.map((_, i) => () => routed(g, inputs, i, less, lessOrEqual)),
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

  ...withoutGradient(['Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual', 'Equal', 'Sign', 'Floor', 'Ceil', 'Round']),
  ...withoutGradient(['IsNaN', 'IsInf', 'Not', 'And', 'Or']),
  // Casts go from or to integers and booleans here, which have no gradient.
  ...withoutGradient(['Cast']),
};

type Comparison = (a: Tensor, b: Tensor) => Tensor;

/** The gradient goes to the operand that wins; of equal ones to the first, so that none is counted twice. */
function routed(g: Tensor, inputs: readonly Tensor[], i: number, beats: Comparison, beatsOrTies: Comparison): Tensor {
  const x = inputs[i] as Tensor;
  const wins = inputs.flatMap((other, j) => (j === i ? [] : [j < i ? beats(x, other) : beatsOrTies(x, other)]));
  return sumTo(wins.length === 0 ? g : mul(g, cast(wins.reduce(and), 'float32')), x);
}
