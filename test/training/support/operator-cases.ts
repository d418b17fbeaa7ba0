import { int } from '@elbo/training/onnx/graph';
import * as ops from '@elbo/training/onnx/ops';
import { elementCount, type Tensor } from '@elbo/training/onnx/tensor';
import * as tf from '@tensorflow/tfjs';
import { convolutionCases } from './cases/convolution.js';
import { indexingCases } from './cases/indexing.js';
import { normalisationCases } from './cases/normalisation.js';
import { shapingCases } from './cases/shaping.js';
import {
  type Domain,
  GRID,
  GRID_BETWEEN,
  NOT_ZERO,
  type OperatorCase,
  one,
  POSITIVE,
  REAL,
  several,
  unary,
} from './operator-case.js';

export { drawInputs, type OperatorCase, symbolicShapes, withBatch } from './operator-case.js';

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
  Floor: 'constant almost everywhere',
  Ceil: 'constant almost everywhere',
  Round: 'constant almost everywhere',
  IsNaN: 'constant almost everywhere',
  IsInf: 'constant almost everywhere',
  Not: 'takes booleans',
  And: 'takes booleans',
  Or: 'takes booleans',
  ArgMax: 'constant almost everywhere',
  OneHot: 'takes indices',
  Cast: 'goes from or to integers and booleans',
  Shape: 'depends on the shape only',
  Size: 'depends on the shape only',
};

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
  ...unary('Reciprocal', ops.reciprocal, tf.reciprocal, NOT_ZERO),
  ...unary('Sin', ops.sin, tf.sin),
  ...unary('Cos', ops.cos, tf.cos),
  ...unary('Elu', ops.elu, tf.elu, NOT_ZERO),
  one(
    'Elu',
    'with a steeper end',
    [2, 3],
    (x) => ops.elu(x, 1.75),
    (x) => tf.add(tf.relu(x), tf.mul(1.75, tf.expm1(tf.minimum(x, 0)))),
    [0],
    NOT_ZERO,
  ),
  ...unary('LeakyRelu', ops.leakyRelu, (x) => tf.leakyRelu(x, 0.01), NOT_ZERO),
  one(
    'LeakyRelu',
    'with a steeper end',
    [2, 3],
    (x) => ops.leakyRelu(x, 0.3),
    (x) => tf.leakyRelu(x, 0.3),
    [0],
    NOT_ZERO,
  ),

  ...binary('Add', ops.add, tf.add),
  ...binary('Sub', ops.sub, tf.sub),
  ...binary('Mul', ops.mul, tf.mul),
  ...binary('Div', ops.div, tf.div, [REAL, NOT_ZERO]),
  ...binary('Pow', ops.pow, tf.pow, [POSITIVE, REAL]),
  ...binary('Max', ops.max, broadcastFirst(tf.maximum), [GRID, GRID_BETWEEN]),
  ...binary('Min', ops.min, broadcastFirst(tf.minimum), [GRID, GRID_BETWEEN]),

  ...(['Max', 'Min'] as const).flatMap((operator): OperatorCase[] => {
    const [elbo, tfjs] = operator === 'Max' ? [ops.max, tf.maximum] : [ops.min, tf.minimum];
    const grids = [GRID, GRID_BETWEEN, { gridOffset: 0.125 }];
    return [
      several(
        operator,
        'of one',
        [[2, 3]],
        (a) => elbo(a as Tensor),
        (a) => (a as tf.Tensor).clone(),
        [0],
        grids,
      ),
      several(
        operator,
        'of three, broadcast',
        [[2, 3], [3], [2, 1]],
        (...x) => elbo(...x),
        (a, b, c) => {
          const [x, y, z] = [a, b, c].map((t) => tf.broadcastTo(t as tf.Tensor, [2, 3])) as [
            tf.Tensor,
            tf.Tensor,
            tf.Tensor,
          ];
          return tfjs(tfjs(x, y), z);
        },
        [],
        grids,
      ),
    ];
  }),
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

  ...(
    [
      ['vectors', [3], [3], [3, 1], []],
      ['a vector by a matrix', [3], [3, 4], [3, 4], [4]],
      ['a matrix by a vector', [2, 3], [3], [3, 1], [2]],
      ['a vector by a batch of matrices', [3], [2, 3, 4], [2, 3, 4], [2, 4]],
      ['a batch of matrices by a vector', [2, 4, 3], [3], [2, 3, 1], [2, 4]],
    ] as const
  ).map(([name, a, b, right, result]) =>
    several(
      'MatMul',
      name,
      [a, b],
      (x, y) => ops.matmul(x as Tensor, y as Tensor),
      (x, y) => {
        const column = tf.broadcastTo(b.length === 1 ? tf.reshape(y as tf.Tensor, [3, 1]) : (y as tf.Tensor), [
          ...right,
        ]);
        const rows = a.length === 1 ? tf.reshape(x as tf.Tensor, [1, 3]) : (x as tf.Tensor);
        const left = right.length === 3 ? tf.broadcastTo(rows, [2, ...rows.shape.slice(-2)]) : rows;
        return tf.reshape(tf.matMul(left, column), [...result]);
      },
      a.length > 1 && b.length === 1 ? [0] : [],
    ),
  ),

  ...reduction('ReduceSum', ops.reduceSum, tf.sum),
  ...reduction(
    'ReduceProd',
    ops.reduceProd,
    (x, axes, keep) =>
      tf.prod(
        x,
        axes.map((axis) => (axis < 0 ? axis + x.rank : axis)),
        keep,
      ),
    NOT_ZERO,
  ),
  ...reduction('ReduceL1', ops.reduceL1, (x, axes, keep) => tf.sum(tf.abs(x), axes, keep), NOT_ZERO),
  ...reduction('ReduceL2', ops.reduceL2, (x, axes, keep) => tf.norm(x, 'euclidean', axes, keep), NOT_ZERO),
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
  ...shapingCases,
  ...convolutionCases,
  ...normalisationCases,
  ...indexingCases,
];
