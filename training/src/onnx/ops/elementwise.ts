import { float, int } from '../graph.js';
import { DATA_TYPES, type DataType, type Tensor } from '../tensor.js';
import { apply, asTensors, binary, type Operand, scalar, unary, variadic } from './apply.js';

export const neg = unary('Neg');
export const exp = unary('Exp');
export const log = unary('Log');
export const sqrt = unary('Sqrt');
export const abs = unary('Abs');
export const sign = unary('Sign');
export const relu = unary('Relu');
export const tanh = unary('Tanh');
export const sigmoid = unary('Sigmoid');
export const softplus = unary('Softplus');
export const erf = unary('Erf');
export const identity = unary('Identity');
export const reciprocal = unary('Reciprocal');
export const floor = unary('Floor');
export const ceil = unary('Ceil');
/** To the nearest whole number, halves to the even one. */
export const round = unary('Round');
export const sin = unary('Sin');
export const cos = unary('Cos');
export const isNan = unary('IsNaN');
export const isInfinite = unary('IsInf');
export const not = unary('Not');

/** x where it is positive, alpha · (exp(x) − 1) elsewhere (Clevert et al., 2016). */
export function elu(x: Tensor, alpha = 1): Tensor {
  return apply('Elu', [x], { alpha: float(alpha) });
}

/** x where it is positive, alpha · x elsewhere. */
export function leakyRelu(x: Tensor, alpha = 0.01): Tensor {
  return apply('LeakyRelu', [x], { alpha: float(alpha) });
}

export const add = binary('Add');
export const sub = binary('Sub');
export const mul = binary('Mul');
export const div = binary('Div');
export const pow = binary('Pow');
export const greater = binary('Greater');
export const greaterOrEqual = binary('GreaterOrEqual');
export const less = binary('Less');
export const lessOrEqual = binary('LessOrEqual');
export const equal = binary('Equal');
export const and = binary('And');
export const or = binary('Or');
/** The largest (smallest) of any number of operands, element by element. */
export const max = variadic('Max');
export const min = variadic('Min');

export const square = (x: Tensor): Tensor => mul(x, x);

/** The same value, which counts as constant where gradients are taken. */
export function stopGradient(x: Tensor): Tensor {
  const y = identity(x);
  x.graph.stopGradientAt(y);
  return y;
}

export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  return apply('Where', asTensors('Where', [condition, a, b]));
}

export function clip(x: Tensor, low: number, high: number): Tensor {
  return apply('Clip', [x, scalar(x.graph, low), scalar(x.graph, high)]);
}

export function cast(x: Tensor, dtype: DataType): Tensor {
  return x.dtype === dtype ? x : apply('Cast', [x], { to: int(DATA_TYPES[dtype].code) });
}
