import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

test('epochs whose steps were all skipped have no means, after resuming, too', async () => {
  const { optimiser } = tinyConfiguration();
  const configuration = tinyConfiguration({ epochs: 3, optimiser: { ...optimiser, skip_gradient_norm: 1e-6 } });
  const store = temporaryDirectory();
  const interruption = new AbortController();
  const onEpoch = () => interruption.abort();
  expect(await train(options(store, { configuration, onEpoch, signal: interruption.signal }))).toBeUndefined();
  const resumed = await train(options(store, { configuration, resume: true }));
  if (resumed === undefined) throw new Error('the run stopped');
  const curves = readFileSync(join(resumed.directory, 'training-curves.svg'), 'utf8');
  // Of each of the three terms, none of the training part is drawn.
  expect(curves.match(/3 not finite/g)).toHaveLength(3);
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
  const directory = runDirectory(store);
  const files = readdirSync(directory);
  const whole = new Map(files.map((file) => [file, readFileSync(join(directory, file))]));
  const damages: [(bytes: Buffer) => Uint8Array, RegExp][] = [
    [(bytes) => bytes.with(bytes.length >> 1, ~bytes[bytes.length >> 1]), /not a whole checkpoint/],
    [(bytes) => bytes.subarray(0, 20), /not a whole checkpoint/],
    [(bytes) => withHeader(bytes, '{not json'), /not a checkpoint of this version of Elbo \(.*JSON/],
    [(bytes) => withHeader(bytes, '{}'), /not a checkpoint of this version of Elbo/],
    [(bytes) => withHeader(bytes, '{"trainer":{"tensors":[["updates",1]]}}'), /updates has 0 of 4 bytes/],
  ];
  for (const [damage, message] of damages) {
    for (const [file, bytes] of whole) writeFileSync(join(directory, file), damage(bytes));
    const resuming = train(options(store, { resume: true }));
    await expect(resuming).rejects.toMatchObject({ name: 'CheckpointError', message: expect.stringMatching(message) });
  }
});

test('a damaged checkpoint leaves the one before it to go on from', async () => {
  const [whole, broken] = [temporaryDirectory(), temporaryDirectory()];
  const expected = await train(options(whole));
  await interruptedAt(2 * 72, broken);
  const newest = readdirSync(runDirectory(broken)).sort().at(-1) ?? '';
  writeFileSync(join(runDirectory(broken), newest), 'ELBOCKP2');
  const resumed = await train(options(broken, { resume: true }));
  if (expected === undefined || resumed === undefined) throw new Error('a run stopped');
  expect(readFileSync(join(resumed.directory, 'encoder.onnx'))).toEqual(
    readFileSync(join(expected.directory, 'encoder.onnx')),
  );
});

test('a run that begins anew does not touch the work of an interrupted one', async () => {
  const store = temporaryDirectory();
  await interruptedAt(100, store);
  const before = readdirSync(runDirectory(store));
  await expect(train(options(store))).rejects.toMatchObject({
    name: 'CheckpointError',
    message: expect.stringMatching(
      /interrupted or still goes on; go on from them by --resume .* or delete the directory/,
    ),
  });
  expect(readdirSync(runDirectory(store))).toEqual(before);
  for (const file of before) if (!/-0+\.checkpoint$/.test(file)) rmSync(join(runDirectory(store), file));
  // A checkpoint of step 0 holds no work.
  await interruptedAt(1, store);
});

test('what a dead process left half-written goes, what a living one is at stays', async () => {
  const store = temporaryDirectory();
  await interruptedAt(1, store);
  const directory = runDirectory(store);
  // Process numbers end far below.
  for (const name of ['unfinished-999999999', `unfinished-${process.ppid}`]) writeFileSync(join(directory, name), '');
  const controller = new AbortController();
  controller.abort();
  await train(options(store, { resume: true, signal: controller.signal }));
  expect(readdirSync(directory).filter((file) => file.startsWith('unfinished'))).toEqual([
    `unfinished-${process.ppid}`,
  ]);
});

function runDirectory(store: string): string {
  const [run] = readdirSync(join(store, '.checkpoints'));
  return join(store, '.checkpoints', run);
}

/** A checkpoint of another header and no blocks, whose digest is right. */
function withHeader(checkpoint: Buffer, header: string): Uint8Array {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(header.length);
  const body = Buffer.concat([checkpoint.subarray(0, 8), length, Buffer.from(header)]);
  return Buffer.concat([body, createHash('sha256').update(body).digest()]);
}
