import { RandomSource } from '@elbo/models';
import { gradients } from '@elbo/training/autodiff/gradients';
import { inMemory } from '@elbo/training/data/dataset';
import type { Feeds } from '@elbo/training/engines/engine';
import { encodeModel } from '@elbo/training/onnx/encode';
import { Graph, int } from '@elbo/training/onnx/graph';
import * as ops from '@elbo/training/onnx/ops';
import { simplify } from '@elbo/training/onnx/simplify';
import { float32, int64, type Tensor, type TensorData } from '@elbo/training/onnx/tensor';
import { Trainer } from '@elbo/training/trainer/trainer';
import { parseConfiguration } from '@elbo/training/vae/configuration';
import { buildModel } from '@elbo/training/vae/model';
import { vaeObjective } from '@elbo/training/vae/objective';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { engine, expectClose, numbersOf, randomWeights } from './support/harness.js';

/** How often each operator stands in a graph and in the graphs inside its nodes, but for declarations of outputs. */
function operatorsOf(graph: Graph, counts: Record<string, number> = {}): Record<string, number> {
  for (const node of graph.nodes) {
    if (graph.outputs.includes(node.outputs[0] as Tensor)) continue;
    counts[node.operator] = (counts[node.operator] ?? 0) + 1;
    for (const attribute of Object.values(node.attributes)) {
      if (attribute.kind === 'graph') operatorsOf(attribute.value, counts);
    }
  }
  return counts;
}

async function run(graph: Graph, feeds: Feeds): Promise<Record<string, TensorData>> {
  const program = await engine.load(encodeModel(graph));
  try {
    return await program.run(feeds);
  } finally {
    await program.release();
  }
}

/** Values for every float32 input, of both signs and away from 0, and 3 for every count. */
function feedsOf(graph: Graph): Feeds {
  return Object.fromEntries(
    graph.inputs.map(({ name, dtype, shape }, i) => [
      name,
      dtype === 'int64'
        ? int64([3], [])
        : randomWeights(
            shape.map((dimension) => (typeof dimension === 'number' ? dimension : 2)),
            i + 1,
          ),
    ]),
  );
}

/** Simplifies, checks that nothing but the nodes has changed, and gives the operators that are left. */
async function simplifiedOperators(graph: Graph): Promise<Record<string, number>> {
  const { graph: simplified } = simplify(graph);
  const feeds = feedsOf(graph);
  const [before, after] = [await run(graph, feeds), await run(simplified, feeds)];
  expect(Object.keys(after)).toEqual(Object.keys(before));
  for (const [name, value] of Object.entries(before)) {
    expect([after[name]?.dtype, after[name]?.shape], name).toEqual([value.dtype, value.shape]);
    expectClose(numbersOf(after[name] as TensorData), numbersOf(value), 1e-6, name);
  }
  return operatorsOf(simplified);
}

type Build = (inputs: Record<'x' | 'y' | 'g' | 'w' | 'b' | 's' | 'column' | 'batch', Tensor>) => readonly Tensor[];

function graphOf(build: Build): Graph {
  const graph = new Graph('case');
  const input = (name: string, shape: readonly (number | string)[]) => graph.input(name, 'float32', shape);
  const inputs = {
    x: input('x', [2, 3]),
    y: input('y', [2, 3]),
    g: input('g', [2, 3]),
    w: input('w', [3, 4]),
    b: input('b', [4]),
    s: input('s', []),
    column: input('column', [2, 1]),
    batch: input('batch', ['N', 3]),
  };
  for (const [i, output] of build(inputs).entries()) graph.output(output, `output${i}`);
  return graph;
}

const { add, sub, mul, div, neg, sigmoid, exp, gemm, matmul, transpose, reduceSum, reshape } = ops;

/** Each rewriting with a graph that it applies to and the operators that are left. */
const CASES: readonly [name: string, build: Build, left: Record<string, number>][] = [
  ['an identity is its input', ({ x }) => [exp(ops.identity(x))], { Exp: 1 }],
  [
    'casts that lose nothing are one',
    ({ x }) => [ops.cast(ops.cast(ops.greater(x, 0), 'float32'), 'int64')],
    { Greater: 1, Cast: 1 },
  ],
  ['a cast that loses something stays', ({ x }) => [ops.cast(ops.cast(x, 'int64'), 'float32')], { Cast: 2 }],
  ['reshapes in a row are one', ({ x }) => [exp(reshape(reshape(x, [3, 2]), [6]))], { Reshape: 1, Exp: 1 }],
  ['a reshape there and back is none', ({ x }) => [exp(reshape(reshape(x, [3, 2]), [2, 3]))], { Exp: 1 }],
  [
    'a named axis is reshaped there and back',
    ({ batch }) => [exp(reshape(ops.unsqueeze(batch, [1]), ['N', 3]))],
    { Exp: 1 },
  ],
  ['a transpose there and back is none', ({ x }) => [exp(transpose(transpose(x, [1, 0]), [1, 0]))], { Exp: 1 }],
  [
    'a sum that keeps its axis and the removal of it are one sum',
    ({ x }) => [exp(ops.squeeze(reduceSum(x, [0], true), [0]))],
    { ReduceSum: 1, Exp: 1 },
  ],
  ['constants are folded', ({ x }) => [mul(x, exp(ops.scalar(x.graph, 1)))], { Mul: 1 }],
  [
    'the size of a known shape is a constant',
    ({ x }) => [mul(x, ops.cast(ops.apply('Size', [x]), 'float32'))],
    { Mul: 1 },
  ],
  [
    'what is computed twice is computed once, whichever operand comes first',
    ({ x, y }) => [sub(exp(add(x, y)), sigmoid(add(y, x)))],
    { Add: 1, Exp: 1, Sigmoid: 1, Sub: 1 },
  ],
  [
    'different attributes make different nodes',
    ({ x }) => [ops.concat([reduceSum(x, [0], true), reshape(reduceSum(x, [0], false), [1, 3])], 0)],
    { ReduceSum: 2, Reshape: 1, Concat: 1 },
  ],
  ['an expanded scalar is a scalar', ({ x, s }) => [mul(ops.expandLike(s, x), x)], { Mul: 1 }],
  ['an expanded column is a column', ({ x, column }) => [add(ops.expandLike(column, x), x)], { Add: 1 }],
  [
    'an expanded scalar of an open batch is a scalar',
    ({ batch, s }) => [mul(ops.expandLike(s, batch), batch)],
    { Mul: 1 },
  ],
  [
    'what follows from an expanded scalar alone is computed before it is expanded',
    ({ x, s }) => [exp(mul(ops.expandLike(s, x), 3))],
    { Mul: 1, Exp: 1, Expand: 1 },
  ],
  [
    'the gradient of two sums in a row is a scale',
    ({ x }) => gradients(mul(reduceSum(reduceSum(mul(x, x), [1])), 1.5), [x]),
    { Mul: 1 },
  ],
  ['the sum of an expanded scalar is a product', ({ x, s }) => [reduceSum(ops.expandLike(s, x), [0, 1])], { Mul: 1 }],
  ['neutral operands vanish', ({ x }) => [exp(add(div(mul(sub(x, 0), 1), 1), 0))], { Exp: 1 }],
  ['0 − x is −x, and −(−x) is x', ({ x }) => [exp(neg(sub(0, x)))], { Exp: 1 }],
  ['x + (−y) is a difference', ({ x, y }) => [add(exp(x), neg(y))], { Exp: 1, Sub: 1 }],
  ['x − (−y) is a sum', ({ x, y }) => [sub(exp(x), neg(y))], { Exp: 1, Add: 1 }],
  ['−(x − y) is y − x', ({ x, y }) => [exp(neg(sub(x, y)))], { Exp: 1, Sub: 1 }],
  ['x + x is 2x', ({ x }) => [add(exp(x), exp(x))], { Exp: 1, Mul: 1 }],
  ['numbers that scale one after the other are one', ({ x }) => [mul(div(neg(mul(x, 3)), 2), 4)], { Mul: 1 }],
  ['numbers that undo each other are none', ({ x }) => [exp(mul(mul(x, 4), 0.25))], { Exp: 1 }],
  [
    'scales are multiplied before they meet the tensor',
    ({ x, s, b }) => [mul(mul(exp(x), s), reduceSum(b))],
    { Exp: 1, ReduceSum: 1, Mul: 2 },
  ],
  [
    'a scale goes to the smaller factor',
    ({ x, column, s }) => [reduceSum(mul(mul(exp(x), column), s), [1]), exp(x)],
    { Exp: 1, Mul: 2, ReduceSum: 1 },
  ],
  ['x/2 − y/2 is one product', ({ x, y }) => [sub(mul(exp(x), 0.5), div(y, 2))], { Exp: 1, Sub: 1, Mul: 1 }],
  ['−x/2 + y/2 too', ({ x, y }) => [add(mul(exp(x), -0.5), mul(y, 0.5))], { Exp: 1, Sub: 1, Mul: 1 }],
  [
    'a factor of both terms is taken out',
    ({ x, y, g }) => [add(mul(g, exp(x)), mul(g, sigmoid(y)))],
    { Exp: 1, Sigmoid: 1, Add: 1, Mul: 1 },
  ],
  [
    'the gradient of x · sigmoid(x) takes four passes more than the value',
    ({ x, g }) => {
      const y = mul(x, sigmoid(x));
      return [y, ...gradients(reduceSum(mul(y, g)), [x])];
    },
    // The value is s = sigmoid(x) and y = x · s, its gradient g · (s + y · (1 − s)).
    { Sigmoid: 1, Mul: 3, Sub: 1, Add: 1 },
  ],
  ['a product and its bias are one Gemm', ({ x, w, b }) => [add(b, matmul(x, w))], { Gemm: 1 }],
  ['so are a Gemm and what is added to it', ({ x, w, b }) => [add(gemm(x, w), sigmoid(b))], { Gemm: 1, Sigmoid: 1 }],
  [
    'a bias that makes the product larger is not its bias',
    ({ x, w }) => [add(matmul(reduceSum(x, [0], true), w), reduceSum(x, [1], true))],
    { ReduceSum: 2, MatMul: 1, Add: 1 },
  ],
  [
    'a product that is needed without its bias stays',
    ({ x, w, b }) => {
      const product = matmul(x, w);
      return [add(product, b), exp(product)];
    },
    { MatMul: 1, Add: 1, Exp: 1 },
  ],
  [
    'transposed factors are flags',
    ({ x, y, w }) => [matmul(transpose(x, [1, 0]), y), matmul(transpose(w, [1, 0]), transpose(x, [1, 0]))],
    { Gemm: 2 },
  ],
  [
    'a flag that is set is cleared by a transpose',
    ({ x, y }) => [gemm(transpose(x, [1, 0]), y, undefined, { transA: true, transB: true })],
    { Gemm: 1 },
  ],
  ['a number times a product is its alpha', ({ x, w, b }) => [mul(gemm(x, w, b), -0.5)], { Gemm: 1 }],
  [
    'a scale of a product goes to a factor that is smaller',
    ({ x, w, s }) => [exp(mul(gemm(x, w), s))],
    { Gemm: 1, Mul: 1, Exp: 1 },
  ],
  [
    'a scale of both factors of one product stays',
    ({ x, w }) => {
      const scaled = mul(exp(x), 0.1);
      return [gemm(scaled, w), gemm(scaled, scaled, undefined, { transA: true })];
    },
    { Exp: 1, Mul: 1, Gemm: 2 },
  ],
  [
    'a scale before products and a sum goes behind them all',
    ({ x, y, w }) => {
      const scaled = mul(sub(x, y), 0.25);
      return [gemm(scaled, w), gemm(x, scaled, undefined, { transA: true }), reduceSum(scaled, [0])];
    },
    { Sub: 1, Gemm: 2, ReduceSum: 1, Mul: 1 },
  ],
  [
    'a scale before a sum goes behind it',
    ({ x, s }) => [reduceSum(mul(exp(x), s), [1])],
    { Exp: 1, ReduceSum: 1, Mul: 1 },
  ],
  [
    'not where the sum has no axes left for the scale',
    ({ x, s }) => [reduceSum(mul(exp(x), ops.unsqueeze(s, [0])))],
    { Exp: 1, ReduceSum: 1, Mul: 1 },
  ],
];

describe('a simplification', () => {
  test.each(CASES)('%s', async (_name, build, left) => {
    expect(await simplifiedOperators(graphOf(build))).toEqual(left);
  });

  test('large softplus whose value is only summed becomes operators that run in vectors', async () => {
    const graph = new Graph('softplus');
    const x = graph.input('x', 'float32', [64, 8]);
    graph.output(reduceSum(sub(ops.softplus(x), x), [1]), 'sum');
    const { graph: simplified } = simplify(graph);
    expect(operatorsOf(simplified)).toEqual({ Sigmoid: 1, Sub: 3, Max: 1, Relu: 1, Log: 1, ReduceSum: 1 });
    const values = Float32Array.from({ length: 512 }, (_, i) => (i - 256) / 4);
    const [before, after] = await Promise.all([graph, simplified].map((g) => run(g, { x: float32(values, [64, 8]) })));
    expectClose(numbersOf(after?.sum as TensorData), numbersOf(before?.sum as TensorData), 1e-6, 'sum');
  });

  test('softplus stays where a logarithm would see that small ones are 0', () => {
    const graph = new Graph('softplus');
    const x = graph.input('x', 'float32', [64, 8]);
    graph.output(ops.log(ops.softplus(x)), 'log');
    expect(operatorsOf(simplify(graph).graph)).toEqual({ Softplus: 1, Log: 1 });
  });

  test('what no output depends on is left out', () => {
    const graph = graphOf(({ x }) => [exp(x)]);
    sigmoid(graph.inputs[0] as Tensor);
    const { graph: simplified, report } = simplify(graph);
    expect(operatorsOf(simplified)).toEqual({ Exp: 1 });
    expect(report).toEqual({ nodesBefore: 1, nodesAfter: 1, applied: {} });
  });
});

describe('inside other graphs', () => {
  /** A loop of three rounds with x as its state. */
  function looped(body: (outer: Tensor, state: Tensor) => readonly Tensor[]): Graph {
    const graph = new Graph('looped');
    const outer = graph.input('outer', 'float32', [2, 3]);
    const start = graph.input('start', 'float32', [2, 3]);
    const count = graph.input('count', 'int64', []);
    const { collected } = ops.loop(count, [start], 'count', (_, [state]) => ({
      states: [ops.tanh(state as Tensor)],
      collected: body(outer, state as Tensor),
    }));
    for (const [i, value] of collected.entries()) graph.output(value, `collected${i}`);
    return graph;
  }

  test('a node of a loop that is computed outside as well is taken from there', async () => {
    const graph = looped((outer, state) => [add(mul(ops.identity(outer), 3), mul(state, mul(outer, 3)))]);
    expect(await simplifiedOperators(graph)).toEqual({ Loop: 1, Tanh: 1, Mul: 2, Add: 1 });
  });

  test('what depends on outer values alone leaves the loop', async () => {
    const graph = looped((outer, state) => {
      const inside = state.graph.node('Exp', [outer])[0] as Tensor;
      return [mul(state, inside)];
    });
    const { graph: simplified, report } = simplify(graph);
    expect(report.applied).toEqual({ 'loop-invariant code': 1 });
    expect(simplified.nodes.map(({ operator }) => operator)).toEqual(['Exp', 'Loop', 'Identity']);
    await simplifiedOperators(graph);
  });

  test('work does not go into a loop', async () => {
    const graph = looped((outer, state) => [mul(matmul(state, transpose(mul(exp(outer), 2), [1, 0])), 3)]);
    const { graph: simplified } = simplify(graph);
    expect(simplified.nodes.map(({ operator }) => operator)).toEqual(['Exp', 'Mul', 'Transpose', 'Loop', 'Identity']);
    await simplifiedOperators(graph);
  });

  test('a state that is passed on as it is stays an output of the body', async () => {
    const graph = looped((_, state) => [ops.identity(ops.identity(state))]);
    expect(await simplifiedOperators(graph)).toEqual({ Loop: 1, Tanh: 1 });
  });

  test.each([1, -1])('a branch keeps its work to itself, and may give an outer value; condition %d', async (sign) => {
    const graph = new Graph('branches');
    const x = graph.input('x', 'float32', [2, 3]);
    const doubled = mul(x, 2);
    const [result, other] = ops.ifElse(
      ops.greater(mul(reduceSum(mul(x, x)), sign), 0),
      [x],
      ([inside]) => [exp(mul(inside as Tensor, 2)), inside as Tensor],
      ([inside]) => [sigmoid(inside as Tensor), exp(inside as Tensor)],
    );
    for (const [i, value] of [result, other, doubled].entries()) graph.output(value as Tensor, `output${i}`);
    const left = await simplifiedOperators(graph);
    expect(left).toEqual({ Mul: sign === 1 ? 2 : 3, ReduceSum: 1, Greater: 1, If: 1, Exp: 2, Sigmoid: 1 });
    // Exp and Sigmoid are still in the branches.
    expect(simplify(graph).graph.nodes.map(({ operator }) => operator)).not.toContain('Exp');
  });
});

describe('what a graph is known by stays', () => {
  test('inputs that are not used, outputs that are inputs or one value twice, and their order', async () => {
    const graph = new Graph('interface');
    const x = graph.input('x', 'float32', ['N', 3]);
    graph.input('unused', 'float32', [1]);
    sigmoid(x);
    const y = exp(x);
    graph.output(y, 'second');
    graph.output(x, 'first');
    graph.output(ops.identity(y), 'Exp_0');
    const { graph: simplified } = simplify(graph);
    const describe = (g: Graph) =>
      [g.inputs, g.outputs].map((ts) => ts.map(({ name, dtype, shape }) => ({ name, dtype, shape })));
    expect(describe(simplified)).toEqual(describe(graph));
    expect(await simplifiedOperators(graph)).toEqual({ Exp: 1 });
  });

  test('constants with names, though their values look like nothing', async () => {
    const graph = new Graph('weights');
    const x = graph.input('x', 'float32', [2, 3]);
    const weight = graph.initialiser('weight', float32([1, 1, 1], [3]));
    const bias = graph.initialiser('bias', float32([0], []));
    graph.output(add(mul(x, weight), exp(bias)), 'y');
    const { graph: simplified } = simplify(graph);
    expect(simplified.initialisers.map(({ name }) => name)).toEqual(['weight', 'bias']);
    expect(await simplifiedOperators(graph)).toEqual({ Mul: 1, Exp: 1, Add: 1 });
  });

  test('operators that no rule knows, with all their outputs', async () => {
    const graph = new Graph('split');
    const x = graph.input('x', 'float32', [4, 3]);
    const lengths = graph.constant(int64([2, 2]));
    const split = () => graph.node('Split', [exp(x), lengths], { axis: int(0) });
    const [[a], [b, c]] = [split(), split()];
    graph.output(add(mul(a as Tensor, 1), c as Tensor), 'y');
    graph.output(b as Tensor, 'b');
    expect(await simplifiedOperators(graph)).toEqual({ Exp: 1, Split: 1, Add: 1 });
  });
});

/** One node after another of what is there already; numbers pick the operator and its operands. */
type Steps = readonly (readonly [operator: number, left: number, right: number])[];
const steps = (maxLength: number): fc.Arbitrary<Steps> =>
  fc.array(fc.tuple(fc.nat(999), fc.nat(999), fc.nat(999)), { minLength: 1, maxLength });

/** Appends what the steps say and returns everything, the given values first. */
function grow(given: readonly Tensor[], what: Steps): Tensor[] {
  const pool = [...given];
  const pick = (index: number) => pool[index % pool.length] as Tensor;
  for (const [operator, left, right] of what) {
    const [a, b] = [pick(left), pick(right)];
    // Kinks where rounding decides would make both results right, so there only what is given.
    const exact = given[left % given.length] as Tensor;
    const scale = [0, 1, -1, 0.5, -0.5, 2][right % 6] as number;
    const axes = a.shape.map((_, axis) => axis).filter((axis) => (right >> axis) % 2 === 0);
    const choices: readonly (() => Tensor)[] = [
      () => ops.tanh(a),
      () => sigmoid(a),
      () => ops.softplus(a),
      () => mul(a, sigmoid(a)),
      () => neg(a),
      () => ops.identity(a),
      () => ops.relu(exact),
      () => ops.where(ops.greater(exact, 0), exact, scale),
      () => mul(exact, ops.cast(ops.greater(exact, 0.5), 'float32')),
      () => ops.clip(exact, -0.7, 0.7),
      () => add(a, b),
      () => sub(a, b),
      () => mul(a, b),
      () => mul(a, a),
      () => div(a, add(mul(b, b), 1)),
      () => mul(a, scale),
      () => add(a, scale),
      () => sub(scale, a),
      () => div(a, scale === 0 ? 3 : scale),
      () => ops.max(exact, given[right % given.length] as Tensor),
      () => reduceSum(a, axes.length > 0 || a.shape.length === 0 ? axes : [0], left % 2 === 0),
      () => ops.reduceMean(a, axes.length > 0 || a.shape.length === 0 ? axes : [0], left % 2 === 0),
      () => ops.reduceSumSquare(a),
      () => reshape(a, [a.shape.reduce<number>((product, length) => product * Number(length), 1)]),
      () => ops.unsqueeze(a, [0]),
      () => ops.squeeze(a, [a.shape.indexOf(1)]),
      () => ops.expandLike(a, b),
      () => transpose(a, a.shape.map((_, axis) => axis).reverse()),
      () => matmul(a, b),
      () => matmul(transpose(a, [1, 0]), b),
      () => add(matmul(a, transpose(b, [1, 0])), given[left % given.length] as Tensor),
      () => gemm(a, b, undefined, { transA: left % 2 === 0, transB: right % 2 === 0, alpha: scale }),
      () => ops.concat([a, a], 0),
    ];
    try {
      const made = choices[operator % choices.length]?.() as Tensor;
      if (made.shape.length <= 4) pool.push(made);
    } catch {
      // Shapes that do not fit: the builder has refused it, and the step makes nothing.
    }
  }
  return pool;
}

interface Plan {
  readonly outside: Steps;
  readonly inside: Steps;
  readonly kind: 'plain' | 'loop' | 'if';
  readonly differentiates: boolean;
}

/** @param shows everything that is computed, so that one sees how large it is */
function planned({ outside, inside, kind, differentiates }: Plan, shows: 'results' | 'everything'): Graph {
  const graph = new Graph('planned');
  const given = [[2, 3], [3], [2, 1], [], [3, 2], [1, 3]].map((shape, i) => graph.input(`x${i}`, 'float32', shape));
  const count = graph.input('count', 'int64', []);
  const before = grow(given, outside);
  /** The last values, or the gradients of their sum. */
  const resultsOf = (pool: readonly Tensor[], parameters: readonly Tensor[]): Tensor[] => {
    const last = pool.slice(-2);
    if (shows === 'everything') last.unshift(...pool);
    if (!differentiates) return last;
    const terms = [...last, ...parameters.map((parameter) => mul(parameter, parameter))];
    return [...last, ...gradients(terms.map((term) => reduceSum(term)).reduce(add), parameters)];
  };
  const results: Tensor[] = [];
  const [x, , , s] = given as [Tensor, Tensor, Tensor, Tensor];
  if (kind === 'plain') {
    results.push(...resultsOf(grow(before, inside), given.slice(0, 3)));
  } else if (kind === 'loop') {
    const { states, collected } = ops.loop(count, [x], 'count', (iteration, [state]) => {
      const inner = grow([...before, state as Tensor, ops.cast(iteration, 'float32')], inside);
      return { states: [ops.tanh(add(state as Tensor, 0.5))], collected: resultsOf(inner, [state as Tensor]) };
    });
    results.push(...states, ...collected);
  } else {
    const branch = (from: readonly Tensor[], what: Steps) => [reduceSum(grow(from, what).at(-1) as Tensor)];
    results.push(
      ...ops.ifElse(
        ops.greater(s, 0),
        before,
        (inner) => branch(inner, inside),
        (inner) => branch(inner, inside.slice(1)),
      ),
    );
  }
  if (shows === 'everything') results.push(...before);
  for (const [i, result] of results.entries()) graph.output(result, `result${i}`);
  return graph;
}

test('any graph computes what it did, and is not simplified twice', async () => {
  const plan = fc.record({
    outside: steps(8),
    inside: steps(12),
    kind: fc.constantFrom('plain' as const, 'loop' as const, 'if' as const),
    differentiates: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(plan, async (chosen) => {
      const graph = planned(chosen, 'results');
      const feeds = feedsOf(graph);
      const everything = Object.values(await run(planned(chosen, 'everything'), feeds)).flatMap(numbersOf);
      const largest = everything.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
      fc.pre(largest < 1e3);
      const { graph: simplified, report } = simplify(graph);
      const [before, after] = [await run(graph, feeds), await run(simplified, feeds)];
      expect(Object.keys(after)).toEqual(Object.keys(before));
      for (const [name, value] of Object.entries(before)) {
        expect(after[name]?.shape, name).toEqual(value.shape);
        expectClose(numbersOf(after[name] as TensorData), numbersOf(value), 1e-5 * largest, name);
      }
      const again = simplify(simplified).report;
      expect([again.nodesBefore, again.nodesAfter]).toEqual([report.nodesAfter, report.nodesAfter]);
    }),
    { numRuns: 60 },
  );
});

describe.each(['silu', 'relu', 'tanh', 'softplus'])('the training graph of a small VAE with %s', (activation) => {
  const configuration = parseConfiguration({
    name: 'small',
    description: 'Small.',
    dataset: 'shapes',
    family: 'vae',
    likelihood: 'bernoulli',
    prior: 'standard-normal',
    latent_size: 3,
    activation,
    encoder: { hidden: [16, 12] },
    decoder: { hidden: [12, 16] },
    log_variance_limit: 10,
    batch_size: 16,
    epochs: 10,
    kl_warm_up_fraction: 0.5,
    optimiser: { kind: 'adam', learning_rate: 0.001, gradient_norm_limit: 5 },
    learning_rate_schedule: { kind: 'cosine', final_fraction: 0.01 },
    validation_fraction: 0.1,
    seed: 1,
  });

  test('has fewer nodes and the same losses over 50 steps', async () => {
    const model = buildModel(configuration, [1, 8, 8]);
    const random = new RandomSource(1);
    const values = Uint8Array.from({ length: 16 * 50 * 64 }, (_, i) => ((i % 64) * 4 + random.uint32()) % 256);
    const nodes: number[] = [];
    const losses = async (simplifies: boolean) => {
      const collected: number[] = [];
      const trainer = await Trainer.create(
        {
          async compile(graph) {
            const { graph: simplified, report } = simplify(graph);
            nodes.push(report.nodesBefore, report.nodesAfter);
            const program = await engine.load(encodeModel(simplifies ? simplified : graph));
            return {
              async run(feeds) {
                const outputs = await program.run(feeds);
                collected.push(...numbersOf(outputs.loss as TensorData));
                return outputs;
              },
              release: () => program.release(),
            };
          },
        },
        vaeObjective(model, configuration),
        configuration,
        inMemory(values, [1, 8, 8]),
      );
      for await (const _ of trainer.runEpoch());
      await trainer.release();
      return collected;
    };
    const [before, after] = [await losses(false), await losses(true)];
    expect(before).toHaveLength(50);
    for (const [i, loss] of before.entries()) {
      expect(Math.abs((after[i] as number) / loss - 1), `step ${i}`).toBeLessThan(1e-6);
    }
    expect(nodes[1]).toBeLessThan(nodes[0] as number);
  });
});
