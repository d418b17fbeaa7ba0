import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { encodeModel } from '@elbo/training/onnx/encode';
import { Graph, int } from '@elbo/training/onnx/graph';
import { apply, gather, loop, mul, reshape } from '@elbo/training/onnx/ops';
import { decodeModelProto } from '@elbo/training/onnx/protobuf';
import { sizeConstants } from '@elbo/training/onnx/size-constants';
import { float32, type TensorData } from '@elbo/training/onnx/tensor';
import { expect, test } from 'vitest';

const int64 = (...values: number[]): TensorData => ({
  dtype: 'int64',
  shape: [values.length],
  data: BigInt64Array.from(values.map(BigInt)),
});

/** Picks columns, doubles them and flattens them, in a loop's body; one vector tells a size and axes both. */
function example(): Graph {
  const graph = new Graph('sizes');
  const constants = {
    columns: graph.initialiser('columns', int64(2, 0)),
    target: graph.initialiser('target', int64(4)),
    both: graph.initialiser('both', int64(1)),
    scale: graph.initialiser('scale', float32([2, 3], [2])),
    row: graph.initialiser('row', { dtype: 'int64', shape: [], data: BigInt64Array.of(0n) }),
  };
  const x = graph.input('x', 'float32', [2, 3]);
  const steps = graph.input('steps', 'int64', []);
  const { states } = loop(steps, [graph.input('y', 'float32', [4])], 'steps', () => {
    const picked = mul(gather(x, constants.columns, 1), constants.scale);
    return { states: [apply('Reshape', [picked, constants.target])], collected: [] };
  });
  graph.output(states[0], 'flat');
  graph.output(gather(x, constants.row), 'first');
  graph.output(
    apply('Reshape', [apply('ReduceSum', [reshape(x, [1, 6]), constants.both], { keepdims: int(0) }), constants.both]),
    'sum',
  );
  return graph;
}

test('constants that do nothing but tell a size are found, in the graphs of loops too', () => {
  expect([...sizeConstants(example())].map(({ name }) => name)).toEqual(expect.arrayContaining(['columns', 'target']));
  const names = [...sizeConstants(example())].map(({ name }) => name);
  for (const name of ['both', 'scale', 'row']) expect(names).not.toContain(name);
});

test('what is fed is an input without lengths instead of an initialiser', () => {
  const graph = example();
  const written = decodeModelProto(encodeModel(graph, '', sizeConstants(graph))).graph;
  expect(written.initializer.map(({ name }) => name)).not.toContain('target');
  expect(written.input.find(({ name }) => name === 'target')?.type.tensorType.shape.dim).toEqual([{}]);
});

test('a graph that is compiled, which feeds them, computes what its file does', async () => {
  const engine = new OnnxRuntimeEngine(1);
  const feeds = {
    x: float32([1, 2, 3, 4, 5, 6], [2, 3]),
    y: float32([0, 0, 0, 0], [4]),
    steps: { dtype: 'int64', shape: [], data: BigInt64Array.of(1n) } as const,
  };
  for (const program of [await engine.compile(example()), await engine.load(encodeModel(example()))]) {
    const { flat, first, sum } = await program.run(feeds);
    expect([flat.shape, [...flat.data]]).toEqual([[4], [6, 3, 12, 12]]);
    expect([...first.data]).toEqual([1, 2, 3]);
    expect([sum.shape, [...sum.data]]).toEqual([[1], [21]]);
    await program.release();
  }
});
