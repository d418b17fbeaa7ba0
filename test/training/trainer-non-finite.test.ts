import { inMemory } from '@elbo/training/data/dataset';
import { openExamples } from '@elbo/training/data/example-reader';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { BatchSource } from '@elbo/training/trainer/batches';
import { type Progress, Trainer } from '@elbo/training/trainer/trainer';
import { buildModel } from '@elbo/training/vae/model';
import { vaeObjective } from '@elbo/training/vae/objective';
import { expect, test } from 'vitest';
import { tinyConfiguration } from './support/bars.js';

const SIZE = 4;
const BATCH = 8;
// Squared, it is beyond float32.
const HUGE = 1e30;
const configuration = tinyConfiguration({ likelihood: 'gaussian', batch_size: BATCH, epochs: 3, latent_size: 2 });

async function trainerOn(values: Float32Array): Promise<Trainer> {
  const model = buildModel(configuration, [1, 2, 2]);
  const examples = inMemory(values, [1, 2, 2]);
  return Trainer.create(new OnnxRuntimeEngine(1), vaeObjective(model, configuration), configuration, examples);
}

test('a step without a finite loss is skipped, counted and left out of the means', async () => {
  const values = Float32Array.from({ length: 64 * SIZE }, (_, i) => Math.sin(i));
  values.fill(HUGE, 17 * SIZE, 18 * SIZE);
  const trainer = await trainerOn(values);
  const runs: Progress[] = [];
  for (let epoch = 0; epoch < configuration.epochs; epoch++) {
    for await (const progress of trainer.runEpoch()) runs.push(progress);
  }
  expect(trainer.skippedSteps).toBe(3);
  expect(runs.at(-1)).toMatchObject({ step: 24, skippedSteps: 3 });
  const skipped = runs.flatMap(({ values }) => [...values.skipped]);

  const plan = { seed: configuration.seed, batchSize: BATCH, count: 64, exampleSize: SIZE, dtype: 'float32' } as const;
  const reader = await openExamples(inMemory(values, [1, 2, 2]));
  const source = new BatchSource(reader, { ...plan, binarise: false, noise: {} });
  for (const [step, flag] of skipped.entries()) {
    const { examples } = await source.draw(step, 1);
    expect(flag, `step ${step}`).toBe(examples.includes(Math.fround(HUGE)) ? 1 : 0);
  }
  for (const { metrics } of runs) expect(metrics.loss).toBeLessThan(1e6);
  for (const tensor of trainer.state.tensors.values()) expect(tensor.every(Number.isFinite)).toBe(true);
  // Adam's bias correction counts the updates that were made.
  expect([...(trainer.state.tensors.get('updates') ?? [])]).toEqual([21]);
  await trainer.release();
});

test('five such steps in a row end training, with every state as it was before', async () => {
  const trainer = await trainerOn(new Float32Array(64 * SIZE).fill(HUGE));
  const before = trainer.state.tensors;
  const training = (async () => {
    for await (const _ of trainer.runEpoch());
  })();
  await expect(training).rejects.toThrow(/^5 steps in a row up to step 8 of 24 had a loss or gradient/);
  expect(trainer.state.tensors).toEqual(before);
  await trainer.release();
});
