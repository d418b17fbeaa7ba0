import { GraphError } from './errors.js';
import { type Attributes, float, Graph, innermostGraph, int, ints } from './graph.js';
import {
  DATA_TYPES,
  type DataType,
  type Dimension,
  float32,
  formatShape,
  int64,
  isStatic,
  type Shape,
  sameShape,
  type Tensor,
  type TensorType,
} from './tensor.js';

// One function an ONNX operator, and a few compositions of them. A node goes into the innermost graph among its
// inputs, so what a loop's body computes from outer values alone is computed once, outside.

/** A tensor, or a number that becomes a float32 scalar. */
export type Operand = Tensor | number;

export function apply(operator: string, inputs: readonly (Tensor | undefined)[], attributes?: Attributes): Tensor {
  const given = inputs.filter((input) => input !== undefined);
  const [output, ...more] = innermostGraph(operator, given).node(operator, inputs, attributes);
  if (output === undefined || more.length > 0) throw new GraphError(`${operator}: has not exactly one output`);
  return output;
}

export function scalar(graph: Graph, value: number): Tensor {
  return graph.constant(float32([value], []));
}

const unary =
  (operator: string) =>
  (x: Tensor): Tensor =>
    apply(operator, [x]);

const binary =
  (operator: string) =>
  (a: Operand, b: Operand): Tensor => {
    const graph = innermostGraph(
      operator,
      [a, b].filter((x) => typeof x !== 'number'),
    );
    return apply(
      operator,
      [a, b].map((x) => (typeof x === 'number' ? scalar(graph, x) : x)),
    );
  };

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

export const add = binary('Add');
export const sub = binary('Sub');
export const mul = binary('Mul');
export const div = binary('Div');
export const min = binary('Min');
export const max = binary('Max');
export const pow = binary('Pow');
export const greater = binary('Greater');
export const greaterOrEqual = binary('GreaterOrEqual');
export const less = binary('Less');
export const lessOrEqual = binary('LessOrEqual');
export const equal = binary('Equal');

export const square = (x: Tensor): Tensor => mul(x, x);

/** The same value, which counts as constant where gradients are taken. */
export function stopGradient(x: Tensor): Tensor {
  const y = identity(x);
  x.graph.stopGradientAt(y);
  return y;
}

export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  const graph = innermostGraph(
    'Where',
    [condition, a, b].filter((x) => typeof x !== 'number'),
  );
  const asTensor = (x: Operand) => (typeof x === 'number' ? scalar(graph, x) : x);
  return apply('Where', [condition, asTensor(a), asTensor(b)]);
}

export function clip(x: Tensor, low: number, high: number): Tensor {
  return apply('Clip', [x, scalar(x.graph, low), scalar(x.graph, high)]);
}

export function cast(x: Tensor, dtype: DataType): Tensor {
  return x.dtype === dtype ? x : apply('Cast', [x], { to: int(DATA_TYPES[dtype].code) });
}

/** alpha · op(A) · op(B) + beta · C, for matrices; C broadcasts. */
export function gemm(
  a: Tensor,
  b: Tensor,
  c?: Tensor,
  { transA = false, transB = false, alpha = 1, beta = 1 } = {},
): Tensor {
  return apply('Gemm', c === undefined ? [a, b] : [a, b, c], {
    ...(transA ? { transA: int(1) } : {}),
    ...(transB ? { transB: int(1) } : {}),
    ...(alpha !== 1 ? { alpha: float(alpha) } : {}),
    ...(beta !== 1 ? { beta: float(beta) } : {}),
  });
}

export function matmul(a: Tensor, b: Tensor): Tensor {
  return apply('MatMul', [a, b]);
}

const reduction =
  (operator: string) =>
  (x: Tensor, axes: readonly number[] = x.shape.map((_, axis) => axis), keepdims = false): Tensor =>
    apply(operator, [x, x.graph.constant(int64(axes))], { keepdims: int(keepdims ? 1 : 0) });

/** Reductions over all axes unless some are named. */
export const reduceSum = reduction('ReduceSum');
export const reduceMean = reduction('ReduceMean');
export const reduceMax = reduction('ReduceMax');
export const reduceMin = reduction('ReduceMin');
export const reduceSumSquare = reduction('ReduceSumSquare');
export const reduceLogSumExp = reduction('ReduceLogSumExp');

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
  return apply('Reshape', [x, x.graph.constant(int64(target))]);
}

/** [N, …rest] as [N, product of rest]. */
export function flatten(x: Tensor): Tensor {
  return x.shape.length === 2 ? x : apply('Flatten', [x], { axis: int(1) });
}

/** Repeats x along axes of length 1 until it has the shape of `like`, which it must broadcast to. */
export function expandLike(x: Tensor, like: Tensor): Tensor {
  if (sameShape(x.shape, like.shape)) return x;
  const target = isStatic(like.shape) ? like.graph.constant(int64(like.shape)) : shapeOf(like);
  return apply('Expand', [x, target]);
}

export function transpose(x: Tensor, order: readonly number[]): Tensor {
  return apply('Transpose', [x], { perm: ints(order) });
}

export function unsqueeze(x: Tensor, axes: readonly number[]): Tensor {
  return apply('Unsqueeze', [x, x.graph.constant(int64(axes))]);
}

export function squeeze(x: Tensor, axes: readonly number[]): Tensor {
  return apply('Squeeze', [x, x.graph.constant(int64(axes))]);
}

export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  return apply('Concat', tensors, { axis: int(axis) });
}

/** The half-open range [start, end) of one axis. */
export function slice(x: Tensor, axis: number, start: number, end: number): Tensor {
  const vector = (value: number) => x.graph.constant(int64([value]));
  return apply('Slice', [x, vector(start), vector(end), vector(axis)]);
}

/** Puts `before` and `after` zeros at the ends of one axis. */
export function pad(x: Tensor, axis: number, before: number, after: number): Tensor {
  if (before === 0 && after === 0) return x;
  const rank = x.shape.length;
  const at = axis < 0 ? axis + rank : axis;
  if (!(at >= 0 && at < rank))
    throw new GraphError(`Pad(${formatShape(x.shape)}): axis ${axis} is not among ${rank} axes`);
  const amounts = new Array<number>(2 * rank).fill(0);
  amounts[at] = before;
  amounts[at + rank] = after;
  return apply('Pad', [x, x.graph.constant(int64(amounts))]);
}

export function gather(x: Tensor, indices: Tensor, axis = 0): Tensor {
  return apply('Gather', [x, indices], { axis: int(axis) });
}

export interface LoopBody {
  /** Next values of the states, of the same types and shapes. */
  readonly states: readonly Tensor[];
  /** Values collected from every iteration along a new first axis. */
  readonly collected: readonly Tensor[];
}

/**
 * ONNX's Loop, a fixed number of times.
 * @param tripCount int64 scalar
 * @param initial the states before the first iteration
 * @param collectedAxis the name of the first axis of what is collected
 * @param body builds one iteration from its number (int64 scalar) and the states; it may use any outer tensor
 * @returns the states after the last iteration, then the collected values
 */
export function loop(
  tripCount: Tensor,
  initial: readonly Tensor[],
  collectedAxis: Dimension,
  body: (iteration: Tensor, states: readonly Tensor[]) => LoopBody,
): { states: Tensor[]; collected: Tensor[] } {
  const outer = innermostGraph('Loop', [tripCount, ...initial]);
  const inner = new Graph('loop_body', outer);
  const prefix = outer.uniqueName('loop');
  const iteration = inner.input(`${prefix}_iteration`, 'int64', []);
  const condition = inner.input(`${prefix}_condition`, 'bool', []);
  const states = initial.map((state, i) => inner.input(`${prefix}_state_${i}`, state.dtype, state.shape));
  const result = body(iteration, states);
  for (const [i, state] of result.states.entries()) {
    const before = initial[i];
    if (before === undefined || before.dtype !== state.dtype || !sameShape(before.shape, state.shape)) {
      throw new GraphError(`Loop: state ${i} changes from ${describe(before)} to ${describe(state)}`);
    }
  }
  if (result.states.length !== initial.length) {
    throw new GraphError(`Loop: ${initial.length} states go in, ${result.states.length} come out`);
  }
  inner.output(condition, `${prefix}_continue`);
  for (const [i, state] of result.states.entries()) inner.output(state, `${prefix}_next_${i}`);
  for (const [i, value] of result.collected.entries()) inner.output(value, `${prefix}_collected_${i}`);
  const types: TensorType[] = [
    ...initial.map(({ dtype, shape }) => ({ dtype, shape })),
    ...result.collected.map(({ dtype, shape }) => ({ dtype, shape: [collectedAxis, ...shape] })),
  ];
  const always = outer.constant({ dtype: 'bool', shape: [], data: Uint8Array.of(1) });
  const outputs = outer.node('Loop', [tripCount, always, ...initial], { body: { kind: 'graph', value: inner } }, types);
  return { states: outputs.slice(0, initial.length), collected: outputs.slice(initial.length) };
}

/**
 * ONNX's If: only the branch that the condition picks is computed.
 * @param condition bool scalar
 * @param inputs outer tensors that the branches compute with; what a branch computes of other tensors alone stands, and
 *   is computed, outside
 * @param then computes the outputs of the one branch, `otherwise` those of the other, of the same types and shapes
 */
export function ifElse(
  condition: Tensor,
  inputs: readonly Tensor[],
  then: (inputs: readonly Tensor[]) => readonly Tensor[],
  otherwise: (inputs: readonly Tensor[]) => readonly Tensor[],
): Tensor[] {
  if (condition.dtype !== 'bool' || condition.shape.length > 0) {
    throw new GraphError(`If: the condition must be a bool scalar; it is ${describe(condition)}`);
  }
  const outer = innermostGraph('If', [condition, ...inputs]);
  const branch = (name: string, build: (inputs: readonly Tensor[]) => readonly Tensor[]) => {
    const graph = new Graph(outer.uniqueName(name), outer);
    // An Identity inside the branch holds what follows from it there.
    const results = build(inputs.flatMap((input) => graph.node('Identity', [input])));
    for (const result of results) graph.output(result, graph.uniqueName(`${graph.name}_output`));
    return graph;
  };
  const [thenBranch, elseBranch] = [branch('then', then), branch('else', otherwise)];
  const [ours, theirs] = [thenBranch, elseBranch].map((graph) => graph.outputs.map(describe));
  if (ours?.join('; ') !== theirs?.join('; ')) {
    throw new GraphError(`If: the branches give ${ours?.join('; ')} and ${theirs?.join('; ')}`);
  }
  return outer.node(
    'If',
    [condition],
    { then_branch: { kind: 'graph', value: thenBranch }, else_branch: { kind: 'graph', value: elseBranch } },
    thenBranch.outputs.map(({ dtype, shape }) => ({ dtype, shape })),
  );
}

function describe(x?: Tensor): string {
  return x === undefined ? 'nothing' : `${x.dtype} ${formatShape(x.shape)}`;
}
