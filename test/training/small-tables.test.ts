import { RandomSource } from '@elbo/models';
import { inMemory } from '@elbo/training/data/dataset';
import { datasetOf } from '@elbo/training/data/datasets';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { train } from '@elbo/training/train';
import { loadPreset } from '@elbo/training/vae/configuration';
import { describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';

const rows = (count: number, seed: number) =>
  inMemory(new RandomSource(seed).fillNormal(new Float32Array(4 * count)), [4]);

async function trained(count: number) {
  const dataset = await datasetOf('small', { train: rows(count, 1), test: rows(10, 2) });
  const configuration = { ...loadPreset('table'), epochs: 3 };
  return train({ engine: new OnnxRuntimeEngine(1), store: temporaryDirectory(), dataset, configuration });
}

describe('a table of few rows', () => {
  test('is trained on without another flag: half of it is held out to calibrate scores', async () => {
    const result = await trained(60);
    expect(result?.manifest.training.dataset).toMatchObject({ train_examples: 30, validation_examples: 30 });
    expect(result?.manifest.calibration.size).toBe(15);
    expect(result?.manifest.scorer.scored).toEqual(['reconstruction', 'kl', 'input_distance', 'isolation']);
  });

  test('is refused where scores could not be calibrated, with what is needed', async () => {
    await expect(trained(30)).rejects.toThrow(
      /^15 validation examples of 30; expected at least 20, to calibrate scores: give more data/,
    );
  });
});
