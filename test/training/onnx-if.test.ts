import { Graph } from '@elbo/training/onnx/graph';
import { add, cast, greater, ifElse, loop, mul, reduceSum } from '@elbo/training/onnx/ops';
import { float32, int64 } from '@elbo/training/onnx/tensor';
import { expect, test } from 'vitest';
import { engine, evaluate, numbersOf } from './support/harness.js';

test.each([
  [
    [1, 2],
    [11, 12],
  ],
  [
    [-1, -2],
    [10, 20],
  ],
])('of %j the branch that the condition picks gives %j', async (values, expected) => {
  const [result] = await evaluate([float32(values, [2])], (x) =>
    ifElse(
      greater(reduceSum(x), 0),
      [x],
      ([inside]) => [add(inside, 10)],
      ([inside]) => [mul(inside, -10)],
    ),
  );
  expect(numbersOf(result)).toEqual(expected);
});

test('a branch may stand in the body of a loop and use its states', async () => {
  const graph = new Graph('loop_with_if');
  const start = graph.input('start', 'float32', []);
  const count = graph.input('count', 'int64', []);
  // Counts up by 1 until it has passed 3, then doubles.
  const { states } = loop(count, [start], 'count', (iteration, [state]) => ({
    states: ifElse(
      greater(state, 3),
      [state],
      ([inside]) => [mul(inside, 2)],
      ([inside]) => [add(inside, 1)],
    ),
    collected: [cast(iteration, 'float32')],
  }));
  graph.output(states[0], 'end');
  const program = await engine.compile(graph);
  const outputs = await program.run({ start: float32([1.5], []), count: int64([6], []) });
  expect(numbersOf(outputs.end)).toEqual([3.5 * 16]);
  await program.release();
});

test('branches of different shapes and a condition that is no bool scalar are refused', () => {
  const graph = new Graph('wrong');
  const x = graph.input('x', 'float32', [2]);
  const condition = graph.input('condition', 'bool', []);
  expect(() =>
    ifElse(
      condition,
      [x],
      ([a]) => [a],
      ([a]) => [reduceSum(a)],
    ),
  ).toThrow('If: the branches give float32 [2] and float32 []');
  expect(() =>
    ifElse(
      x,
      [x],
      ([a]) => [a],
      ([a]) => [a],
    ),
  ).toThrow('If: the condition must be a bool scalar; it is float32 [2]');
});
