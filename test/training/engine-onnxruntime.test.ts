import type { Program } from '@elbo/training/engines/engine';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { encodeModel } from '@elbo/training/onnx/encode';
import { Graph } from '@elbo/training/onnx/graph';
import * as ops from '@elbo/training/onnx/ops';
import { float32, int64, type Tensor, type TensorData } from '@elbo/training/onnx/tensor';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { randomWeights } from './support/harness.js';

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
const expected = { y: float32([-3.5, -4.5], [1, 2]), shape: int64([1, 3]) };

describe('a program', () => {
  let program: Program;
  beforeAll(async () => {
    program = await new OnnxRuntimeEngine(1).compile(layer());
  });
  afterAll(() => program.release());

  test('gives a value for every output, of its type and shape', async () => {
    expect(await program.run({ x, b })).toEqual(expected);
  });

  test('runs with any length of a named axis, 0 too', async () => {
    const { y, shape } = await program.run({ x: float32(new Float32Array(12), [4, 3]), b });
    expect([y?.shape, shape]).toEqual([[4, 2], int64([4, 3])]);
    expect((await program.run({ x: float32([], [0, 3]), b })).y).toEqual(float32([], [0, 2]));
  });

  const wrongFeeds: Record<string, [feeds: Record<string, TensorData>, message: RegExp]> = {
    'a missing feed': [{ x }, /'b' is missing/],
    'no feed at all': [{}, /'x' is missing/],
    'a wrong length': [{ x: float32([1, 2], [1, 2]), b }, /invalid dimensions for input: x[\s\S]*Got: 2 Expected: 3/],
    'a wrong number of axes': [{ x: float32([1, 2, 3], [3]), b }, /Invalid rank for input: x Got: 1 Expected: 2/],
    'a wrong element type': [{ x: int64([1, 2, 3], [1, 3]), b }, /expected: \(tensor\(float\)\)/],
    'data that does not fill its shape': [
      { x: float32([1, 2], [1, 3]), b },
      /size\(3\) does not match data length\(2\)/,
    ],
    'data of another type than it says': [
      { x: { dtype: 'float32', shape: [1, 3], data: Uint8Array.of(1, 2, 3) }, b },
      /float32 tensor's data must be type/,
    ],
    'a negative length': [{ x: float32([], [-1, 3]), b }, /./],
  };
  test.each(Object.entries(wrongFeeds))(
    '%s is an error, after which it still runs',
    async (_name, [feeds, message]) => {
      await expect(program.run(feeds)).rejects.toThrow(message);
      expect(await program.run({ x, b })).toEqual(expected);
    },
  );

  test('leaves what it is fed as it was', async () => {
    const mine = float32([1, 2, 3], [1, 3]);
    const { y } = await program.run({ x: mine, b });
    y?.data.fill(7 as never);
    expect(mine).toEqual(float32([1, 2, 3], [1, 3]));
    expect(await program.run({ x, b })).toEqual(expected);
  });
});

test('a released program refuses to run', async () => {
  const program = await new OnnxRuntimeEngine(1).compile(layer());
  await program.release();
  await expect(program.run({ x, b })).rejects.toThrow(/disposed/);
});

describe('the same input twice gives the same bits', () => {
  /** Large enough for ONNX Runtime to split among threads. */
  function training(): Graph {
    const graph = new Graph('training');
    const data = graph.input('data', 'float32', [256, 64]);
    const start = graph.input('w', 'float32', [64, 64]);
    const { states } = ops.loop(graph.constant(int64([10], [])), [start], 'steps', (_, [w]) => {
      const h = ops.tanh(ops.gemm(data, w as Tensor));
      const gradient = ops.gemm(data, ops.mul(h, ops.sub(1, ops.mul(h, h))), undefined, { transA: true, alpha: 1e-3 });
      return { states: [ops.sub(w as Tensor, gradient)], collected: [] };
    });
    graph.output(states[0] as Tensor, 'trained');
    graph.output(ops.reduceMean(ops.exp(states[0] as Tensor)), 'mean');
    return graph;
  }
  const feeds = { data: randomWeights([256, 64], 1), w: randomWeights([64, 64], 2) };

  test.each([1, 2])('with %i threads, in one program and in another', async (threads) => {
    const engine = new OnnxRuntimeEngine(threads);
    const [first, second] = [await engine.compile(training()), await engine.load(encodeModel(training()))];
    const results = [await first.run(feeds), await first.run(feeds), await second.run(feeds)];
    await Promise.all([first.release(), second.release()]);
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
  });
});

describe('what cannot be a program is an error', () => {
  const engine = new OnnxRuntimeEngine(1);
  test.each([
    ['no bytes', new Uint8Array()],
    ['bytes that are no model', Uint8Array.of(1, 2, 3, 4)],
    ['half a model', encodeModel(layer()).subarray(0, 100)],
  ])('%s', async (_name, bytes) => {
    await expect(engine.load(bytes)).rejects.toThrow(Error);
  });

  test.each([0, -1, 1.5, Number.NaN])('%d threads', (threads) => {
    expect(() => new OnnxRuntimeEngine(threads)).toThrow(
      `threads must be a whole number of at least 1; it is ${threads}`,
    );
  });
});
