import { inMemory } from '@elbo/training/data/dataset';
import { openExamples } from '@elbo/training/data/example-reader';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { startingAt } from '@elbo/training/nn/initialisers';
import { parameter } from '@elbo/training/nn/parameters';
import { mul, reduceMean } from '@elbo/training/onnx/ops';
import { BatchSource } from '@elbo/training/trainer/batches';
import { type Progress, Trainer } from '@elbo/training/trainer/trainer';
import type { Objective } from '@elbo/training/vae/objective';
import { expect, test } from 'vitest';
import { tinyConfiguration } from './support/bars.js';

// Two losses, a · mean(x) and b · mean(2x): their gradients are the means, whatever the weights are.

const BATCH = 4;
const configuration = tinyConfiguration({
  batch_size: BATCH,
  epochs: 2,
  learning_rate_schedule: { kind: 'constant', warm_up_fraction: 0, final_fraction: 1, milestones: [], factor: 0.1 },
});
const optimiser = (skip: number) =>
  ({
    ...configuration.optimiser,
    kind: 'sgd',
    learning_rate: 0.1,
    gradient_norm_limit: 0.5,
    skip_gradient_norm: skip,
  }) as const;
const [a, b] = ['a', 'b'].map((name) => parameter(name, [], startingAt([1])));

function objectiveOf(skipA: number, skipB: number): Objective {
  return {
    parameters: [a, b],
    losses: [
      { name: 'first', parameters: [a], optimiser: optimiser(skipA) },
      { name: 'second', parameters: [b], optimiser: optimiser(skipB) },
    ],
    noise: {},
    schedules: {},
    terms: ['mean'],
    build({ x }, weights) {
      const mean = reduceMean(x);
      return { terms: { mean }, losses: { first: mul(mean, weights(a)), second: mul(mul(mean, 2), weights(b)) } };
    },
  };
}

const values = Float32Array.from({ length: 40 }, (_, i) => 3 * Math.sin(i) ** 2);
const examples = inMemory(values, [1]);

async function trained(objective: Objective): Promise<{ trainer: Trainer; runs: Progress[] }> {
  const trainer = await Trainer.create(new OnnxRuntimeEngine(1), objective, configuration, examples);
  const runs: Progress[] = [];
  for (let epoch = 0; epoch < configuration.epochs; epoch++) {
    for await (const progress of trainer.runEpoch()) runs.push(progress);
  }
  return { trainer, runs };
}

/** The mean of the minibatch of each step. */
async function meansOfSteps(): Promise<number[]> {
  const plan = { seed: configuration.seed, batchSize: BATCH, count: 40, exampleSize: 1, dtype: 'float32' } as const;
  const source = new BatchSource(await openExamples(examples), { ...plan, binarise: false, noise: {} });
  const means: number[] = [];
  for (let step = 0; step < 20; step++) {
    const batch = await source.draw(step, 1);
    means.push(Array.from(batch.examples).reduce((sum, value) => sum + value, 0) / BATCH);
  }
  return means;
}

test.each([
  ['one', 1.5, 0, (mean: number) => mean > 1.5],
  ['the other', 0, 3.2, (mean: number) => 2 * mean > 3.2],
  ['either', 1.7, 3, (mean: number) => mean > 1.7 || 2 * mean > 3],
])(
  'a step where the gradient of %s is too long changes nothing, before it is scaled down',
  async (_, first, second, isTooLong) => {
    const means = await meansOfSteps();
    const expected = means.map((mean) => (isTooLong(mean) ? 2 : 0));
    // Steps of either kind, or the test says nothing.
    expect(new Set(expected)).toEqual(new Set([0, 2]));
    const { trainer, runs } = await trained(objectiveOf(first, second));
    expect(runs.flatMap((progress) => [...progress.values.skipped])).toEqual(expected);
    const skipped = expected.filter((reason) => reason === 2).length;
    expect(runs.at(-1)).toMatchObject({ skippedSteps: skipped, longGradients: skipped });
    expect(trainer.state).toMatchObject({ skippedSteps: skipped, longGradients: skipped });
    // Every other step moved by the limit of the gradient, or by the gradient where it is shorter.
    const moved = (scale: number) =>
      means.reduce((sum, mean, i) => (expected[i] === 0 ? sum + 0.1 * Math.min(0.5, scale * mean) : sum), 0);
    expect(Number(trainer.weights.get('a')?.[0])).toBeCloseTo(1 - moved(1), 5);
    expect(Number(trainer.weights.get('b')?.[0])).toBeCloseTo(1 - moved(2), 5);
    await trainer.release();
  },
);

test('however many such steps in a row do not end the run', async () => {
  const { trainer, runs } = await trained(objectiveOf(1e-6, 0));
  expect(runs.at(-1)).toMatchObject({ step: 20, skippedSteps: 20, longGradients: 20 });
  expect(trainer.weights.get('a')).toEqual(Float32Array.of(1));
  expect(trainer.weights.get('b')).toEqual(Float32Array.of(1));
  await trainer.release();
});

test('a gradient that is not finite is that, and not too long', async () => {
  const infinite = values.slice();
  infinite[7] = 3e38;
  const objective = objectiveOf(10, 0);
  const trainer = await Trainer.create(new OnnxRuntimeEngine(1), objective, configuration, inMemory(infinite, [1]));
  const runs: Progress[] = [];
  for await (const progress of trainer.runEpoch()) runs.push(progress);
  const reasons = runs.flatMap((progress) => [...progress.values.skipped]);
  expect(reasons.filter((reason) => reason === 1)).toHaveLength(1);
  expect(runs.at(-1)).toMatchObject({ skippedSteps: 1, longGradients: 0 });
  await trainer.release();
});
