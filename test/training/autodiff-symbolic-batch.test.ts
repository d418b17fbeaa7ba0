import { gradients } from '@elbo/training/autodiff/gradients';
import type { Graph } from '@elbo/training/onnx/graph';
import * as ops from '@elbo/training/onnx/ops';
import type { Shape, Tensor, TensorData } from '@elbo/training/onnx/tensor';
import { describe, expect, test } from 'vitest';
import { expectClose, graphOf, numbersOf, withGraph } from './support/harness.js';
import { drawInputs, type OperatorCase, operatorCases, symbolicShapes, withBatch } from './support/operator-cases.js';

const BATCHES = [1, 2, 5];

/** The output and the gradients of a loss that weighs elements by a function of their value: it knows no shape. */
function graphWithGradients(shapes: readonly Shape[], elbo: (...x: Tensor[]) => Tensor): Graph {
  return graphOf(shapes, (...x) => {
    const y = elbo(...x);
    return [y, ...gradients(ops.reduceSum(ops.mul(y, ops.add(ops.tanh(y), 2))), x)];
  });
}

describe('gradients of a graph with a batch axis N equal those of the graph of fixed length', () => {
  const batchedCases = operatorCases.filter(({ batched }) => batched.length > 0);
  test.each(batchedCases.map((c) => [c.operator, c.name, c] as const))('%s: %s', async (_operator, _name, c) => {
    await expectSameAsStatic(c);
  });

  test('a network with two layers and a mean over the batch', async () => {
    await expectSameAsStatic({
      inputs: [[2, 4], [4, 3], [3], [3, 4], [4]].map((shape) => ({ shape, domain: { low: -1, high: 1 } })),
      batched: [0],
      elbo: (...tensors) => {
        const [x, w1, b1, w2, b2] = tensors as [Tensor, Tensor, Tensor, Tensor, Tensor];
        const logits = ops.gemm(ops.tanh(ops.gemm(x, w1, b1)), w2, b2);
        const perExample = ops.reduceSum(ops.sub(ops.softplus(logits), ops.mul(x, logits)), [1]);
        return ops.reduceMean(perExample);
      },
    });
  });
});

test('a named axis keeps its name in the gradient', () => {
  const graph = graphWithGradients([['N', 3], [3]], (x, b) => ops.add(x as Tensor, b as Tensor));
  expect(graph.outputs.map(({ shape }) => shape)).toEqual([['N', 3], ['N', 3], [3]]);
});

test('axes with two names, broadcast and moved', async () => {
  const build = (...x: Tensor[]) => {
    const [a, b, c] = x as [Tensor, Tensor, Tensor];
    return ops.squeeze(ops.mul(ops.unsqueeze(ops.mul(ops.mul(a, b), c), [1]), 2), [-4]);
  };
  const named = [
    ['K', 'N', 2],
    ['N', 2],
    [3, 'K', 'N', 2],
  ];
  const fixed = [
    [5, 4, 2],
    [4, 2],
    [3, 5, 4, 2],
  ];
  const inputs = drawInputs(
    fixed.map((shape) => ({ shape, domain: { low: -1, high: 1 } })),
    5,
  );
  const expected = await withGraph(graphWithGradients(fixed, build), (run) => run(...inputs));
  await withGraph(graphWithGradients(named, build), async (run) => expectSame(await run(...inputs), expected));
});

async function expectSameAsStatic(c: Pick<OperatorCase, 'inputs' | 'batched' | 'elbo'>): Promise<void> {
  const symbolic = graphWithGradients(symbolicShapes(c), c.elbo);
  await withGraph(symbolic, async (run) => {
    for (const length of BATCHES) {
      const caseInputs = withBatch(c, length);
      const inputs = drawInputs(caseInputs, length);
      const fixed = graphWithGradients(
        caseInputs.map(({ shape }) => shape),
        c.elbo,
      );
      const expected = await withGraph(fixed, (runFixed) => runFixed(...inputs));
      expectSame(await run(...inputs), expected);
    }
  });
}

function expectSame(actual: readonly TensorData[], expected: readonly TensorData[]): void {
  for (const [i, value] of expected.entries()) {
    expect(actual[i]?.shape).toEqual(value.shape);
    // ONNX Runtime fuses the two graphs differently, so the last bits may differ.
    expectClose(numbersOf(actual[i] as TensorData), numbersOf(value), 1e-5, `output ${i}`);
  }
}
