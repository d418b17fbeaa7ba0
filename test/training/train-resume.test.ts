import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { type TrainOptions, train } from '@elbo/training/train';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';

function options(store: string, changes: Partial<TrainOptions> = {}): TrainOptions {
  return {
    engine: new OnnxRuntimeEngine(1),
    // 576 steps: more than one run of the training graph in each epoch of 72.
    configuration: tinyConfiguration({ epochs: 8, batch_size: 8 }),
    dataset: barsDataset(640),
    store,
    ...changes,
  };
}

/** Stops a run at the first report at or after a step. */
async function interruptedAt(step: number, store: string): Promise<void> {
  const controller = new AbortController();
  const result = await train(
    options(store, {
      signal: controller.signal,
      onProgress: (progress) => {
        if (progress.step >= step) controller.abort();
      },
    }),
  );
  expect(result).toBeUndefined();
}

test.each([
  ['in the middle of an epoch', 3 * 72 + 1],
  ['in the last steps of an epoch', 3 * 72],
  ['in the last steps of all', 8 * 72],
])('a run that was interrupted %s and resumed equals one that was not', async (_, step) => {
  const [whole, broken] = [temporaryDirectory(), temporaryDirectory()];
  const expected = await train(options(whole));
  await interruptedAt(step, broken);
  const resumed = await train(options(broken, { resume: true }));
  if (expected === undefined || resumed === undefined) throw new Error('a run stopped');
  expect(resumed.bestEpoch).toBe(expected.bestEpoch);
  for (const file of ['encoder.onnx', 'decoder.onnx', 'scorer.onnx', 'training-curves.svg']) {
    expect(readFileSync(join(resumed.directory, file)).equals(readFileSync(join(expected.directory, file))), file).toBe(
      true,
    );
  }
  expect(readdirSync(join(broken, '.checkpoints'))).toEqual([]);
});

test('resuming refuses a checkpoint of another configuration, a missing one and an altered one', async () => {
  const store = temporaryDirectory();
  await expect(train(options(store, { resume: true }))).rejects.toThrow(/no checkpoint of this configuration/);
  await interruptedAt(1, store);
  const other = options(store, {
    resume: true,
    configuration: tinyConfiguration({ epochs: 8, batch_size: 8, seed: 5 }),
  });
  await expect(train(other)).rejects.toThrow(/no checkpoint of this configuration/);
  const [run] = readdirSync(join(store, '.checkpoints'));
  const [file] = readdirSync(join(store, '.checkpoints', run));
  const path = join(store, '.checkpoints', run, file);
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1] ^= 1;
  writeFileSync(path, bytes);
  await expect(train(options(store, { resume: true }))).rejects.toThrow(/not a whole checkpoint/);
  writeFileSync(path, bytes.subarray(0, 20));
  await expect(train(options(store, { resume: true }))).rejects.toThrow(/not a whole checkpoint/);
});
