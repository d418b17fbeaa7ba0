import { RandomSource } from '@elbo/models';
import { int } from '@elbo/training/onnx/graph';
import * as ops from '@elbo/training/onnx/ops';
import { elementCount, float32, type Shape, type Tensor, type TensorData } from '@elbo/training/onnx/tensor';
import * as tf from '@tensorflow/tfjs';

// tfjs advises Node users to take tfjs-node; here its plain kernels are the oracle.
tf.enableProdMode();

/**
 * Where an input's values are drawn: inside the operator's domain, away from its kinks by more than the finite
 * differences step over. `grid` values differ from each other by at least 0.5, and from those of another offset by 0.25.
 */
type Domain =
  | { readonly low: number; readonly high: number; readonly awayFrom?: readonly number[] }
  | { readonly gridOffset: number };

const REAL: Domain = { low: -1.5, high: 1.5 };
const NOT_ZERO: Domain = { low: -1.5, high: 1.5, awayFrom: [0] };
const POSITIVE: Domain = { low: 0.5, high: 2 };
const GRID: Domain = { gridOffset: 0 };
const GRID_BETWEEN: Domain = { gridOffset: 0.25 };

export interface CaseInput {
  readonly shape: readonly number[];
  readonly domain: Domain;
}

export interface OperatorCase {
  readonly operator: string;
  readonly name: string;
  readonly inputs: readonly CaseInput[];
  readonly elbo: (...x: Tensor[]) => Tensor;
  readonly tfjs: (...x: tf.Tensor[]) => tf.Tensor;
  /** Inputs whose first axis may have a name instead of a length. */
  readonly batched: readonly number[];
}

const MATRIX = [2, 3];
const CONDITION = [1, 0, 1, 0, 0, 1];

function condition(like: Tensor, shape: readonly number[]): Tensor {
  const values = Uint8Array.from(CONDITION.slice(0, elementCount(shape)));
  return like.graph.constant({ dtype: 'bool', shape, data: values });
}
const tfCondition = (shape: number[]) => tf.tensor(CONDITION.slice(0, elementCount(shape)), shape, 'bool');
const tfMask = (shape: number[]) => tf.tensor(CONDITION.slice(0, elementCount(shape)), shape, 'float32');

/** Operators that let no gradient through, and why. */
export const operatorsWithoutGradient: Readonly<Record<string, string>> = {
  Greater: 'a comparison is constant almost everywhere',
  GreaterOrEqual: 'a comparison is constant almost everywhere',
  Less: 'a comparison is constant almost everywhere',
  LessOrEqual: 'a comparison is constant almost everywhere',
  Equal: 'a comparison is constant almost everywhere',
  Sign: 'constant almost everywhere',
  Cast: 'goes from or to integers and booleans',
  Shape: 'depends on the shape only',
  Size: 'depends on the shape only',
};

/** Operators that may stand in a graph, but not between a loss and its parameters. */
export const operatorsWithoutRule: Readonly<Record<string, string>> = {
  Gather: 'takes minibatches out of the dataset, which is not trained',
};

function unary(
  operator: string,
  elbo: (x: Tensor) => Tensor,
  tfjs: (x: tf.Tensor) => tf.Tensor,
  domain: Domain = REAL,
): OperatorCase[] {
  return [
    { operator, name: 'matrix', inputs: [{ shape: MATRIX, domain }], elbo, tfjs, batched: [0] },
    { operator, name: 'scalar', inputs: [{ shape: [], domain }], elbo, tfjs, batched: [] },
  ];
}

/** Both operands alike, either one broadcast along leading, inner and all axes, and one tensor on both sides. */
function binary(
  operator: string,
  elbo: (a: Tensor, b: Tensor) => Tensor,
  tfjs: (a: tf.Tensor, b: tf.Tensor) => tf.Tensor,
  domains: readonly [Domain, Domain] = [REAL, REAL],
): OperatorCase[] {
  const shapes: readonly (readonly [name: string, a: readonly number[], b: readonly number[], batched: number[]])[] = [
    ['alike', [2, 3], [2, 3], [0, 1]],
    ['second broadcast along the first axis', [2, 3], [3], [0]],
    ['first broadcast along the first axis', [3], [2, 3], [1]],
    ['each broadcast along another axis', [2, 1], [1, 3], [0]],
    ['second broadcast from a scalar', [2, 3], [], [0]],
    ['first broadcast from a scalar', [], [2, 3], [1]],
    ['broadcast inside', [2, 1, 3], [4, 1], [0]],
  ];
  return shapes.map(([name, a, b, batched]) => ({
    operator,
    name,
    inputs: [
      { shape: a, domain: domains[0] },
      { shape: b, domain: domains[1] },
    ],
    elbo,
    tfjs,
    batched,
  }));
}

function reduction(
  operator: string,
  elbo: (x: Tensor, axes?: readonly number[], keepdims?: boolean) => Tensor,
  tfjs: (x: tf.Tensor, axes: number[], keepdims: boolean) => tf.Tensor,
  domain: Domain = REAL,
): OperatorCase[] {
  const variants: readonly (readonly [shape: number[], axes: number[]])[] = [
    [
      [2, 3],
      [0, 1],
    ],
    [[2, 3], [1]],
    [[2, 3], [0]],
    [[2, 3], [-1]],
    [
      [2, 3, 2],
      [0, 2],
    ],
    [
      [2, 3, 2],
      [-1, 0],
    ],
  ];
  const cases = variants.flatMap(([shape, axes]) =>
    [true, false].map((keepdims) => ({
      operator,
      name: `[${shape}] over [${axes}]${keepdims ? ', keeping them' : ''}`,
      inputs: [{ shape, domain }],
      elbo: (x: Tensor) => elbo(x, axes, keepdims),
      tfjs: (x: tf.Tensor) => tfjs(x, axes, keepdims),
      batched: [0],
    })),
  );
  const overAll: OperatorCase = {
    operator,
    name: 'over all axes unless some are named',
    inputs: [{ shape: MATRIX, domain }],
    elbo: (x) => elbo(x),
    tfjs: (x) => tfjs(x, [0, 1], false),
    batched: [0],
  };
  return [...cases, overAll];
}

function gemm(
  name: string,
  a: readonly number[],
  b: readonly number[],
  c: readonly number[] | undefined,
  options: { transA?: boolean; transB?: boolean; alpha?: number; beta?: number },
  batched: readonly number[] = [],
): OperatorCase {
  const { transA = false, transB = false, alpha = 1, beta = 1 } = options;
  return {
    operator: 'Gemm',
    name,
    inputs: [a, b, ...(c === undefined ? [] : [c])].map((shape) => ({ shape, domain: REAL })),
    elbo: (x, y, z) => ops.gemm(x as Tensor, y as Tensor, z, options),
    tfjs: (x, y, z) => {
      const product = tf.mul(tf.matMul(x as tf.Tensor, y as tf.Tensor, transA, transB), alpha);
      return z === undefined ? product : tf.add(product, tf.mul(z, beta));
    },
    batched,
  };
}

function one(
  operator: string,
  name: string,
  shape: readonly number[],
  elbo: (x: Tensor) => Tensor,
  tfjs: (x: tf.Tensor) => tf.Tensor,
  batched: readonly number[] = [],
): OperatorCase {
  return { operator, name, inputs: [{ shape, domain: REAL }], elbo, tfjs, batched };
}

/** tfjs's gradients of maximum, minimum and where do not sum what was broadcast; that of broadcastTo does. */
export function broadcastFirst(
  f: (a: tf.Tensor, b: tf.Tensor) => tf.Tensor,
): (a: tf.Tensor, b: tf.Tensor) => tf.Tensor {
  return (a, b) => {
    const shape = tf.backend_util.assertAndGetBroadcastShape(a.shape, b.shape);
    return f(tf.broadcastTo(a, shape), tf.broadcastTo(b, shape));
  };
}

const firstAxis = (x: Tensor) => x.shape[0] ?? 1;

export const operatorCases: readonly OperatorCase[] = [
  ...unary('Identity', ops.identity, (x) => x.clone()),
  ...unary('Neg', ops.neg, tf.neg),
  ...unary('Exp', ops.exp, tf.exp),
  ...unary('Log', ops.log, tf.log, POSITIVE),
  ...unary('Sqrt', ops.sqrt, tf.sqrt, POSITIVE),
  ...unary('Abs', ops.abs, tf.abs, NOT_ZERO),
  ...unary('Relu', ops.relu, tf.relu, NOT_ZERO),
  ...unary('Tanh', ops.tanh, tf.tanh),
  ...unary('Sigmoid', ops.sigmoid, tf.sigmoid),
  ...unary('Softplus', ops.softplus, tf.softplus),
  ...unary('Erf', ops.erf, tf.erf),

  ...binary('Add', ops.add, tf.add),
  ...binary('Sub', ops.sub, tf.sub),
  ...binary('Mul', ops.mul, tf.mul),
  ...binary('Div', ops.div, tf.div, [REAL, NOT_ZERO]),
  ...binary('Pow', ops.pow, tf.pow, [POSITIVE, REAL]),
  ...binary('Max', ops.max, broadcastFirst(tf.maximum), [GRID, GRID_BETWEEN]),
  ...binary('Min', ops.min, broadcastFirst(tf.minimum), [GRID, GRID_BETWEEN]),

  ...binary(
    'Where',
    (a, b) => ops.where(condition(a, [3]), a, b),
    (a, b) => tf.add(tf.mul(tfMask([3]), a), tf.mul(tf.sub(1, tfMask([3])), b)),
  ),
  {
    operator: 'Where',
    name: 'condition, then and else of one shape',
    inputs: [
      { shape: MATRIX, domain: REAL },
      { shape: MATRIX, domain: REAL },
    ],
    elbo: (a, b) => ops.where(condition(a as Tensor, MATRIX), a as Tensor, b as Tensor),
    tfjs: (a, b) => tf.where(tfCondition([2, 3]), a as tf.Tensor, b as tf.Tensor),
    batched: [],
  },
  {
    operator: 'Clip',
    name: 'between two bounds',
    inputs: [{ shape: [4, 5], domain: { low: -2, high: 2, awayFrom: [-0.75, 0.5] } }],
    elbo: (x) => ops.clip(x as Tensor, -0.75, 0.5),
    tfjs: (x) => tf.clipByValue(x as tf.Tensor, -0.75, 0.5),
    batched: [0],
  },
  {
    operator: 'Clip',
    name: 'with an upper bound alone',
    inputs: [{ shape: [4, 5], domain: { low: -2, high: 2, awayFrom: [0.5] } }],
    elbo: (x) => ops.apply('Clip', [x as Tensor, undefined, ops.scalar((x as Tensor).graph, 0.5)]),
    tfjs: (x) => tf.minimum(x as tf.Tensor, 0.5),
    batched: [0],
  },
  {
    operator: 'Clip',
    name: 'with a lower bound alone',
    inputs: [{ shape: [4, 5], domain: { low: -2, high: 2, awayFrom: [0.5] } }],
    elbo: (x) => ops.apply('Clip', [x as Tensor, ops.scalar((x as Tensor).graph, 0.5)]),
    tfjs: (x) => tf.maximum(x as tf.Tensor, 0.5),
    batched: [0],
  },

  gemm('A B', [2, 3], [3, 4], undefined, {}, [0]),
  gemm('A B + C, a vector', [2, 3], [3, 4], [4], {}, [0]),
  gemm('A B + C, a scalar', [2, 3], [3, 4], [], {}, [0]),
  gemm('A B + C, a row', [2, 3], [3, 4], [1, 4], {}, [0]),
  gemm('A B + C, a column', [2, 3], [3, 4], [2, 1], {}, [0, 2]),
  gemm('A B + C, of full shape', [2, 3], [3, 4], [2, 4], {}, [0, 2]),
  gemm('Aᵀ B', [3, 2], [3, 4], undefined, { transA: true }),
  gemm('A Bᵀ', [2, 3], [4, 3], [4], { transB: true }, [0]),
  gemm('Aᵀ Bᵀ', [3, 2], [4, 3], [4], { transA: true, transB: true }),
  gemm('α A B + β C', [2, 3], [3, 4], [4], { alpha: 0.7, beta: -1.3 }, [0]),
  gemm('α Aᵀ Bᵀ + β C', [3, 2], [4, 3], [2, 4], { transA: true, transB: true, alpha: -0.6, beta: 2.5 }),
  gemm('A summed over a batch', [2, 3], [2, 4], undefined, { transA: true }, [0, 1]),

  {
    operator: 'MatMul',
    name: 'matrices',
    inputs: [
      { shape: [2, 3], domain: REAL },
      { shape: [3, 4], domain: REAL },
    ],
    elbo: (a, b) => ops.matmul(a as Tensor, b as Tensor),
    tfjs: (a, b) => tf.matMul(a as tf.Tensor, b as tf.Tensor),
    batched: [0],
  },
  {
    operator: 'MatMul',
    name: 'batch of matrices by a matrix',
    inputs: [
      { shape: [2, 2, 3], domain: REAL },
      { shape: [3, 2], domain: REAL },
    ],
    elbo: (a, b) => ops.matmul(a as Tensor, b as Tensor),
    tfjs: (a, b) => tf.matMul(a as tf.Tensor, tf.broadcastTo(b as tf.Tensor, [2, 3, 2])),
    batched: [0],
  },
  {
    operator: 'MatMul',
    name: 'both broadcast',
    inputs: [
      { shape: [2, 1, 2, 3], domain: REAL },
      { shape: [2, 3, 2], domain: REAL },
    ],
    elbo: (a, b) => ops.matmul(a as Tensor, b as Tensor),
    tfjs: (a, b) =>
      tf.matMul(tf.broadcastTo(a as tf.Tensor, [2, 2, 2, 3]), tf.broadcastTo(b as tf.Tensor, [2, 2, 3, 2])),
    batched: [0],
  },

  ...reduction('ReduceSum', ops.reduceSum, tf.sum),
  ...reduction('ReduceMean', ops.reduceMean, tf.mean),
  ...reduction('ReduceSumSquare', ops.reduceSumSquare, (x, axes, keep) => tf.sum(tf.square(x), axes, keep)),
  ...reduction('ReduceMax', ops.reduceMax, tf.max, GRID),
  ...reduction('ReduceMin', ops.reduceMin, tf.min, GRID),
  ...reduction('ReduceLogSumExp', ops.reduceLogSumExp, tf.logSumExp),

  one(
    'Reshape',
    'to fewer axes',
    [2, 3, 2],
    (x) => ops.reshape(x, [firstAxis(x), 6]),
    (x) => tf.reshape(x, [-1, 6]),
    [0],
  ),
  one(
    'Reshape',
    'to more axes',
    [2, 6],
    (x) => ops.reshape(x, [firstAxis(x), 3, 2]),
    (x) => tf.reshape(x, [-1, 3, 2]),
    [0],
  ),
  one(
    'Reshape',
    'with a free axis',
    [4, 3],
    (x) => ops.reshape(x, [2, -1]),
    (x) => tf.reshape(x, [2, -1]),
  ),
  one(
    'Flatten',
    'images to rows',
    [2, 2, 3],
    (x) => ops.flatten(x),
    (x) => tf.reshape(x, [-1, 6]),
    [0],
  ),
  one(
    'Flatten',
    'at another axis',
    [2, 2, 3],
    (x) => ops.apply('Flatten', [x], { axis: int(2) }),
    (x) => tf.reshape(x, [4, 3]),
  ),
  one(
    'Squeeze',
    'an inner axis',
    [2, 1, 3],
    (x) => ops.squeeze(x, [1]),
    (x) => tf.squeeze(x, [1]),
    [0],
  ),
  one(
    'Squeeze',
    'two axes, one from the end',
    [2, 1, 3, 1],
    (x) => ops.squeeze(x, [-1, 1]),
    (x) => tf.squeeze(x, [1, 3]),
    [0],
  ),
  one(
    'Unsqueeze',
    'an inner axis',
    [2, 3],
    (x) => ops.unsqueeze(x, [1]),
    (x) => tf.expandDims(x, 1),
    [0],
  ),
  one(
    'Unsqueeze',
    'first and last',
    [2, 3],
    (x) => ops.unsqueeze(x, [0, -1]),
    (x) => tf.reshape(x, [1, -1, 3, 1]),
    [0],
  ),
  one(
    'Expand',
    'along an inner axis',
    [2, 1, 3],
    (x) =>
      ops.apply('Expand', [x, x.graph.constant({ dtype: 'int64', shape: [3], data: BigInt64Array.of(1n, 4n, 1n) })]),
    (x) => tf.tile(x, [1, 4, 1]),
    [0],
  ),
  one(
    'Expand',
    'to more axes',
    [3],
    (x) => ops.apply('Expand', [x, x.graph.constant({ dtype: 'int64', shape: [2], data: BigInt64Array.of(2n, 3n) })]),
    (x) => tf.broadcastTo(x, [2, 3]),
  ),
  one(
    'Transpose',
    'a matrix',
    [2, 3],
    (x) => ops.transpose(x, [1, 0]),
    (x) => tf.transpose(x, [1, 0]),
    [0],
  ),
  one(
    'Transpose',
    'a cycle of three axes',
    [2, 3, 4],
    (x) => ops.transpose(x, [1, 2, 0]),
    (x) => tf.transpose(x, [1, 2, 0]),
    [0],
  ),
  {
    operator: 'Concat',
    name: 'three along the last axis',
    inputs: [1, 3, 2].map((length) => ({ shape: [2, length], domain: REAL })),
    elbo: (...x) => ops.concat(x, 1),
    tfjs: (...x) => tf.concat(x, 1),
    batched: [0, 1, 2],
  },
  {
    operator: 'Concat',
    name: 'along an axis counted from the end',
    inputs: [1, 3].map((length) => ({ shape: [2, length, 2], domain: REAL })),
    elbo: (...x) => ops.concat(x, -2),
    tfjs: (...x) => tf.concat(x, 1),
    batched: [0, 1],
  },
  one(
    'Slice',
    'the middle of an axis',
    [2, 5],
    (x) => ops.slice(x, 1, 1, 4),
    (x) => tf.slice(x, [0, 1], [-1, 3]),
    [0],
  ),
  one(
    'Slice',
    'the start of an axis',
    [3, 2],
    (x) => ops.slice(x, 0, 0, 1),
    (x) => tf.slice(x, [0, 0], [1, 2]),
  ),
  one(
    'Slice',
    'an axis counted from the end',
    [2, 5],
    (x) => ops.slice(x, -1, 2, 5),
    (x) => tf.slice(x, [0, 2], [-1, 3]),
    [0],
  ),
  one(
    'Slice',
    'two axes at once',
    [2, 4, 3],
    (x) => {
      const vector = (...values: number[]) =>
        x.graph.constant({ dtype: 'int64', shape: [values.length], data: BigInt64Array.from(values, BigInt) });
      return ops.apply('Slice', [x, vector(1, 0), vector(3, 2), vector(1, 2)]);
    },
    (x) => tf.slice(x, [0, 1, 0], [-1, 2, 2]),
    [0],
  ),
  one(
    'Pad',
    'both ends of an axis',
    [2, 3],
    (x) => ops.pad(x, 1, 2, 1),
    (x) =>
      tf.pad(x, [
        [0, 0],
        [2, 1],
      ]),
    [0],
  ),
  one(
    'Pad',
    'the start of the first axis',
    [2, 3],
    (x) => ops.pad(x, 0, 2, 0),
    (x) =>
      tf.pad(x, [
        [2, 0],
        [0, 0],
      ]),
  ),
  one(
    'Pad',
    'an axis counted from the end',
    [2, 3, 2],
    (x) => ops.pad(x, -2, 2, 1),
    (x) =>
      tf.pad(x, [
        [0, 0],
        [2, 1],
        [0, 0],
      ]),
    [0],
  ),
];

/** Values of a case's inputs, each a multiple of 1/256, so that a step of a power of two is exact in float32. */
export function drawInputs(inputs: readonly CaseInput[], seed: number): TensorData[] {
  const random = new RandomSource(seed);
  return inputs.map(({ shape, domain }) => {
    const count = elementCount(shape);
    if ('gridOffset' in domain) {
      const places = random.permutation(count);
      return float32(
        Array.from(places, (place) => (place - (count >> 1)) * 0.5 + domain.gridOffset),
        shape,
      );
    }
    const { low, high, awayFrom = [] } = domain;
    const draw = (): number => {
      const value = Math.round((low + (high - low) * random.uniform()) * 256) / 256;
      return awayFrom.some((kink) => Math.abs(value - kink) < 0.25) ? draw() : value;
    };
    return float32(Array.from({ length: count }, draw), shape);
  });
}

/** The case's shapes with the first axis of its batched inputs `length` long. */
export function withBatch(operatorCase: Pick<OperatorCase, 'inputs' | 'batched'>, length: number): CaseInput[] {
  return operatorCase.inputs.map((input, i) =>
    operatorCase.batched.includes(i) ? { ...input, shape: [length, ...input.shape.slice(1)] } : input,
  );
}

export function symbolicShapes({ inputs, batched }: Pick<OperatorCase, 'inputs' | 'batched'>): Shape[] {
  return inputs.map(({ shape }, i) => (batched.includes(i) ? ['N', ...shape.slice(1)] : shape));
}
