import { gradients } from '@elbo/training/autodiff/gradients';
import { GraphError } from '@elbo/training/onnx/errors';
import { Graph } from '@elbo/training/onnx/graph';
import * as ops from '@elbo/training/onnx/ops';
import { float32, int64, type Tensor, type TensorData } from '@elbo/training/onnx/tensor';
import { describe, expect, test } from 'vitest';
import { expectClose, numbersOf, withGraph } from './support/harness.js';

/** The body's result in each of `steps` iterations, collected, of a graph with the given inputs. */
async function collect(
  inputs: readonly TensorData[],
  steps: number,
  body: (outer: readonly Tensor[], state: Tensor) => { next: Tensor; collected: Tensor },
): Promise<number[]> {
  const graph = new Graph('test');
  const outer = inputs.map(({ dtype, shape }, i) => graph.input(`x${i}`, dtype, shape));
  const trips = graph.input('trips', 'int64', []);
  const [first] = outer;
  const { collected } = ops.loop(trips, [first as Tensor], 'steps', (_, [state]) => {
    const { next, collected } = body(outer, state as Tensor);
    return { states: [next], collected: [collected] };
  });
  graph.output(collected[0] as Tensor, 'collected');
  return withGraph(graph, async (run) => numbersOf((await run(...inputs, int64([steps], [])))[0] as TensorData));
}

describe('gradients inside a loop', () => {
  test('steps of gradient descent equal those computed by hand', async () => {
    const x = [1, 2, -1, 0.5, 3, -2];
    const y = [1, -1, 2];
    const rate = 0.05;
    const graph = new Graph('descent');
    const w0 = graph.input('w', 'float32', [2]);
    const trips = graph.input('trips', 'int64', []);
    const data = graph.initialiser('data', float32(x, [3, 2]));
    const target = graph.initialiser('target', float32(y, [3]));
    const { states, collected } = ops.loop(trips, [w0], 'steps', (iteration, [w]) => {
      // One row in each iteration, taken in turn.
      const row = ops.unsqueeze(iteration, [0]);
      const prediction = ops.reduceSum(ops.mul(ops.gather(data, row), w as Tensor), [1]);
      const error = ops.sub(prediction, ops.gather(target, row));
      const loss = ops.reduceSum(ops.mul(error, error));
      const [gradient] = gradients(loss, [w as Tensor]);
      return { states: [ops.sub(w as Tensor, ops.mul(gradient as Tensor, rate))], collected: [loss] };
    });
    graph.output(states[0] as Tensor, 'trained');
    graph.output(collected[0] as Tensor, 'losses');

    const w = [0.3, -0.7];
    const losses: number[] = [];
    for (let i = 0; i < 3; i++) {
      const [a, b] = [x[2 * i] as number, x[2 * i + 1] as number];
      const error = a * (w[0] as number) + b * (w[1] as number) - (y[i] as number);
      losses.push(error * error);
      w[0] = (w[0] as number) - rate * 2 * error * a;
      w[1] = (w[1] as number) - rate * 2 * error * b;
    }
    await withGraph(graph, async (run) => {
      const [trained, actualLosses] = await run(float32([0.3, -0.7], [2]), int64([3], []));
      expectClose(numbersOf(trained as TensorData), w, 1e-5, 'weights');
      expect(actualLosses?.shape).toEqual([3]);
      expectClose(numbersOf(actualLosses as TensorData), losses, 1e-5, 'losses');
    });
  });

  test('a parameter outside the body, reached through nodes outside it as well', async () => {
    // d Σ (exp(w) s + w s) / dw = (exp(w) + 1) s; exp(w) does not change, so it is computed outside the body.
    const [s, w] = [
      [2, 3],
      [0.5, -1],
    ] as const;
    const collected = await collect([float32(s, [2]), float32(w, [2])], 1, ([, outer], state) => {
      const weight = outer as Tensor;
      const loss = ops.reduceSum(ops.add(ops.mul(ops.exp(weight), state), ops.mul(weight, state)));
      const [gradient] = gradients(loss, [weight]);
      return { next: state, collected: gradient as Tensor };
    });
    expectClose(
      collected,
      w.map((value, i) => (Math.exp(value) + 1) * (s[i] as number)),
      1e-5,
      'gradient',
    );
  });

  test('a state that feeds back: each iteration differentiates by its own', async () => {
    // s ← s², d s² / ds = 2s
    const collected = await collect([float32([3], [1])], 3, (_, state) => {
      const next = ops.mul(state, state);
      const [gradient] = gradients(ops.reduceSum(next), [state]);
      return { next, collected: gradient as Tensor };
    });
    expect(collected).toEqual([6, 18, 162]);
  });
});

describe('a gradient through a whole loop is refused, never wrong', () => {
  function loopOver(use: (graph: Graph, w: Tensor, outputs: readonly Tensor[]) => void, captured: boolean): void {
    const graph = new Graph('test');
    const [x, w] = [graph.input('x', 'float32', [2]), graph.input('w', 'float32', [2])];
    const trips = graph.constant(int64([2], []));
    const initial = captured ? [x, x] : [x, w];
    const { states } = ops.loop(trips, initial, 'steps', (_, [a, b]) => ({
      states: [a as Tensor, captured ? ops.mul(b as Tensor, w) : ops.mul(b as Tensor, 2)],
      collected: [],
    }));
    use(graph, w, states);
  }

  test.each([
    ['a state that is not the first', false],
    ['a tensor that the body takes from outside', true],
  ])('%s', (_name, captured) => {
    loopOver((_graph, w, [, second]) => {
      // Without the part that leads through the loop, the gradient would be 1.
      const loss = ops.reduceSum(ops.add(second as Tensor, w));
      expect(() => gradients(loss, [w])).toThrow('Loop: has no gradient rule');
    }, captured);
  });
});

describe('loops that cannot be are refused where they are written down', () => {
  const start = () => {
    const graph = new Graph('test');
    return { graph, x: graph.input('x', 'float32', [2]), trips: graph.constant(int64([2], [])) };
  };

  test.each<[string, (x: Tensor) => Tensor[], string]>([
    ['changes its shape', (x) => [ops.unsqueeze(x, [0])], 'Loop: state 0 changes from float32 [2] to float32 [1, 2]'],
    ['changes its element type', (x) => [ops.cast(x, 'int64')], 'Loop: state 0 changes from float32 [2] to int64 [2]'],
    ['is lost', () => [], 'Loop: 1 states go in, 0 come out'],
    ['comes from nowhere', (x) => [x, x], 'Loop: state 1 changes from nothing to float32 [2]'],
  ])('a state that %s', (_name, next, message) => {
    const { x, trips } = start();
    expect(() =>
      ops.loop(trips, [x], 'steps', (_, [state]) => ({ states: next(state as Tensor), collected: [] })),
    ).toThrow(new GraphError(message));
  });

  test("a body's tensor used outside of it", () => {
    const { graph, x, trips } = start();
    let inside: Tensor | undefined;
    ops.loop(trips, [x], 'steps', (_, [state]) => {
      inside = ops.exp(state as Tensor);
      return { states: [inside], collected: [] };
    });
    expect(() => graph.node('Neg', [inside])).toThrow(/^Neg: input Exp_\d+ belongs to a graph that test cannot see$/);
    expect(() => graph.output(inside as Tensor, 'y')).toThrow(
      /^output y: Exp_\d+ belongs to a graph that test cannot see$/,
    );
  });
});

test('a loop may stand inside a loop', async () => {
  // Each outer iteration doubles x three times.
  const graph = new Graph('nested');
  const x = graph.input('x', 'float32', [1]);
  const { states } = ops.loop(graph.constant(int64([2], [])), [x], 'outer', (_, [outerState]) => {
    const inner = ops.loop(graph.constant(int64([3], [])), [outerState as Tensor], 'inner', (_, [state]) => ({
      states: [ops.mul(state as Tensor, 2)],
      collected: [],
    }));
    return { states: inner.states, collected: [] };
  });
  graph.output(states[0] as Tensor, 'y');
  const [y] = await withGraph(graph, (run) => run(float32([1.5], [1])));
  expect(numbersOf(y as TensorData)).toEqual([96]);
});
