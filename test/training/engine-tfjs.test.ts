import { gradients } from '@elbo/training/autodiff/gradients';
import { EngineError } from '@elbo/training/engines/engine-error';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { TfjsEngine } from '@elbo/training/engines/tfjs';
import { encodeModel } from '@elbo/training/onnx/encode';
import { GraphError } from '@elbo/training/onnx/errors';
import { Graph } from '@elbo/training/onnx/graph';
import * as ops from '@elbo/training/onnx/ops';
import { float32, int64, type Tensor, type TensorData } from '@elbo/training/onnx/tensor';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { expectClose, numbersOf, randomWeights } from './support/harness.js';

const engine = await TfjsEngine.create();

type Feeds = Record<string, TensorData>;

async function run(graph: Graph, feeds: Feeds, on: Pick<TfjsEngine, 'compile'> = engine) {
  const program = await on.compile(graph);
  try {
    return await program.run(feeds);
  } finally {
    await program.release();
  }
}

/** Outputs by tfjs, which must be as by ONNX Runtime. */
async function runOnBoth(graph: Graph, feeds: Feeds): Promise<Record<string, TensorData>> {
  const [actual, expected] = [await run(graph, feeds), await run(graph, feeds, new OnnxRuntimeEngine(1))];
  for (const { name } of graph.outputs) {
    expect([actual[name].dtype, actual[name].shape], name).toEqual([expected[name].dtype, expected[name].shape]);
    expectClose(numbersOf(actual[name]), numbersOf(expected[name]), 1e-5, name);
  }
  return actual;
}

function layer(): Graph {
  const graph = new Graph('layer');
  const [x, b] = [graph.input('x', 'float32', ['N', 3]), graph.input('b', 'float32', [2])];
  const w = graph.initialiser('w', float32([1, 2, 3, 4, 5, 6], [3, 2]));
  graph.output(ops.gemm(x, w, b), 'y');
  graph.output(ops.shapeOf(x), 'shape');
  return graph;
}
const x = float32([1, 0, -1], [1, 3]);
const b = float32([0.5, -0.5], [2]);

describe('a program', () => {
  test('gives a value for every output, from a graph as from a file of it', async () => {
    const program = await engine.load(encodeModel(layer()));
    const expected = { y: float32([-3.5, -4.5], [1, 2]), shape: int64([1, 3]) };
    expect(await program.run({ x, b })).toEqual(expected);
    await program.release();
    expect(await run(layer(), { x, b })).toEqual(expected);
  });

  test('runs with any length of a named axis, 0 too', async () => {
    expect((await run(layer(), { x: float32(new Float32Array(12), [4, 3]), b })).y.shape).toEqual([4, 2]);
    expect((await run(layer(), { x: float32([], [0, 3]), b })).y).toEqual(float32([], [0, 2]));
  });

  const wrongFeeds: Record<string, [feeds: Feeds, message: string]> = {
    'a missing feed': [{ x }, "input 'b' is missing; expected float32 [2]"],
    'a wrong length': [{ x: float32([1, 2], [1, 2]), b }, "input 'x' is float32 [1, 2]; expected float32 [N, 3]"],
    'a wrong number of axes': [{ x: float32([1, 2, 3], [3]), b }, "input 'x' is float32 [3]; expected float32 [N, 3]"],
    'a wrong element type': [{ x: int64([1, 2, 3], [1, 3]), b }, "input 'x' is int64 [1, 3]; expected float32 [N, 3]"],
    'data that does not fill its shape': [{ x: float32([1, 2], [1, 3]), b }, "input 'x' holds 2 values; expected 3"],
    'data of another type than it says': [
      { x: { dtype: 'float32', shape: [1, 3], data: Uint8Array.of(1, 2, 3) }, b },
      "input 'x' holds a Uint8Array; expected a Float32Array",
    ],
    'a negative length': [{ x: float32([], [-1, 3]), b }, "input 'x' is float32 [-1, 3]; expected float32 [N, 3]"],
  };
  test.each(Object.entries(wrongFeeds))('%s is an error', async (_name, [feeds, message]) => {
    await expect(run(layer(), feeds)).rejects.toThrow(new EngineError(message));
  });

  test('leaves what it is fed and its constants as they were', async () => {
    const graph = layer();
    graph.output(graph.inputs[0], 'same');
    graph.output(graph.initialisers[0], 'weights');
    const program = await engine.compile(graph);
    const mine = float32([1, 2, 3], [1, 3]);
    const first = await program.run({ x: mine, b });
    for (const name of ['y', 'same', 'weights']) (first[name].data as Float32Array).fill(7);
    expect(mine).toEqual(float32([1, 2, 3], [1, 3]));
    expect((await program.run({ x: mine, b })).weights).toEqual(float32([1, 2, 3, 4, 5, 6], [3, 2]));
    await program.release();
  });

  test('refuses to run when it is released', async () => {
    const program = await engine.compile(layer());
    await program.release();
    await expect(program.run({ x, b })).rejects.toThrow(new EngineError('the program has been disposed of'));
  });

  test('of bytes that are no model, or of an operator that tfjs lacks, is an error', async () => {
    await expect(engine.load(Uint8Array.of(1, 2, 3, 4))).rejects.toThrow(GraphError);
    const graph = new Graph('foreign');
    const input = graph.input('x', 'float32', [2]);
    const [y] = graph.node('Det', [input], {}, [{ dtype: 'float32', shape: [] }]);
    graph.output(y, 'y');
    await expect(engine.compile(graph)).rejects.toThrow(
      new EngineError('the tfjs engine does not have the operator Det'),
    );
  });

  test('of an integer that int32 cannot hold is an error', async () => {
    const graph = new Graph('large');
    const input = graph.input('x', 'int64', []);
    graph.output(ops.add(input, input), 'y');
    const large = { dtype: 'int64', shape: [], data: BigInt64Array.of(2n ** 40n) } as const;
    await expect(run(graph, { x: large })).rejects.toThrow(
      'tfjs computes with 32-bit integers, which cannot hold 1099511627776',
    );
    expect((await run(graph, { x: int64([-5], []) })).y).toEqual(int64([-10], []));
  });
});

describe('element types', () => {
  test('bytes stay bytes, and are gathered and cast as they are', async () => {
    const graph = new Graph('bytes');
    const bytes = graph.input('bytes', 'uint8', [3, 2]);
    const rows = graph.input('rows', 'int64', [2]);
    graph.output(ops.gather(bytes, rows), 'rows_of_bytes');
    graph.output(ops.cast(ops.gather(bytes, rows), 'float32'), 'as_float');
    graph.output(ops.cast(ops.mul(ops.cast(bytes, 'float32'), 3), 'uint8'), 'tripled');
    graph.output(ops.transpose(bytes, [1, 0]), 'transposed');
    const feeds = {
      bytes: { dtype: 'uint8', shape: [3, 2], data: Uint8Array.of(0, 10, 20, 30, 40, 50) },
      rows: int64([2, -3]),
    } as const;
    const { rows_of_bytes } = await runOnBoth(graph, feeds);
    expect(rows_of_bytes).toEqual({ dtype: 'uint8', shape: [2, 2], data: Uint8Array.of(40, 50, 0, 10) });
  });

  test('integers are divided towards 0', async () => {
    const graph = new Graph('quotients');
    const [a, divisor] = [graph.input('a', 'int64', [6]), graph.input('b', 'int64', [6])];
    graph.output(ops.div(a, divisor), 'y');
    const { y } = await runOnBoth(graph, { a: int64([7, -7, 7, -7, 6, -6]), b: int64([2, 2, -2, -2, 3, 3]) });
    expect(numbersOf(y)).toEqual([3, -3, -3, 3, 2, -2]);
  });
});

describe('control flow', () => {
  test('a loop inside a loop, a branch in it, outer values, and what is collected', async () => {
    const graph = new Graph('nested');
    const start = graph.input('start', 'float32', [2]);
    const trips = graph.input('trips', 'int64', []);
    const scale = ops.exp(start);
    const { states, collected } = ops.loop(trips, [start, scale], 'outer', (iteration, [a, c]) => {
      const inner = ops.loop(graph.constant(int64([2], [])), [a], 'inner', (_, [state]) => ({
        states: [ops.add(ops.mul(state, 0.5), scale)],
        collected: [],
      }));
      const [chosen] = ops.ifElse(
        ops.greater(ops.cast(iteration, 'float32'), 0),
        [inner.states[0], c],
        ([value, other]) => [ops.sub(value, other)],
        ([value]) => [value],
      );
      return { states: [chosen, c], collected: [ops.reduceSum(chosen), iteration] };
    });
    for (const [i, state] of [...states, ...collected].entries()) graph.output(state, `y${i}`);
    await runOnBoth(graph, { start: float32([0.3, -0.4], [2]), trips: int64([3], []) });
    const none = await run(graph, { start: float32([0.3, -0.4], [2]), trips: int64([0], []) });
    expect(none.y0).toEqual(float32([0.3, -0.4], [2]));
    expect([none.y2, none.y3]).toEqual([float32([], [0]), int64([], [0])]);
  });
});

describe('gradients', () => {
  test("are tfjs's own: what Elbo's rules made of them is not computed", async () => {
    const graph = new Graph('own');
    const w = graph.input('w', 'float32', [2]);
    const loss = ops.reduceSum(ops.mul(w, w));
    // In the place of the rules' result, something wrong, with an operator that does not even exist.
    const [wrong] = graph.node('Wrong', [w], {}, [{ dtype: 'float32', shape: [2] }]);
    graph.recordGradients({ loss, parameters: [w], gradients: [wrong] });
    graph.output(wrong, 'gradient');
    graph.output(loss, 'loss');
    const { gradient } = await run(graph, { w: float32([3, -1], [2]) });
    expect(numbersOf(gradient)).toEqual([6, -2]);
  });

  /** By tfjs as by the rules on ONNX Runtime. */
  async function expectSame(build: (a: Tensor, c: Tensor) => Record<string, Tensor>): Promise<void> {
    const graph = new Graph('same');
    const [a, c] = [graph.input('a', 'float32', [2, 3]), graph.input('c', 'float32', [3])];
    for (const [name, tensor] of Object.entries(build(a, c))) graph.output(tensor, name);
    await runOnBoth(graph, { a: randomWeights([2, 3], 1), c: randomWeights([3], 2) });
  }

  test('of a value that stops the gradient', () =>
    expectSame((a, c) => {
      const held = ops.stopGradient(ops.exp(ops.mul(a, c)));
      const loss = ops.reduceSum(ops.mul(ops.mul(held, a), ops.tanh(held)));
      const [slope] = gradients(loss, [a]);
      return { slope, loss, held };
    }));

  test('through comparisons, casts and indices, which let none through', () =>
    expectSame((a, c) => {
      const mask = ops.cast(ops.greater(a, 0), 'float32');
      const top = ops.topK(ops.mul(a, c), 2);
      const loss = ops.reduceSum(ops.add(ops.mul(a, mask), ops.where(ops.less(c, 0), ops.sign(a), ops.mul(a, a))));
      const [da, dc] = gradients(ops.add(loss, ops.reduceSum(top.values)), [a, c]);
      return { da, dc, indices: top.indices };
    }));

  test('of two losses that share what they are computed from', () =>
    expectSame((a, c) => {
      const shared = ops.tanh(ops.mul(a, c));
      const [first, second] = [ops.reduceSum(ops.square(shared)), ops.reduceMean(ops.exp(ops.mul(shared, a)))];
      const [d1] = gradients(first, [a]);
      const [d2, d3] = gradients(second, [c, a]);
      return { d1, d2, d3, first, second, both: ops.add(first, second), shared: ops.mul(shared, 2) };
    }));

  test('with respect to a value between the input and the loss, and to the input as well', () =>
    expectSame((a, c) => {
      const between = ops.tanh(ops.mul(a, c));
      const [dBetween, da] = gradients(ops.reduceSum(ops.exp(ops.mul(between, a))), [between, a]);
      return { dBetween, da };
    }));

  test('of a gradient', () =>
    expectSame((a, c) => {
      const loss = ops.reduceSum(ops.mul(ops.exp(ops.mul(a, c)), a));
      const [da] = gradients(loss, [a]);
      // As a penalty of the gradient's norm has it.
      const penalty = ops.add(ops.reduceSum(ops.square(da)), loss);
      const [dc, dda] = gradients(penalty, [c, a]);
      return { da, dc, dda, penalty };
    }));

  test('in a loop, by a state and by what stands outside', async () => {
    const graph = new Graph('descent');
    const [start, outer] = [graph.input('start', 'float32', [3]), graph.input('outer', 'float32', [3])];
    const trips = graph.input('trips', 'int64', []);
    const { states, collected } = ops.loop(trips, [start], 'steps', (iteration, [w]) => {
      const error = ops.sub(ops.mul(w, ops.exp(outer)), ops.cast(iteration, 'float32'));
      const loss = ops.reduceMean(ops.square(error));
      const [dw, dOuter] = gradients(loss, [w, outer]);
      return { states: [ops.sub(w, ops.mul(dw, 0.1))], collected: [loss, ops.reduceSumSquare(dw), dOuter] };
    });
    for (const [i, value] of [...states, ...collected].entries()) graph.output(value, `y${i}`);
    await runOnBoth(graph, {
      start: randomWeights([3], 3),
      outer: float32([0.1, -0.3, 0.2], [3]),
      trips: int64([4], []),
    });
  });
});

test('a run and a program leave no tensor behind', async () => {
  const graph = new Graph('leak');
  const start = graph.input('start', 'float32', [3]);
  const { states, collected } = ops.loop(graph.constant(int64([3], [])), [start, start], 'steps', (_, [w, kept]) => {
    const shared = ops.tanh(ops.mul(w, 0.5));
    const loss = ops.reduceSum(ops.square(shared));
    const [slope] = gradients(loss, [w]);
    return { states: [ops.sub(w, slope), kept], collected: [loss, shared] };
  });
  for (const [i, value] of [...states, ...collected].entries()) graph.output(value, `y${i}`);
  const before = tf.memory().numTensors;
  const program = await engine.compile(graph);
  const compiled = tf.memory().numTensors;
  await program.run({ start: float32([1, 2, 3], [3]) });
  await program.run({ start: float32([1, 2, 3], [3]) });
  expect(tf.memory().numTensors).toBe(compiled);
  // One that fails neither.
  await expect(program.run({})).rejects.toThrow(EngineError);
  expect(tf.memory().numTensors).toBe(compiled);
  await program.release();
  expect(tf.memory().numTensors).toBe(before);
});

describe('the WASM backend', () => {
  test('trains products as the others do, and says what it cannot', async () => {
    const wasm = await TfjsEngine.create({ backend: 'wasm' });
    expect(wasm.backend).toBe('tfjs, WebAssembly');
    const graph = new Graph('product');
    const [a, w] = [graph.input('a', 'float32', [4, 3]), graph.input('w', 'float32', [3, 2])];
    const loss = ops.reduceSum(ops.square(ops.relu(ops.gemm(a, w))));
    graph.output(gradients(loss, [w])[0], 'slope');
    const feeds = { a: randomWeights([4, 3], 1), w: randomWeights([3, 2], 2) };
    // The other engine of the process goes on with its own backend.
    const [byWasm, byOther, again] = [
      await run(graph, feeds, wasm),
      await run(graph, feeds),
      await run(graph, feeds, wasm),
    ];
    expectClose(numbersOf(byWasm.slope), numbersOf(byOther.slope), 1e-5, 'slope');
    expect(again).toEqual(byWasm);
  });

  test('says that it cannot train convolutions', async () => {
    const wasm = await TfjsEngine.create({ backend: 'wasm' });
    const images = new Graph('convolution');
    const [image, kernel] = [images.input('x', 'float32', [1, 1, 4, 4]), images.input('w', 'float32', [1, 1, 2, 2])];
    images.output(gradients(ops.reduceSum(ops.conv(image, kernel)), [kernel])[0], 'slope');
    await expect(
      run(images, { x: randomWeights([1, 1, 4, 4], 1), w: randomWeights([1, 1, 2, 2], 2) }, wasm),
    ).rejects.toThrow(/Conv2DBackpropFilter/);
  });

  test('differentiates products by a rule that suits it', async () => {
    const graph = new Graph('products');
    const inputs = [
      graph.input('a', 'float32', [3, 4]),
      graph.input('b', 'float32', [2, 3]),
      graph.input('c', 'float32', [5, 2, 4]),
    ] as const;
    const [a, b, c] = inputs;
    const loss = ops.reduceSum(ops.square(ops.matmul(c, ops.gemm(a, b, undefined, { transA: true, transB: true }))));
    for (const [i, slope] of gradients(loss, inputs).entries()) graph.output(slope, `slope${i}`);
    const feeds = { a: randomWeights([3, 4], 1), b: randomWeights([2, 3], 2), c: randomWeights([5, 2, 4], 3) };
    const wasm = await TfjsEngine.create({ backend: 'wasm', productGradient: 'rewritten' });
    const [actual, expected] = [await run(graph, feeds, wasm), await run(graph, feeds, new OnnxRuntimeEngine(1))];
    for (const { name } of graph.outputs) expectClose(numbersOf(actual[name]), numbersOf(expected[name]), 1e-5, name);
  });
});
