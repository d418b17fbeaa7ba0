import { gradients } from '@elbo/training/autodiff/gradients';
import type { Engine } from '@elbo/training/engines/engine';
import { EngineError } from '@elbo/training/engines/engine-error';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { TfjsEngine } from '@elbo/training/engines/tfjs';
import { GraphError } from '@elbo/training/onnx/errors';
import { Graph } from '@elbo/training/onnx/graph';
import { operatorNames } from '@elbo/training/onnx/inference';
import { add, cast, expandLike, oneHot, where } from '@elbo/training/onnx/ops';
import { float32, type Tensor, type TensorData } from '@elbo/training/onnx/tensor';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sampleOf } from './support/gradient-checks.js';
import { expectClose, graphOf, numbersOf, weightedSum } from './support/harness.js';
import { operatorCases } from './support/operator-cases.js';
import { applyRandomCall, randomCall } from './support/random-calls.js';

const TOLERANCE = 2e-5;
const onnxruntime = new OnnxRuntimeEngine(1);
const tfjs = await TfjsEngine.create();

async function run(engine: Engine, graph: Graph, feeds: readonly TensorData[]): Promise<Record<string, TensorData>> {
  const program = await engine.compile(graph);
  try {
    return await program.run(Object.fromEntries(graph.inputs.map(({ name }, i) => [name, feeds[i]])));
  } finally {
    await program.release();
  }
}

function expectAlike(actual: Record<string, TensorData>, expected: Record<string, TensorData>): void {
  for (const [name, { dtype, shape }] of Object.entries(expected)) {
    expect([actual[name].dtype, actual[name].shape], name).toEqual([dtype, shape]);
    expectClose(numbersOf(actual[name]), numbersOf(expected[name]), TOLERANCE, name);
  }
}

describe('every operator, and its gradient by tfjs, is as on ONNX Runtime by the rules', () => {
  test.each(operatorCases.map((c) => [c.operator, c.name, c] as const))(
    '%s: %s',
    async (_operator, _name, operatorCase) => {
      const { inputs, weights } = sampleOf(operatorCase, 41);
      const shapes = inputs.map(({ shape }) => shape);
      const graph = graphOf(shapes, (...x) => {
        const output = operatorCase.elbo(...x);
        return [output, ...gradients(weightedSum(output, weights), x)];
      });
      expectAlike(await run(tfjs, graph, inputs), await run(onnxruntime, graph, inputs));
    },
  );
});

const emptyCases: Record<string, (empty: Tensor) => Tensor> = {
  OneHot: (empty) => oneHot(cast(empty, 'int64'), 1),
  Expand: (empty) => expandLike(empty.graph.constant(float32([7], [1])), empty),
  'Expand of integers': (empty) => expandLike(cast(empty.graph.constant(float32([7], [1])), 'int32'), empty),
  Where: (empty) => where(empty.graph.constant({ dtype: 'bool', shape: [1], data: new Uint8Array([1]) }), empty, 7),
  Add: (empty) => add(empty, empty.graph.constant(float32([7], [1]))),
};

describe('tensors without elements stay so', () => {
  test.each(Object.entries(emptyCases))('%s', async (_name, build) => {
    const graph = graphOf([[0]], (empty) => [build(empty)]);
    const feeds = [float32([], [0])];
    expectAlike(await run(tfjs, graph, feeds), await run(onnxruntime, graph, feeds));
  });
});

describe('every operator gives what it gives on ONNX Runtime', () => {
  test.each(operatorNames)('%s', async (operator) => {
    await fc.assert(
      fc.asyncProperty(randomCall(operator), async (call) => {
        const graph = new Graph('random');
        let feeds: TensorData[];
        try {
          feeds = applyRandomCall(graph, call).feeds;
          for (const [i, output] of (graph.nodes.at(-1)?.outputs ?? []).entries()) graph.output(output, `y${i}`);
        } catch (error) {
          expect(error).toBeInstanceOf(GraphError);
          return;
        }
        const expected = await run(onnxruntime, graph, feeds).catch(() => undefined);
        if (expected === undefined) {
          // Some calls fail when they run, such as indices beyond the end.
          await expect(run(tfjs, graph, feeds)).rejects.toThrow(EngineError);
        } else {
          expectAlike(await run(tfjs, graph, feeds), expected);
        }
      }),
      { numRuns: 40 },
    );
  });
});
