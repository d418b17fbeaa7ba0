import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { createOptimiser, movingAverage, type OptimiserOptions } from '@elbo/training/nn/optimisers';
import { Graph } from '@elbo/training/onnx/graph';
import { elementCount, float32, type TensorData } from '@elbo/training/onnx/tensor';
import { expect, test } from 'vitest';

const DEFAULTS = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, momentum: 0, weight_decay: 0 } as const;
const START = 0.5;
const STEPS = 30;

/** What a paper's algorithm does to one number, given its gradients in turn. */
type Reference = (gradients: readonly number[], rate: number, options: OptimiserOptions, decay: number) => number;

/** Kingma & Ba (2015), algorithm 1, and with decay Loshchilov & Hutter (2019), algorithm 2. */
const adam: Reference = (gradients, rate, { beta1, beta2, epsilon }, decay) => {
  let [theta, m, v] = [START, 0, 0];
  for (const [i, g] of gradients.entries()) {
    const t = i + 1;
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g ** 2;
    const change = m / (1 - beta1 ** t) / (Math.sqrt(v / (1 - beta2 ** t)) + epsilon);
    theta -= rate * (change + decay * theta);
  }
  return theta;
};

/** Kingma & Ba (2015), algorithm 2; epsilon keeps a gradient of 0 from dividing by 0. */
const adamax: Reference = (gradients, rate, { beta1, beta2, epsilon }) => {
  let [theta, m, u] = [START, 0, 0];
  for (const [i, g] of gradients.entries()) {
    m = beta1 * m + (1 - beta1) * g;
    u = Math.max(beta2 * u, Math.abs(g));
    theta -= ((rate / (1 - beta1 ** (i + 1))) * m) / (u + epsilon);
  }
  return theta;
};

/** Heavy-ball momentum with L2 decay. */
const sgd: Reference = (gradients, rate, { momentum }, decay) => {
  let [theta, velocity] = [START, 0];
  for (const g of gradients) {
    velocity = momentum * velocity + g + decay * theta;
    theta -= rate * velocity;
  }
  return theta;
};

const CASES: readonly (readonly [OptimiserOptions, number, Reference])[] = [
  [{ ...DEFAULTS, kind: 'adam' }, 0.1, adam],
  [{ ...DEFAULTS, kind: 'adam', beta1: 0.5, beta2: 0.9, epsilon: 1e-2 }, 0.01, adam],
  [{ ...DEFAULTS, kind: 'adamw', weight_decay: 0.3 }, 0.05, adam],
  [{ ...DEFAULTS, kind: 'adamax' }, 0.05, adamax],
  [{ ...DEFAULTS, kind: 'adamax', beta1: 0.5, beta2: 0.9 }, 0.02, adamax],
  [{ ...DEFAULTS, kind: 'sgd' }, 0.01, sgd],
  [{ ...DEFAULTS, kind: 'sgd', momentum: 0.9, weight_decay: 0.1 }, 0.001, sgd],
];

/** The gradient of element j at step t: small, large, of both signs, and a single shock. */
const gradientAt = (t: number, j: number): number =>
  [Math.sin(t), 1e-3 * Math.cos(3 * t), 5, t === 0 ? 100 : 0][j] as number;

/** Runs an optimiser on gradients from `gradientAt`. */
async function run(options: OptimiserOptions, rate: number, decays: boolean): Promise<number[]> {
  const shape = [2, 2];
  const graph = new Graph('optimiser');
  const optimiser = createOptimiser(options);
  const parameter = graph.input('parameter', 'float32', shape);
  const sums = optimiser.sums.map((name) => graph.input(name, 'float32', shape));
  const update = optimiser.at(graph.input('rate', 'float32', []), graph.input('step', 'float32', []));
  const next = update({ parameter, sums }, graph.input('gradient', 'float32', shape), decays);
  graph.output(next.parameter, 'next_parameter');
  for (const [i, sum] of next.sums.entries()) graph.output(sum, `next_${optimiser.sums[i]}`);
  const program = await new OnnxRuntimeEngine(1).compile(graph);
  const zeros = () => float32(new Float32Array(elementCount(shape)), shape);
  let state: Record<string, TensorData> = {
    parameter: float32(new Array(elementCount(shape)).fill(START), shape),
    ...Object.fromEntries(optimiser.sums.map((name) => [name, zeros()])),
  };
  for (let t = 0; t < STEPS; t++) {
    const outputs = await program.run({
      ...state,
      gradient: float32(
        Array.from({ length: elementCount(shape) }, (_, j) => gradientAt(t, j)),
        shape,
      ),
      rate: float32([rate], []),
      step: float32([t + 1], []),
    });
    state = Object.fromEntries(Object.keys(state).map((name) => [name, outputs[`next_${name}`]]));
  }
  await program.release();
  return Array.from(state.parameter.data, Number);
}

test.each(CASES)('%o at %d follows the algorithm of its paper', async (options, rate, reference) => {
  for (const decays of [true, false]) {
    const decay = decays ? options.weight_decay : 0;
    const actual = await run(options, rate, decays);
    for (const [j, value] of actual.entries()) {
      const gradients = Array.from({ length: STEPS }, (_, t) => gradientAt(t, j));
      expect(value, `element ${j}, ${decays ? 'decaying' : 'not decaying'}`).toBeCloseTo(
        reference(gradients, rate, options, decay),
        4,
      );
    }
  }
});

test('the moving average of weights follows them closely at first and at its decay later', async () => {
  const graph = new Graph('average');
  const step = graph.input('step', 'float32', []);
  const average = movingAverage(0.99, step);
  graph.output(average(graph.input('average', 'float32', []), graph.input('parameter', 'float32', [])), 'next');
  const program = await new OnnxRuntimeEngine(1).compile(graph);
  let [actual, expected] = [1, 1];
  for (let t = 1; t <= 2000; t++) {
    const weight = Math.cos(t / 50);
    const decay = Math.min(0.99, (1 + t) / (10 + t));
    expected = decay * expected + (1 - decay) * weight;
    const { next } = await program.run({
      step: float32([t], []),
      average: float32([actual], []),
      parameter: float32([weight], []),
    });
    actual = Number(next.data[0]);
    if ([1, 5, 100, 2000].includes(t)) expect(actual, `step ${t}`).toBeCloseTo(expected, 4);
  }
  await program.release();
});
