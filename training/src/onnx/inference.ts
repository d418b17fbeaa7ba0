import { GraphError } from './errors.js';
import type { Attributes } from './graph.js';
import {
  DATA_TYPES,
  type DataType,
  type Dimension,
  formatShape,
  type Shape,
  type Tensor,
  type TensorType,
} from './tensor.js';

/** What an operator is applied to; the accessors refuse what is not there, in the operator's name. */
interface Call {
  readonly operator: string;
  readonly inputs: readonly (Tensor | undefined)[];
  /** A required input, of one of the given types where types are given. */
  input(index: number, ...dtypes: DataType[]): Tensor;
  optional(index: number): Tensor | undefined;
  int(name: string, fallback?: number): number;
  ints(name: string): readonly number[];
  refuse(rule: string): never;
}

type Inference = (call: Call) => TensorType[];

/** The types and shapes of every operator's outputs: one entry an operator, after ONNX's operator schemas (opset 18). */
const OPERATORS: Record<string, Inference> = {
  ...unary(['Neg', 'Exp', 'Log', 'Sqrt', 'Abs', 'Sign', 'Relu', 'Tanh', 'Sigmoid', 'Softplus', 'Erf'], ['float32']),
  ...unary(['Identity'], []),
  ...binary(['Add', 'Sub', 'Mul', 'Div', 'Min', 'Max'], ['float32', 'int64', 'int32']),
  ...binary(['Pow'], ['float32']),
  ...binary(['Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual', 'Equal'], ['float32', 'int64', 'int32'], 'bool'),
  ...reduction(['ReduceSum', 'ReduceMean', 'ReduceMax', 'ReduceMin', 'ReduceSumSquare', 'ReduceLogSumExp']),

  Where(call) {
    call.input(0, 'bool');
    return [{ dtype: sameType(call, 1, 2), shape: broadcastAll(call, [0, 1, 2]) }];
  },
  Clip(call) {
    for (const bound of [call.optional(1), call.optional(2)]) {
      if (bound !== undefined && (bound.shape.length > 0 || bound.dtype !== 'float32')) {
        call.refuse('bounds must be float32 scalars');
      }
    }
    return [typeOf(call.input(0, 'float32'))];
  },
  Cast(call) {
    const code = call.int('to');
    const dtype = (Object.keys(DATA_TYPES) as DataType[]).find((name) => DATA_TYPES[name].code === code);
    return [{ dtype: dtype ?? call.refuse(`element type ${code} is not known`), shape: call.input(0).shape }];
  },

  Gemm(call) {
    const a = call.input(0, 'float32');
    const b = call.input(1, 'float32');
    if (a.shape.length !== 2 || b.shape.length !== 2) call.refuse('A and B must have two axes');
    const [m, k] = call.int('transA', 0) === 1 ? [a.shape[1], a.shape[0]] : a.shape;
    const [kOfB, n] = call.int('transB', 0) === 1 ? [b.shape[1], b.shape[0]] : b.shape;
    if (k !== kOfB) call.refuse(`inner dimensions ${k} and ${kOfB} differ`);
    const shape = [m as Dimension, n as Dimension];
    const c = call.optional(2) === undefined ? undefined : call.input(2, 'float32');
    if (c !== undefined && formatShape(broadcast(call, c.shape, shape)) !== formatShape(shape)) {
      call.refuse(`C does not broadcast to ${formatShape(shape)}`);
    }
    return [{ dtype: 'float32', shape }];
  },
  MatMul(call) {
    const a = call.input(0, 'float32').shape;
    const b = call.input(1, 'float32').shape;
    if (a.length < 2 || b.length < 2) call.refuse('both must have at least two axes');
    const [m, k] = a.slice(-2);
    const [kOfB, n] = b.slice(-2);
    if (k !== kOfB) call.refuse(`inner dimensions ${k} and ${kOfB} differ`);
    const batch = broadcast(call, a.slice(0, -2), b.slice(0, -2));
    return [{ dtype: 'float32', shape: [...batch, m as Dimension, n as Dimension] }];
  },

  Shape(call) {
    const { shape } = call.input(0);
    return [{ dtype: 'int64', shape: [shape.length], elements: shape }];
  },
  Size(call) {
    call.input(0);
    return [{ dtype: 'int64', shape: [] }];
  },
  Reshape(call) {
    const x = call.input(0);
    return [{ dtype: x.dtype, shape: reshaped(call, x.shape, elements(call, 1)) }];
  },
  Flatten(call) {
    const x = call.input(0);
    const rank = x.shape.length;
    const given = call.int('axis', 1);
    // The axis may also be the rank itself: all axes come before it.
    const axis = given === rank ? rank : axisOf(call, given, rank);
    return [{ dtype: x.dtype, shape: [product(call, x.shape.slice(0, axis)), product(call, x.shape.slice(axis))] }];
  },
  Expand(call) {
    const x = call.input(0);
    const target = elements(call, 1);
    if (target.some((dimension) => typeof dimension === 'number' && dimension < 0))
      call.refuse('lengths must be 0 or more');
    return [{ dtype: x.dtype, shape: broadcast(call, x.shape, target) }];
  },
  Transpose(call) {
    const x = call.input(0);
    const order = call.ints('perm');
    if (order.length !== x.shape.length || x.shape.some((_, axis) => !order.includes(axis))) {
      call.refuse(`perm [${order.join(', ')}] does not name each of ${x.shape.length} axes once`);
    }
    return [{ dtype: x.dtype, shape: order.map((axis) => x.shape[axis] as Dimension) }];
  },
  Unsqueeze(call) {
    const x = call.input(0);
    const rank = x.shape.length + numbers(call, 1).length;
    const at = axesOf(call, 1, rank);
    const rest = [...x.shape];
    const shape = Array.from({ length: rank }, (_, axis) => (at.has(axis) ? 1 : (rest.shift() as Dimension)));
    return [{ dtype: x.dtype, shape }];
  },
  Squeeze(call) {
    const x = call.input(0);
    const at = axesOf(call, 1, x.shape.length);
    // ONNX takes no axes for all axes of length 1; here each is named.
    if (at.size === 0) call.refuse('axes must be named');
    for (const axis of at) if (x.shape[axis] !== 1) call.refuse(`axis ${axis} is ${x.shape[axis]} long, not 1`);
    return [{ dtype: x.dtype, shape: x.shape.filter((_, axis) => !at.has(axis)) }];
  },
  Concat(call) {
    const first = call.input(0);
    const axis = axisOf(call, call.int('axis'), first.shape.length);
    let length = 0;
    for (let i = 0; i < call.inputs.length; i++) {
      const { dtype, shape } = call.input(i);
      const fits =
        dtype === first.dtype &&
        shape.length === first.shape.length &&
        shape.every((dimension, other) => other === axis || dimension === first.shape[other]);
      if (!fits) call.refuse(`all inputs must agree outside axis ${axis}`);
      length += fixed(call, shape[axis] as Dimension);
    }
    return [{ dtype: first.dtype, shape: first.shape.with(axis, length) }];
  },
  Slice(call) {
    const x = call.input(0);
    const [starts, ends, axes] = [numbers(call, 1), numbers(call, 2), axesOf(call, 3, x.shape.length)];
    if (call.optional(4) !== undefined) call.refuse('steps are not supported');
    if (axes.size === 0 || starts.length !== axes.size || ends.length !== axes.size) {
      call.refuse('each sliced axis needs one start and one end');
    }
    let shape: Shape = x.shape;
    for (const [i, axis] of [...axes].entries()) {
      const [start, end] = [starts[i] as number, ends[i] as number];
      const length = fixed(call, x.shape[axis] as Dimension);
      if (!(start >= 0 && start < end && end <= length)) {
        call.refuse(`[${start}, ${end}) is not inside axis ${axis} of length ${length}`);
      }
      shape = shape.with(axis, end - start);
    }
    return [{ dtype: x.dtype, shape }];
  },
  Pad(call) {
    const x = call.input(0, 'float32');
    const amounts = numbers(call, 1);
    const rank = x.shape.length;
    if (rank === 0 || amounts.length !== 2 * rank || amounts.some((amount) => amount < 0)) {
      call.refuse(rank === 0 ? 'a scalar has no axis' : `pads must be ${2 * rank} lengths`);
    }
    const shape = x.shape.map((dimension, axis) => {
      const added = (amounts[axis] as number) + (amounts[axis + rank] as number);
      return added === 0 ? dimension : fixed(call, dimension) + added;
    });
    return [{ dtype: x.dtype, shape }];
  },
  Gather(call) {
    const x = call.input(0);
    const indices = call.input(1, 'int64', 'int32');
    const axis = axisOf(call, call.int('axis', 0), x.shape.length);
    return [{ dtype: x.dtype, shape: [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)] }];
  },
};

export const operatorNames: readonly string[] = Object.keys(OPERATORS);

/** @throws {GraphError} naming the operator, its inputs and the rule that they break */
export function inferTypes(
  operator: string,
  inputs: readonly (Tensor | undefined)[],
  attributes: Attributes,
): TensorType[] {
  const refuse = (rule: string): never => {
    const given = inputs.map((t) => (t === undefined ? 'none' : `${t.dtype} ${formatShape(t.shape)}`));
    throw new GraphError(`${operator}(${given.join(', ')}): ${rule}`);
  };
  const inference = OPERATORS[operator];
  if (inference === undefined) return refuse('this operator is not known');
  let taken = 0;
  const types = inference({
    operator,
    inputs,
    refuse,
    input(index, ...dtypes) {
      taken = Math.max(taken, index + 1);
      const tensor = inputs[index] ?? refuse(`input ${index} is missing`);
      if (dtypes.length > 0 && !dtypes.includes(tensor.dtype)) refuse(`input ${index} must be ${dtypes.join(' or ')}`);
      return tensor;
    },
    optional(index) {
      taken = Math.max(taken, index + 1);
      return inputs[index];
    },
    int(name, fallback) {
      const attribute = attributes[name];
      if (attribute?.kind === 'int') return attribute.value;
      return fallback ?? refuse(`attribute ${name} is missing`);
    },
    ints(name) {
      const attribute = attributes[name];
      return attribute?.kind === 'ints' ? attribute.value : refuse(`attribute ${name} is missing`);
    },
  });
  return inputs.length > taken ? refuse(`takes ${taken} inputs at most`) : types;
}

function unary(operators: readonly string[], dtypes: readonly DataType[]): Record<string, Inference> {
  return Object.fromEntries(
    operators.map((operator) => [operator, (call: Call) => [typeOf(call.input(0, ...dtypes))]]),
  );
}

function binary(
  operators: readonly string[],
  dtypes: readonly DataType[],
  result?: DataType,
): Record<string, Inference> {
  const infer: Inference = (call) => {
    if (call.inputs.length !== 2) call.refuse('takes two inputs');
    call.input(0, ...dtypes);
    const dtype = sameType(call, 0, 1);
    return [{ dtype: result ?? dtype, shape: broadcastAll(call, [0, 1]) }];
  };
  return Object.fromEntries(operators.map((operator) => [operator, infer]));
}

/** Reductions take their axes as a constant second input (opset 18) and keep reduced axes as 1 unless keepdims is 0. */
function reduction(operators: readonly string[]): Record<string, Inference> {
  const infer: Inference = (call) => {
    const x = call.input(0, 'float32');
    const reduced = axesOf(call, 1, x.shape.length);
    // ONNX takes no axes for all axes; here each is named.
    if (reduced.size === 0 && x.shape.length > 0) call.refuse('axes must be named');
    const keep = call.int('keepdims', 1) === 1;
    const shape = x.shape.flatMap((dimension, axis) => (reduced.has(axis) ? (keep ? [1] : []) : [dimension]));
    return [{ dtype: x.dtype, shape }];
  };
  return Object.fromEntries(operators.map((operator) => [operator, infer]));
}

function typeOf({ dtype, shape, elements }: Tensor): TensorType {
  return elements === undefined ? { dtype, shape } : { dtype, shape, elements };
}

function sameType(call: Call, a: number, b: number): DataType {
  if (call.input(a).dtype !== call.input(b).dtype) call.refuse(`inputs ${a} and ${b} must have the same element type`);
  return call.input(a).dtype;
}

function broadcastAll(call: Call, indices: readonly number[]): Shape {
  return indices.map((i) => call.input(i).shape).reduce((a, b) => broadcast(call, a, b));
}

/** NumPy's rule: axes are matched from the last; lengths must be equal, or one of them 1. */
function broadcast(call: Call, a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const left = a[axis - rank + a.length] ?? 1;
    const right = b[axis - rank + b.length] ?? 1;
    if (left === right || right === 1) return left;
    return left === 1 ? right : call.refuse(`${formatShape(a)} and ${formatShape(b)} do not broadcast`);
  });
}

function axisOf(call: Call, axis: number, rank: number): number {
  const positive = axis < 0 ? axis + rank : axis;
  return positive >= 0 && positive < rank ? positive : call.refuse(`axis ${axis} is not among ${rank} axes`);
}

/** The axes that an input names, in its order, counted from the first. */
function axesOf(call: Call, index: number, rank: number): ReadonlySet<number> {
  const given = numbers(call, index);
  const axes = new Set(given.map((axis) => axisOf(call, axis, rank)));
  return axes.size === given.length ? axes : call.refuse(`axes [${given.join(', ')}] name one twice`);
}

function elements(call: Call, index: number): Shape {
  return call.input(index, 'int64').elements ?? call.refuse(`the elements of input ${index} must be known`);
}

function numbers(call: Call, index: number): number[] {
  return elements(call, index).map((element) => fixed(call, element));
}

function fixed(call: Call, dimension: Dimension): number {
  return typeof dimension === 'number' ? dimension : call.refuse(`axis ${dimension} must have a fixed length here`);
}

function product(call: Call, shape: Shape): Dimension {
  const names = shape.filter((dimension) => typeof dimension === 'string');
  const [name] = names;
  if (name === undefined) return shape.reduce<number>((total, dimension) => total * fixed(call, dimension), 1);
  return names.length === 1 && shape.every((dimension) => dimension === name || dimension === 1)
    ? name
    : call.refuse(`the length of ${formatShape(shape)} together has no name`);
}

/** ONNX's Reshape: 0 copies the axis of the input, one -1 takes what is left. */
function reshaped(call: Call, from: Shape, to: Shape): Shape {
  const shape = to.map((dimension, axis) =>
    dimension === 0 ? (from[axis] ?? call.refuse(`0 at axis ${axis} has nothing to copy`)) : dimension,
  );
  const numbersBelow = (bound: number) =>
    shape.filter((dimension) => typeof dimension === 'number' && dimension < bound);
  if (numbersBelow(-1).length > 0 || numbersBelow(0).length > 1) {
    call.refuse(`${formatShape(to)}: lengths must be 0 or more, but for one -1`);
  }
  const free = shape.indexOf(-1);
  const known = shape.filter((dimension) => dimension !== -1);
  const namesOf = (dimensions: Shape) => dimensions.filter((dimension) => typeof dimension === 'string').sort();
  const countOf = (dimensions: Shape) =>
    dimensions.reduce<number>((total, dimension) => (typeof dimension === 'number' ? total * dimension : total), 1);
  const [fromNames, knownNames] = [namesOf(from), namesOf(known)];
  const wrong = () => call.refuse(`${formatShape(from)} cannot become ${formatShape(to)}`);
  if (free === -1) {
    return fromNames.join() === knownNames.join() && countOf(from) === countOf(known) ? shape : wrong();
  }
  if (fromNames.join() === knownNames.join()) {
    const length = countOf(from) / countOf(known);
    return Number.isInteger(length) ? shape.with(free, length) : wrong();
  }
  // The free axis must be the named one.
  const [name, ...others] = fromNames.filter((dimension) => !knownNames.includes(dimension));
  return name !== undefined && others.length === 0 && countOf(from) === countOf(known)
    ? shape.with(free, name)
    : wrong();
}
