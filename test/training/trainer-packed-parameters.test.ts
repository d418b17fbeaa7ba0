import { inMemory } from '@elbo/training/data/dataset';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { startingAt } from '@elbo/training/nn/initialisers';
import { parameter } from '@elbo/training/nn/parameters';
import { add, mul, reduceSum } from '@elbo/training/onnx/ops';
import { elementCount, float32 } from '@elbo/training/onnx/tensor';
import { Trainer } from '@elbo/training/trainer/trainer';
import type { Objective } from '@elbo/training/vae/objective';
import { expect, test } from 'vitest';
import { tinyConfiguration } from './support/bars.js';

// A loss that is linear in its parameters has gradients that are known: the coefficients.

const RATE = 0.05;
const coefficient = (i: number) => Math.cos(3 * i + 1);
const parameters = Object.entries({
  bias: [3],
  scale: [],
  small: [3, 2],
  large: [200, 200],
  other: [1, 4],
}).map(([name, shape]) => parameter(name, shape, startingAt(initial(elementCount(shape)))));

function initial(count: number): number[] {
  return Array.from({ length: count }, (_, i) => Math.sin(i + count));
}

function linearIn(optimiser: Objective['losses'][number]['optimiser']): Objective {
  return {
    parameters,
    losses: [{ name: 'linear', parameters, optimiser }],
    noise: {},
    schedules: {},
    terms: [],
    build({ x }, weights) {
      const parts = parameters.map((p) => {
        const coefficients = Array.from({ length: elementCount(p.shape) }, (_, i) => coefficient(i));
        const products = mul(weights(p), x.graph.constant(float32(coefficients, p.shape)));
        return p.shape.length === 0 ? products : reduceSum(products);
      });
      return { terms: {}, losses: { linear: parts.reduce((sum, part) => add(sum, part)) } };
    },
  };
}

test.each([0, 0.2])('parameters that are updated together change as each would alone, with decay %d', async (decay) => {
  const configuration = tinyConfiguration({
    batch_size: 1,
    epochs: 1,
    weight_average_decay: 0.9,
    learning_rate_schedule: { kind: 'constant', warm_up_fraction: 0, final_fraction: 1, milestones: [], factor: 0.1 },
  });
  const objective = linearIn({
    ...configuration.optimiser,
    kind: 'sgd',
    learning_rate: RATE,
    momentum: 0,
    weight_decay: decay,
    gradient_norm_limit: 1e6,
  });
  const trainer = await Trainer.create(
    new OnnxRuntimeEngine(1),
    objective,
    configuration,
    inMemory(new Float32Array(4), [1]),
  );
  for await (const _ of trainer.runEpoch());

  for (const { name, shape } of parameters) {
    // Matrices decay, biases and scales do not.
    const decays = shape.length > 1 ? decay : 0;
    const expected = initial(elementCount(shape)).map((start, i) => {
      let [value, average] = [start, start];
      for (let t = 1; t <= 4; t++) {
        value -= RATE * (coefficient(i) + decays * value);
        const kept = Math.min(0.9, (1 + t) / (10 + t));
        average = kept * average + (1 - kept) * value;
      }
      return average;
    });
    const actual = trainer.weights.get(name);
    expect(actual?.length, name).toBe(expected.length);
    for (const [i, value] of expected.entries()) expect(actual?.[i], `${name}[${i}]`).toBeCloseTo(value, 5);
  }
  await trainer.release();
});
