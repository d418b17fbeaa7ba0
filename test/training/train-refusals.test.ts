import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { datasetOf, inMemory } from '@elbo/training';
import { splitValidation } from '@elbo/training/data/dataset';
import { train } from '@elbo/training/train';
import type { Configuration } from '@elbo/training/vae/configuration';
import { loadPreset } from '@elbo/training/vae/configuration';
import { buildModel } from '@elbo/training/vae/model';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';

// What would end in an unusable model is refused before training.

test.each<[string, Partial<Configuration>, string]>([
  ['a name that leads elsewhere', { name: '../../evil' }, 'name'],
  ['half an epoch', { epochs: 1.5 }, 'epochs'],
  ['no epoch', { epochs: 0 }, 'epochs'],
  ['empty batches', { batch_size: 0 }, 'batch_size'],
  [
    'an epsilon that is 0 in float32',
    { optimiser: { ...tinyConfiguration().optimiser, epsilon: 1e-300 } },
    'optimiser.epsilon',
  ],
  [
    'a limit that is infinite in float32',
    { optimiser: { ...tinyConfiguration().optimiser, gradient_norm_limit: 1e300 } },
    'optimiser.gradient_norm_limit',
  ],
])('%s', async (_, changes, field) => {
  const store = join(temporaryDirectory(), 'store');
  const configuration = tinyConfiguration(changes);
  await expect(train({ configuration, dataset: barsDataset(), store })).rejects.toMatchObject({
    name: 'ConfigurationError',
    message: expect.stringMatching(new RegExp(`^${field} `)),
  });
  expect(existsSync(store)).toBe(false);
});

test('more weights than an ONNX file holds', () => {
  const configuration = { ...loadPreset('table'), encoder: { convolutions: [], hidden: [65_536, 65_536] } };
  expect(() => buildModel(configuration, [3])).toThrow(
    /^the layers of encoder and decoder have 16\.0 GiB of weights; expected at most 1\.5 GiB/,
  );
});

test.each([
  [
    'too large in the test part',
    [2],
    [1, 2, 3, 4],
    [1, 1e30],
    /values are from 1 to .*; expected them within ±1000000000000$/,
  ],
  ['without training examples', [2], [], [1, 2], /the training part has no examples/],
  ['without test examples', [2], [1, 2], [], /the test part has no examples/],
  [
    'of rows and columns without channels',
    [2, 2],
    [0, 1, 1, 0],
    [0, 1, 1, 0],
    /of shape \[2, 2\]; expected \[columns\], or/,
  ],
  ['of two channels', [2, 1, 1], [0, 1], [0, 1], /of shape \[2, 1, 1\]; expected \[columns\], or/],
])('data %s', async (_, shape, train, test, message) => {
  const parts = { train: inMemory(Float32Array.from(train), shape), test: inMemory(Float32Array.from(test), shape) };
  await expect(datasetOf('own', parts)).rejects.toMatchObject({
    name: 'DataError',
    message: expect.stringMatching(message),
  });
});

test('weights that are not finite on the validation part are never the best', async () => {
  const { train: bytes, ...rest } = barsDataset();
  const configuration = tinyConfiguration({ likelihood: 'gaussian' });
  const { validation } = splitValidation(bytes, configuration.validation_fraction, configuration.seed);
  const values = Float32Array.from({ length: bytes.count * 36 }, (_, i) => Math.sin(i) ** 2);
  for (const row of validation.rows ?? []) values[row * 36] = 1e30;
  const dataset = { ...rest, train: inMemory(values, [1, 6, 6]) };
  const store = temporaryDirectory();
  await expect(train({ configuration, dataset, store })).rejects.toMatchObject({
    name: 'TrainingError',
    message: expect.stringMatching(/^the validation loss was not finite after any epoch/),
  });
  expect(readdirSync(store)).toEqual(['.checkpoints']);
});
