import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { Graph } from '@elbo/training/onnx/graph';
import { float32 } from '@elbo/training/onnx/tensor';
import { adam } from '@elbo/training/trainer/adam';
import { expect, test } from 'vitest';

/** Algorithm 1 of Kingma & Ba (2015), line by line. */
function paperAdam(
  gradients: readonly number[][],
  rate: number,
  beta1: number,
  beta2: number,
  epsilon: number,
): number[] {
  const size = gradients[0].length;
  const theta = new Array<number>(size).fill(0.5);
  const m = new Array<number>(size).fill(0);
  const v = new Array<number>(size).fill(0);
  for (const [i, g] of gradients.entries()) {
    const t = i + 1;
    for (let j = 0; j < size; j++) {
      m[j] = beta1 * m[j] + (1 - beta1) * g[j];
      v[j] = beta2 * v[j] + (1 - beta2) * g[j] ** 2;
      theta[j] -= (rate * (m[j] / (1 - beta1 ** t))) / (Math.sqrt(v[j] / (1 - beta2 ** t)) + epsilon);
    }
  }
  return theta;
}

test.each([
  { rate: 0.1, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
  { rate: 0.01, beta1: 0.5, beta2: 0.9, epsilon: 1e-2 },
])('Adam with %o follows the algorithm of the paper', async ({ rate, beta1, beta2, epsilon }) => {
  const gradients = Array.from({ length: 30 }, (_, t) => [Math.sin(t), 1e-3 * Math.cos(3 * t), 5, t === 0 ? 100 : 0]);
  const graph = new Graph('adam');
  const shape = [4];
  const state = {
    parameter: graph.input('parameter', 'float32', shape),
    gradientSum: graph.input('gradient_sum', 'float32', shape),
    squareSum: graph.input('square_sum', 'float32', shape),
  };
  const update = adam(graph.input('rate', 'float32', []), graph.input('step', 'float32', []), {
    beta1,
    beta2,
    epsilon,
  });
  const next = update(state, graph.input('gradient', 'float32', shape));
  graph.output(next.parameter, 'next_parameter');
  graph.output(next.gradientSum, 'next_gradient_sum');
  graph.output(next.squareSum, 'next_square_sum');
  const program = await new OnnxRuntimeEngine(1).compile(graph);

  let current = {
    parameter: float32([0.5, 0.5, 0.5, 0.5], shape),
    gradient_sum: float32([0, 0, 0, 0], shape),
    square_sum: float32([0, 0, 0, 0], shape),
  };
  for (const [i, gradient] of gradients.entries()) {
    const outputs = await program.run({
      ...current,
      gradient: float32(gradient, shape),
      rate: float32([rate], []),
      step: float32([i + 1], []),
    });
    current = {
      parameter: outputs.next_parameter as typeof current.parameter,
      gradient_sum: outputs.next_gradient_sum as typeof current.parameter,
      square_sum: outputs.next_square_sum as typeof current.parameter,
    };
  }
  const expected = paperAdam(gradients, rate, beta1, beta2, epsilon);
  for (const [j, value] of expected.entries()) expect(Number(current.parameter.data[j])).toBeCloseTo(value, 4);
});
