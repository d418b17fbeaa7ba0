import { gradients } from '@elbo/training/autodiff/gradients';
import { GraphError } from '@elbo/training/onnx/errors';
import { Graph, int, ints, string } from '@elbo/training/onnx/graph';
import { operatorNames } from '@elbo/training/onnx/inference';
import * as ops from '@elbo/training/onnx/ops';
import { float32, formatShape, int64, type Tensor, type TensorData } from '@elbo/training/onnx/tensor';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { randomWeights, weightedSum, withGraph } from './support/harness.js';
import { drawInputs, operatorCases, symbolicShapes, withBatch } from './support/operator-cases.js';
import { applyRandomCall, filled, type RandomCall, randomCall } from './support/random-calls.js';

/** Makes an output of every value that the nodes of a graph compute, and returns these values. */
function exposeAll(graph: Graph): Tensor[] {
  const computed = graph.nodes.flatMap(({ outputs }) => outputs);
  for (const [i, tensor] of computed.entries()) graph.output(tensor, `value_${i}`);
  return computed;
}

const withLength = (shape: Tensor['shape'], length: number) =>
  shape.map((dimension) => (typeof dimension === 'string' ? length : dimension));

const typeAndShape = ({ dtype, shape }: Tensor | TensorData) => ({ dtype, shape });

describe('every value has the type and the shape that ONNX Runtime gives it', () => {
  test.each(operatorCases.map((c) => [c.operator, c.name, c] as const))(
    '%s: %s, and its gradients',
    async (_operator, _name, c) => {
      const graph = new Graph('test');
      const inputs = c.inputs.map(({ shape }, i) => graph.input(`x${i}`, 'float32', shape));
      const y = c.elbo(...inputs);
      gradients(weightedSum(y, randomWeights(y.shape as readonly number[], 1)), inputs);
      const inferred = exposeAll(graph);
      const returned = await withGraph(graph, (run) => run(...drawInputs(c.inputs, 2)));
      expect(returned.map(({ dtype, shape }) => ({ dtype, shape }))).toEqual(
        inferred.map(({ dtype, shape }) => ({ dtype, shape })),
      );
    },
  );

  const batchedCases = operatorCases.filter(({ batched }) => batched.length > 0);
  test.each(batchedCases.map((c) => [c.operator, c.name, c] as const))(
    '%s: %s, with a batch axis N',
    async (_operator, _name, c) => {
      const graph = new Graph('test');
      const inputs = symbolicShapes(c).map((shape, i) => graph.input(`x${i}`, 'float32', shape));
      const y = c.elbo(...inputs);
      gradients(ops.reduceSum(ops.mul(y, y)), inputs);
      const inferred = exposeAll(graph);
      await withGraph(graph, async (run) => {
        for (const length of [1, 4]) {
          const returned = await run(...drawInputs(withBatch(c, length), 2));
          expect(returned.map(({ shape }) => shape)).toEqual(inferred.map(({ shape }) => withLength(shape, length)));
        }
      });
    },
  );

  test('elements of a shape vector that are known are right', async () => {
    const graph = new Graph('test');
    const x = graph.input('x', 'float32', ['N', 3]);
    const shape = ops.identity(ops.shapeOf(ops.concat([x, x], 1)));
    expect(shape.elements).toEqual(['N', 6]);
    graph.output(shape, 'shape');
    const [value] = await withGraph(graph, (run) => run(filled('float32', [5, 3], 1)));
    expect(value).toEqual(int64([5, 6]));
  });

  test('what a loop returns', async () => {
    const graph = new Graph('test');
    const x = graph.input('x', 'float32', ['N', 2]);
    const trips = graph.input('trips', 'int64', []);
    const { states, collected } = ops.loop(trips, [x], 'steps', (iteration, [state]) => ({
      states: [ops.exp(state as Tensor)],
      collected: [ops.reduceSum(state as Tensor, [1]), iteration],
    }));
    const inferred = [...states, ...collected];
    for (const [i, tensor] of inferred.entries()) graph.output(tensor, `y${i}`);
    expect(inferred.map(({ dtype, shape }) => [dtype, shape])).toEqual([
      ['float32', ['N', 2]],
      ['float32', ['steps', 'N']],
      ['int64', ['steps']],
    ]);
    const returned = await withGraph(graph, (run) => run(filled('float32', [3, 2], 0), int64([4], [])));
    expect(returned.map(({ dtype, shape }) => [dtype, shape])).toEqual([
      ['float32', [3, 2]],
      ['float32', [4, 3]],
      ['int64', [4]],
    ]);
  });
});

describe('what the builder accepts, ONNX Runtime runs, with the inferred type and shape', () => {
  test.each(operatorNames)('%s', async (operator) => {
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(randomCall(operator), async (call: RandomCall) => {
        const graph = new Graph('test');
        let applied: { outputs: readonly Tensor[]; feeds: TensorData[] };
        try {
          applied = applyRandomCall(graph, call);
        } catch (error) {
          // The builder's own error only: a TypeError would be a hole in it.
          expect(error).toBeInstanceOf(GraphError);
          return;
        }
        accepted++;
        for (const [i, output] of applied.outputs.entries()) graph.output(output, `y${i}`);
        const returned = await withGraph(graph, (run) => run(...applied.feeds));
        expect(returned.map(typeAndShape)).toEqual(applied.outputs.map(typeAndShape));
      }),
      { numRuns: 200 },
    );
    expect(accepted).toBeGreaterThan(2);
  });
});

describe('an ill-shaped call is refused with the operator and the shapes of its inputs', () => {
  const vector = (x: Tensor, ...values: number[]) => x.graph.constant(int64(values));
  type Inputs = (graph: Graph) => Tensor[];
  const inputs =
    (...types: readonly (readonly [Tensor['dtype'], Tensor['shape']])[]): Inputs =>
    (graph) =>
      types.map(([dtype, shape], i) => graph.input(`x${i}`, dtype, shape));
  const floats = (...shapes: readonly Tensor['shape'][]): Inputs =>
    inputs(...shapes.map((shape) => ['float32', shape] as const));

  type WrongCall = readonly [operator: string, inputs: Inputs, call: (...x: Tensor[]) => unknown, rule: string];
  // biome-ignore format: one line a family
  const elementwise = [
    'Neg', 'Abs', 'Sign', 'Reciprocal', 'Floor', 'Ceil', 'Round', 'Exp', 'Log', 'Sqrt', 'Sin', 'Cos', 'Erf',
    'Relu', 'Tanh', 'Sigmoid', 'Softplus', 'Elu', 'LeakyRelu', 'IsNaN', 'IsInf',
  ];
  const pairwise = ['Add', 'Sub', 'Mul', 'Div', 'Pow'];
  const comparisons = ['Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual', 'Equal'];
  // biome-ignore format: one line a family
  const reductions = [
    'ReduceSum', 'ReduceMean', 'ReduceProd', 'ReduceMax', 'ReduceMin',
    'ReduceL1', 'ReduceL2', 'ReduceSumSquare', 'ReduceLogSumExp',
  ];
  const conv = (options: Parameters<typeof ops.conv>[3]) => (x: Tensor, w: Tensor, b?: Tensor) =>
    ops.conv(x, w, b, options);
  const transposed = (options: Parameters<typeof ops.convTranspose>[3]) => (x: Tensor, w: Tensor, b?: Tensor) =>
    ops.convTranspose(x, w, b, options);

  const wrongCalls: readonly WrongCall[] = [
    ...elementwise.flatMap((operator): WrongCall[] => [
      [operator, inputs(['int64', [2]]), (x) => ops.apply(operator, [x]), 'input 0 must be float32'],
      [operator, floats([2], [3]), (x, y) => ops.apply(operator, [x, y]), 'takes 1 inputs at most'],
    ]),
    ['Identity', floats([2], [3]), (x, y) => ops.apply('Identity', [x, y]), 'takes 1 inputs at most'],
    ...[...pairwise, ...comparisons].flatMap((operator): WrongCall[] => [
      [operator, floats([2, 3], [2]), (x, y) => ops.apply(operator, [x, y]), '[2, 3] and [2] do not broadcast'],
      [
        operator,
        floats(['N', 3], ['M', 3]),
        (x, y) => ops.apply(operator, [x, y]),
        '[N, 3] and [M, 3] do not broadcast',
      ],
      [operator, floats(['N', 3], [4, 3]), (x, y) => ops.apply(operator, [x, y]), '[N, 3] and [4, 3] do not broadcast'],
      [operator, inputs(['float32', [2]], ['int64', [2]]), (x, y) => ops.apply(operator, [x, y]), 'same element type'],
      [
        operator,
        inputs(['bool', [2]], ['bool', [2]]),
        (x, y) => ops.apply(operator, [x, y]),
        'input 0 must be float32',
      ],
      [operator, floats([2]), (x) => ops.apply(operator, [x]), 'takes two inputs'],
      [operator, floats([2], [2], [2]), (...x) => ops.apply(operator, x), 'takes two inputs'],
    ]),
    ...reductions.flatMap((operator): WrongCall[] => {
      const reduce = (x: Tensor, ...axes: number[]) => ops.apply(operator, [x, vector(x, ...axes)]);
      return [
        [operator, floats([2, 3]), (x) => reduce(x, 2), 'axis 2 is not among 2 axes'],
        [operator, floats([2, 3]), (x) => reduce(x, -3), 'axis -3 is not among 2 axes'],
        [operator, floats([2, 3]), (x) => reduce(x, 1, -1), 'axes [1, -1] name one twice'],
        [operator, floats([2, 3]), (x) => reduce(x), 'axes must be named'],
        [operator, floats([2, 3]), (x) => ops.apply(operator, [x]), 'input 1 is missing'],
        [operator, inputs(['int64', [2]]), (x) => reduce(x, 0), 'input 0 must be float32'],
        [
          operator,
          inputs(['float32', [2]], ['int64', [1]]),
          (...x) => ops.apply(operator, x),
          'elements of input 1 must be known',
        ],
      ];
    }),
    [
      'Where',
      inputs(['float32', [2]], ['float32', [2]], ['float32', [2]]),
      (...x) => ops.apply('Where', x),
      'input 0 must be bool',
    ],
    [
      'Where',
      inputs(['bool', [2]], ['float32', [2]], ['int64', [2]]),
      (...x) => ops.apply('Where', x),
      'same element type',
    ],
    [
      'Where',
      inputs(['bool', [2]], ['float32', [3]], ['float32', [3]]),
      (...x) => ops.apply('Where', x),
      '[2] and [3] do not broadcast',
    ],
    ['Clip', inputs(['int64', [2]]), (x) => ops.apply('Clip', [x]), 'input 0 must be float32'],
    ['Clip', floats([2], [1]), (...x) => ops.apply('Clip', x), 'bounds must be float32 scalars'],
    ['Clip', inputs(['float32', [2]], ['int64', []]), (...x) => ops.apply('Clip', x), 'bounds must be float32 scalars'],
    ['Cast', floats([2]), (x) => ops.apply('Cast', [x], { to: int(99) }), 'element type 99 is not known'],
    ['Cast', floats([2]), (x) => ops.apply('Cast', [x]), 'attribute to is missing'],
    ['Gemm', floats([2, 3], [4, 5]), (a, b) => ops.gemm(a as Tensor, b as Tensor), 'inner dimensions 3 and 4 differ'],
    [
      'Gemm',
      floats([2, 3], [3, 5]),
      (a, b) => ops.gemm(a as Tensor, b as Tensor, undefined, { transA: true }),
      'inner dimensions 2 and 3 differ',
    ],
    [
      'Gemm',
      floats(['N', 3], ['M', 3]),
      (a, b) => ops.gemm(a as Tensor, b as Tensor, undefined, { transA: true }),
      'inner dimensions N and M differ',
    ],
    ['Gemm', floats([2, 2, 3], [3, 5]), (a, b) => ops.gemm(a as Tensor, b as Tensor), 'A and B must have two axes'],
    [
      'Gemm',
      floats([2, 3], [3, 5], [4]),
      (a, b, c) => ops.gemm(a as Tensor, b as Tensor, c),
      '[4] and [2, 5] do not broadcast',
    ],
    [
      'Gemm',
      floats([2, 3], [3, 5], [1, 2, 5]),
      (a, b, c) => ops.gemm(a as Tensor, b as Tensor, c),
      'C does not broadcast to [2, 5]',
    ],
    [
      'Gemm',
      floats([1, 3], [3, 5], [4, 5]),
      (a, b, c) => ops.gemm(a as Tensor, b as Tensor, c),
      'C does not broadcast to [1, 5]',
    ],
    [
      'Gemm',
      inputs(['float32', [2, 3]], ['float32', [3, 5]], ['int64', [5]]),
      (a, b, c) => ops.gemm(a as Tensor, b as Tensor, c),
      'input 2 must be float32',
    ],
    [
      'MatMul',
      floats([2, 3], [4, 5]),
      (a, b) => ops.matmul(a as Tensor, b as Tensor),
      'inner dimensions 3 and 4 differ',
    ],
    ['MatMul', floats([3], [4, 5]), (a, b) => ops.matmul(a as Tensor, b as Tensor), 'inner dimensions 3 and 4 differ'],
    ['MatMul', floats([2, 3], [2]), (a, b) => ops.matmul(a as Tensor, b as Tensor), 'inner dimensions 3 and 2 differ'],
    ['MatMul', floats([], [2]), (a, b) => ops.matmul(a as Tensor, b as Tensor), 'a scalar has no axis'],
    [
      'MatMul',
      floats([2, 2, 3], [4, 3, 5]),
      (a, b) => ops.matmul(a as Tensor, b as Tensor),
      '[2] and [4] do not broadcast',
    ],
    ['Shape', floats([2], [2]), (...x) => ops.apply('Shape', x), 'takes 1 inputs at most'],
    ['Size', floats([2], [2]), (...x) => ops.apply('Size', x), 'takes 1 inputs at most'],
    ['Reshape', floats([2, 3]), (x) => ops.reshape(x as Tensor, [4, 2]), '[2, 3] cannot become [4, 2]'],
    ['Reshape', floats([2, 3]), (x) => ops.reshape(x as Tensor, [4, -1]), '[2, 3] cannot become [4, -1]'],
    ['Reshape', floats(['N', 3]), (x) => ops.reshape(x as Tensor, [6]), '[N, 3] cannot become [6]'],
    ['Reshape', floats(['N', 3]), (x) => ops.reshape(x as Tensor, ['N', 2]), '[N, 3] cannot become [-1, 2]'],
    [
      'Reshape',
      floats([4]),
      (x) => ops.reshape(x as Tensor, [-1, -1]),
      '[-1, -1]: lengths must be 0 or more, but for one -1',
    ],
    [
      'Reshape',
      floats([4]),
      (x) => ops.reshape(x as Tensor, [-2, -2]),
      '[-2, -2]: lengths must be 0 or more, but for one -1',
    ],
    ['Reshape', floats([4]), (x) => ops.reshape(x as Tensor, [4, 0]), '0 at axis 1 has nothing to copy'],
    [
      'Flatten',
      floats([2, 3]),
      (x) => ops.apply('Flatten', [x as Tensor], { axis: int(3) }),
      'axis 3 is not among 2 axes',
    ],
    [
      'Flatten',
      floats(['N', 3, 2]),
      (x) => ops.apply('Flatten', [x as Tensor], { axis: int(2) }),
      'the length of [N, 3] together has no name',
    ],
    [
      'Expand',
      floats([2, 3]),
      (x) => ops.apply('Expand', [x, vector(x as Tensor, 2, 4)]),
      '[2, 3] and [2, 4] do not broadcast',
    ],
    ['Expand', floats([1]), (x) => ops.apply('Expand', [x, vector(x as Tensor, -1)]), 'lengths must be 0 or more'],
    [
      'Transpose',
      floats([2, 3]),
      (x) => ops.transpose(x as Tensor, [0, 0]),
      'perm [0, 0] does not name each of 2 axes once',
    ],
    ['Transpose', floats([2, 3]), (x) => ops.transpose(x as Tensor, [0]), 'perm [0] does not name each of 2 axes once'],
    [
      'Transpose',
      floats([2, 3]),
      (x) => ops.transpose(x as Tensor, [0, 2]),
      'perm [0, 2] does not name each of 2 axes once',
    ],
    [
      'Transpose',
      floats([2, 3]),
      (x) => ops.transpose(x as Tensor, [0, -1]),
      'perm [0, -1] does not name each of 2 axes once',
    ],
    ['Transpose', floats([2, 3]), (x) => ops.apply('Transpose', [x]), 'attribute perm is missing'],
    ['Unsqueeze', floats([2]), (x) => ops.unsqueeze(x as Tensor, [2]), 'axis 2 is not among 2 axes'],
    ['Unsqueeze', floats([2]), (x) => ops.unsqueeze(x as Tensor, [0, -3]), 'axes [0, -3] name one twice'],
    ['Squeeze', floats([2, 1]), (x) => ops.squeeze(x as Tensor, [0]), 'axis 0 is 2 long, not 1'],
    ['Squeeze', floats(['N', 1]), (x) => ops.squeeze(x as Tensor, [0]), 'axis 0 is N long, not 1'],
    ['Squeeze', floats([2, 1]), (x) => ops.squeeze(x as Tensor, [2]), 'axis 2 is not among 2 axes'],
    ['Squeeze', floats([2, 1]), (x) => ops.squeeze(x as Tensor, []), 'axes must be named'],
    ['Concat', floats([2, 3], [3, 3]), (...x) => ops.concat(x, 1), 'all inputs must agree outside axis 1'],
    ['Concat', floats([2, 3], [2, 3, 1]), (...x) => ops.concat(x, 1), 'all inputs must agree outside axis 1'],
    [
      'Concat',
      inputs(['float32', [2]], ['int64', [2]]),
      (...x) => ops.concat(x, 0),
      'all inputs must agree outside axis 0',
    ],
    ['Concat', floats(['N', 3], ['N', 3]), (...x) => ops.concat(x, 0), 'axis N must have a fixed length here'],
    ['Concat', floats([2, 3], [2, 3]), (...x) => ops.concat(x, 2), 'axis 2 is not among 2 axes'],
    ['Slice', floats([2, 3]), (x) => ops.slice(x as Tensor, 1, 1, 4), '[1, 4) is not inside axis 1 of length 3'],
    ['Slice', floats([2, 3]), (x) => ops.slice(x as Tensor, 1, -1, 2), '[-1, 2) is not inside axis 1 of length 3'],
    ['Slice', floats([2, 3]), (x) => ops.slice(x as Tensor, 1, 2, 2), '[2, 2) is not inside axis 1 of length 3'],
    ['Slice', floats([2, 3]), (x) => ops.slice(x as Tensor, 2, 0, 1), 'axis 2 is not among 2 axes'],
    ['Slice', floats(['N', 3]), (x) => ops.slice(x as Tensor, 0, 0, 1), 'axis N must have a fixed length here'],
    [
      'Slice',
      floats([2, 3]),
      (x) => ops.apply('Slice', [x, vector(x as Tensor, 0), vector(x as Tensor, 1), vector(x as Tensor, 0, 1)]),
      'each sliced axis needs one start, one end and one step',
    ],
    [
      'Slice',
      floats([4]),
      (x) => ops.apply('Slice', [x, ...[0, 4, 0, 0].map((value) => vector(x as Tensor, value))]),
      '[0, 4) is not inside axis 0 of length 4',
    ],
    ['Slice', floats([4]), (x) => ops.slice(x as Tensor, 0, 4, 0, -1), '[4, 0) is not inside axis 0 of length 4'],
    ['Slice', floats([4]), (x) => ops.slice(x as Tensor, 0, 1, 2, -1), '[1, 2) is not inside axis 0 of length 4'],
    ['Slice', floats([4]), (x) => ops.slice(x as Tensor, 0, 3, -7, -1), '[3, -3) is not inside axis 0 of length 4'],
    ['Pad', floats([2, 3]), (x) => ops.pad(x as Tensor, 1, -1, 0), 'pads must be 4 lengths'],
    ['Pad', floats([2, 3]), (x) => ops.apply('Pad', [x, vector(x as Tensor, 1, 1)]), 'pads must be 4 lengths'],
    ['Pad', floats([2, 3]), (x) => ops.pad(x as Tensor, 2, 1, 0), 'axis 2 is not among 2 axes'],
    ['Pad', floats(['N', 3]), (x) => ops.pad(x as Tensor, 0, 1, 0), 'axis N must have a fixed length here'],
    ['Pad', floats([]), (x) => ops.apply('Pad', [x, vector(x as Tensor)]), 'a scalar has no axis'],
    ['Gather', floats([2], [2]), (x, y) => ops.gather(x as Tensor, y as Tensor), 'input 1 must be int64 or int32'],
    [
      'Gather',
      inputs(['float32', [2]], ['int64', [2]]),
      (x, y) => ops.gather(x as Tensor, y as Tensor, 1),
      'axis 1 is not among 1 axes',
    ],
    [
      'Gather',
      floats([4]),
      (x) => ops.apply('Gather', [x, vector(x as Tensor, 1)], { axes: int(0) }),
      'takes no attribute axes',
    ],
    ...['And', 'Or'].flatMap((operator): WrongCall[] => [
      [operator, floats([2], [2]), (x, y) => ops.apply(operator, [x, y]), 'input 0 must be bool'],
      [operator, inputs(['bool', [2]], ['bool', [3]]), (x, y) => ops.apply(operator, [x, y]), 'do not broadcast'],
    ]),
    ['Not', floats([2]), (x) => ops.apply('Not', [x]), 'input 0 must be bool'],
    ...['Max', 'Min'].flatMap((operator): WrongCall[] => [
      [operator, floats([2, 3], [3], [2]), (...x) => ops.apply(operator, x), '[2, 3] and [2] do not broadcast'],
      [operator, inputs(['bool', [2]], ['bool', [2]]), (...x) => ops.apply(operator, x), 'input 0 must be float32'],
      [operator, inputs(['float32', [2]], ['int64', [2]]), (...x) => ops.apply(operator, x), 'same element type'],
    ]),
    ['Conv', floats([2, 3], [3, 3]), conv({}), 'input 0 must be [N, C] and one to three spatial axes'],
    ['Conv', floats([2, 3, 4, 4], [2, 3, 2]), conv({}), 'weights must have 4 axes'],
    ['Conv', floats([2, 3, 4, 4], [2, 2, 2, 2]), conv({}), '3 channels in 1 groups do not meet weights [2, 2, 2, 2]'],
    ['Conv', floats([2, 4, 4, 4], [3, 2, 2, 2]), conv({ group: 2 }), '4 channels in 2 groups do not meet'],
    ['Conv', floats([2, 1, 4, 4], [2, 1, 2, 2], [3]), conv({}), 'the bias must be float32 [2]'],
    ['Conv', floats([2, 1, 4, 4], [2, 1, 5, 2]), conv({}), 'the kernel is longer than spatial axis 0 with its padding'],
    ['Conv', floats([2, 1, 4, 'W'], [2, 1, 2, 2]), conv({}), 'axis W must have a fixed length here'],
    [
      'Conv',
      floats([2, 1, 4, 4], [2, 1, 2, 2]),
      conv({ strides: [2] }),
      'strides must be 2 whole numbers of 1 or more',
    ],
    ['Conv', floats([2, 1, 4, 4], [2, 1, 2, 2]), conv({ strides: [0, 1] }), 'strides must be 2 whole numbers of 1'],
    ['Conv', floats([2, 1, 4, 4], [2, 1, 2, 2]), conv({ pads: [1, 1] }), 'pads must be 4 whole numbers of 0 or more'],
    ['Conv', floats([2, 1, 4, 4], [2, 1, 2, 2]), conv({ dilations: [0, 1] }), 'dilations must be 2 whole numbers'],
    [
      'Conv',
      floats([2, 1, 4], [2, 1, 2]),
      (x, w) => ops.apply('Conv', [x, w], { stride: ints([2]) }),
      'takes no attribute stride',
    ],
    [
      'ConvTranspose',
      floats([2, 3, 4], [2, 3, 2]),
      transposed({}),
      '3 channels in 1 groups do not meet weights [2, 3, 2]',
    ],
    ['ConvTranspose', floats([2, 3, 4], [3, 3, 2]), transposed({ group: 2 }), '3 channels in 2 groups do not meet'],
    ['ConvTranspose', floats([2, 3, 4], [3, 2, 2], [3]), transposed({}), 'the bias must be float32 [2]'],
    [
      'ConvTranspose',
      floats([2, 1, 1], [1, 1, 2]),
      transposed({ pads: [1, 1] }),
      'padding leaves nothing of spatial axis 0',
    ],
    [
      'ConvTranspose',
      floats([2, 1, 4], [1, 1, 2]),
      transposed({ strides: [2], outputPadding: [2] }),
      'output_padding must be less than the stride',
    ],
    ...['MaxPool', 'AveragePool'].flatMap((operator): WrongCall[] => {
      const pool = (kernel: number[], pads: number[]) => (x: Tensor) =>
        ops.apply(operator, [x], { kernel_shape: ints(kernel), pads: ints(pads) });
      return [
        [operator, floats([2, 3]), pool([], []), 'input 0 must be [N, C] and one to three spatial axes'],
        [operator, floats([2, 3, 4]), (x) => ops.apply(operator, [x]), 'attribute kernel_shape is missing'],
        [operator, floats([2, 3, 4]), pool([2, 2], [0, 0]), 'kernel_shape must be 1 whole numbers of 1 or more'],
        [operator, floats([2, 3, 4]), pool([5], [0, 0]), 'the kernel is longer than spatial axis 0'],
        [operator, floats([2, 3, 4]), pool([2], [0, 2]), 'pads must be less than the kernel'],
      ];
    }),
    [
      'MaxPool',
      floats([1, 1, 4]),
      (x) => ops.apply('MaxPool', [x], { kernel_shape: ints([2]), ceil_mode: int(1) }),
      'takes no attribute ceil_mode',
    ],
    [
      'GlobalAveragePool',
      floats([2, 3]),
      (x) => ops.globalAveragePool(x as Tensor),
      'input 0 must be [N, C] and one to three',
    ],
    [
      'Resize',
      floats([2, 3, 4]),
      (x) => ops.upsampleNearest(x as Tensor, [1.5]),
      'factors must be constant whole numbers',
    ],
    [
      'Resize',
      floats([2, 3, 4]),
      (x) => ops.upsampleNearest(x as Tensor, [2, 2]),
      'factors must be constant whole numbers',
    ],
    [
      'Resize',
      floats([2, 3, 'W']),
      (x) => ops.upsampleNearest(x as Tensor, [2]),
      'axis W must have a fixed length here',
    ],
    [
      'Resize',
      floats([2, 3, 4]),
      (x) =>
        ops.apply('Resize', [x, undefined, x?.graph.constant(float32([1, 1, 2], [3]))], { mode: string('linear') }),
      'attribute mode must be nearest',
    ],
    ['Softmax', floats([2, 3]), (x) => ops.softmax(x as Tensor, 2), 'axis 2 is not among 2 axes'],
    ['LogSoftmax', inputs(['int64', [2]]), (x) => ops.logSoftmax(x as Tensor), 'input 0 must be float32'],
    [
      'LayerNormalization',
      floats([2, 3], [2]),
      (x, s) => ops.layerNorm(x as Tensor, s as Tensor),
      'input 1 must be float32 [3]',
    ],
    [
      'LayerNormalization',
      floats([2, 3], [3], [1]),
      (x, s, b) => ops.layerNorm(x as Tensor, s as Tensor, b),
      'input 2 must be float32 [3]',
    ],
    [
      'LayerNormalization',
      floats(['N', 'M'], ['M']),
      (x, s) => ops.layerNorm(x as Tensor, s as Tensor),
      'axis M must have a fixed length',
    ],
    ['ArgMax', floats([2, 3]), (x) => ops.argMax(x as Tensor, 2), 'axis 2 is not among 2 axes'],
    ['CumSum', floats([2, 3]), (x) => ops.cumSum(x as Tensor, -3), 'axis -3 is not among 2 axes'],
    [
      'CumSum',
      inputs(['float32', [2]], ['int64', []]),
      (x, axis) => ops.apply('CumSum', [x, axis]),
      'input 1 must be a constant scalar',
    ],
    ['Split', floats([2, 5]), (x) => ops.split(x as Tensor, 1, [2, 2]), 'lengths [2, 2] do not add up to 5'],
    ['Split', floats([2, 5]), (x) => ops.split(x as Tensor, 1, [5, 0]), 'lengths must be 1 or more'],
    ['Split', floats([2, 'M']), (x) => ops.split(x as Tensor, 1, [2]), 'axis M must have a fixed length here'],
    ['Tile', floats([2, 3]), (x) => ops.tile(x as Tensor, [2]), 'repeats must be 2 counts of 1 or more'],
    ['Tile', floats([2, 3]), (x) => ops.tile(x as Tensor, [1, 0]), 'repeats must be 2 counts of 1 or more'],
    ['Tile', floats(['N', 3]), (x) => ops.tile(x as Tensor, [2, 1]), 'axis N must have a fixed length here'],
    ['Tile', floats([]), (x) => ops.tile(x as Tensor, []), 'a scalar has no axis'],
    [
      'Pad',
      floats([3]),
      (x) => ops.pad(x as Tensor, 0, 3, 0, 'reflect'),
      'axis 0 of length 3 cannot be reflected by 3',
    ],
    [
      'Pad',
      floats([3]),
      (x) => ops.apply('Pad', [x, vector(x as Tensor, 1, 1)], { mode: string('wrap') }),
      'mode wrap is not constant, reflect or edge',
    ],
    [
      'Pad',
      floats([3], []),
      (x, value) => ops.apply('Pad', [x, vector(x as Tensor, 1, 1), value]),
      'the value must be a constant',
    ],
    [
      'GatherElements',
      inputs(['float32', [3, 2]], ['int64', [2, 3]]),
      (x, i) => ops.gatherElements(x as Tensor, i as Tensor),
      'indices must have the shape of the data outside axis 0',
    ],
    [
      'ScatterElements',
      inputs(['float32', [3, 2]], ['int64', [4, 2]], ['float32', [3, 2]]),
      (x, i, u) => ops.scatterAdd(x as Tensor, i as Tensor, u as Tensor),
      'each update needs one index',
    ],
    [
      'ScatterElements',
      inputs(['float32', [3, 2]], ['int64', [4, 1]], ['float32', [4, 1]]),
      (x, i, u) => ops.scatterAdd(x as Tensor, i as Tensor, u as Tensor),
      'indices must have the shape of the data outside axis 0',
    ],
    [
      'ScatterElements',
      inputs(['float32', [3]], ['int64', [3]], ['float32', [3]]),
      (...x) => ops.apply('ScatterElements', x),
      'attribute reduction must be add',
    ],
    ['TopK', floats([2, 3]), (x) => ops.topK(x as Tensor, 4), 'k must be one number from 1 to 3'],
    ['OneHot', floats([2]), (x) => ops.oneHot(x as Tensor, 3), 'input 0 must be int64'],
    ['OneHot', inputs(['int64', [2]]), (x) => ops.oneHot(x as Tensor, 0), 'the number of classes must be 1 or more'],
    ['NoSuchOperator', floats([2]), (x) => ops.apply('NoSuchOperator', [x]), 'this operator is not known'],
  ];

  test.each(wrongCalls.map((call) => [call[0], call[3], call] as const))(
    '%s: %s',
    (operator, rule, [, makeInputs, call]) => {
      const graph = new Graph('test');
      const x = makeInputs(graph);
      const nodes = graph.nodes.length;
      let message = '';
      try {
        call(...x);
      } catch (error) {
        expect(error).toBeInstanceOf(GraphError);
        message = (error as GraphError).message;
      }
      expect(message.slice(0, operator.length + 1)).toBe(`${operator}(`);
      for (const { shape } of x) expect(message).toContain(formatShape(shape));
      expect(message).toContain(rule);
      expect(graph.nodes.length, 'nothing of it stays in the graph').toBe(nodes);
    },
  );

  test('every operator is among the wrong calls', () => {
    const tried = new Set(wrongCalls.map(([operator]) => operator));
    expect(operatorNames.filter((operator) => !tried.has(operator))).toEqual([]);
  });

  test('more than one axis to be found out by its name', () => {
    const graph = new Graph('test');
    expect(() => ops.reshape(graph.input('x', 'float32', ['N', 'M']), ['M', 'N'])).toThrow(
      new GraphError('Reshape to [M, N]: only one axis may be named'),
    );
  });

  test('a name that is taken', () => {
    const graph = new Graph('test');
    const x = graph.input('x', 'float32', [2]);
    expect(() => graph.input('x', 'float32', [2])).toThrow(new GraphError('test: the name x is taken'));
    expect(() => graph.initialiser('x', float32([1], []))).toThrow(GraphError);
    expect(() => graph.output(x, 'x')).toThrow(GraphError);
  });

  test('data that does not fill its shape', () => {
    const graph = new Graph('test');
    expect(() => graph.initialiser('w', float32([1, 2, 3], [2, 2]))).toThrow(
      new GraphError('w: 3 values do not fill [2, 2]'),
    );
    expect(() => graph.constant(float32([1, 2, 3], []))).toThrow(GraphError);
  });

  test('a tensor of another graph', () => {
    const [graph, other] = [new Graph('one'), new Graph('another')];
    const [x, y] = [graph.input('x', 'float32', [2]), other.input('y', 'float32', [2])];
    expect(() => ops.add(x, y)).toThrow('Add: input y belongs to a graph that one cannot see');
  });
});

test('attributes of the wrong kind are as good as missing', () => {
  const graph = new Graph('test');
  const x = graph.input('x', 'float32', [2, 3]);
  expect(() => ops.apply('Cast', [x], { to: ints([1]) })).toThrow('attribute to is missing');
  expect(() => ops.apply('Transpose', [x], { perm: int(1) })).toThrow('attribute perm is missing');
});
