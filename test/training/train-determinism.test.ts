import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { train } from '@elbo/training/train';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';

const FILES = ['encoder.onnx', 'decoder.onnx', 'scorer.onnx', 'calibration.f32', 'preview.png', 'training-curves.svg'];

async function trainedFiles(seed: number, threads: number): Promise<Buffer[]> {
  const result = await train({
    engine: new OnnxRuntimeEngine(threads),
    configuration: tinyConfiguration({ seed }),
    dataset: barsDataset(),
    store: temporaryDirectory(),
  });
  if (result === undefined) throw new Error('the run stopped');
  return FILES.map((file) => readFileSync(join(result.directory, file)));
}

test.each([1, 2])('the same seed and %i thread(s) give byte-identical exported files', async (threads) => {
  const [first, second] = [await trainedFiles(7, threads), await trainedFiles(7, threads)];
  for (const [i, file] of FILES.entries()) expect(first[i].equals(second[i]), file).toBe(true);
});

test('another seed gives other weights', async () => {
  const [first, second] = [await trainedFiles(7, 1), await trainedFiles(8, 1)];
  expect(first[0].equals(second[0])).toBe(false);
});
