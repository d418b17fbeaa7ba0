import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { listModels } from '@elbo/models';
import { type ClassifierConfiguration, parseClassifierConfiguration } from '@elbo/training/classifier/configuration';
import { readClassifier } from '@elbo/training/classifier/record';
import { type ClassifierEpoch, trainClassifier } from '@elbo/training/classifier/train';
import { type Dataset, subset } from '@elbo/training/data/dataset';
import { loadDataset } from '@elbo/training/data/datasets';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { firstInputs } from '@elbo/training/evaluation/batches';
import { loadAnyPreset } from '@elbo/training/presets';
import { beforeAll, describe, expect, test } from 'vitest';
import { suiteDirectory, temporaryDirectory } from '../support/temporary-directory.js';

const engine = new OnnxRuntimeEngine(1);
const directories = suiteDirectory();

const lenet = parseClassifierConfiguration(loadAnyPreset('lenet-300-100'));
const configuration: ClassifierConfiguration = {
  ...lenet,
  name: 'small',
  dataset: 'shapes',
  encoder: {
    convolutions: [
      { channels: 8, kernel: 4, stride: 4, padding: 0 },
      { channels: 16, kernel: 4, stride: 2, padding: 1 },
    ],
    hidden: [24],
  },
  // So few examples would not pay for the weights' whole KL.
  dropout: { ...lenet.dropout, log_variance: -6, weight: 0.02, warm_up_fraction: 0.5 },
  batch_size: 32,
  epochs: 16,
  optimiser: { ...lenet.optimiser, learning_rate: 0.01 },
};

describe('a classifier', () => {
  let dataset: Dataset;
  let directory: string;
  let store: string;
  const epochs: ClassifierEpoch[] = [];
  beforeAll(async () => {
    dataset = await loadDataset('shapes', { limit: 2000, seed: 1 });
    store = directories();
    const result = await trainClassifier({ engine, configuration, dataset, store, onEpoch: (e) => epochs.push(e) });
    if (result === undefined) throw new Error('the run stopped');
    directory = result.directory;
  });

  test('learns to tell shapes apart, with a part of its weights', async () => {
    const { record } = await readClassifier(engine, directory);
    // Guessing is wrong twice in three times.
    expect(record.metrics.test_error.value).toBeLessThan(33);
    expect(record.sparsity.compression).toBeGreaterThan(1.3);
    expect(record.sparsity.layers.map(({ name }) => name)).toEqual([
      'encoder.0.weight',
      'encoder.1.weight',
      'encoder.2.weight',
      'logits.weight',
    ]);
    const total = (field: 'weights' | 'non_zero') =>
      record.sparsity.layers.reduce((sum, layer) => sum + layer[field], 0);
    expect(record.sparsity).toMatchObject({ weights: total('weights'), non_zero: total('non_zero') });
    expect(total('weights')).toBe(16 * (8 + 8 * 16) + 16 * 16 * 24 + 24 * 3);
  });

  test('gives logits and features whose errors are those of its record', async () => {
    const { record, program } = await readClassifier(engine, directory);
    const { count } = dataset.test;
    const { logits, features } = await program.run(await firstInputs(dataset.test, { count }));
    expect(features.shape).toEqual([count, record.features]);
    expect(record).toMatchObject({ features: 24, classes: 3 });
    const labels = dataset.test.labels ?? new Uint8Array();
    let wrong = 0;
    for (let i = 0; i < count; i++) {
      const row = Array.from(logits.data as Float32Array).slice(3 * i, 3 * i + 3);
      if (row.some((value, j) => j !== labels[i] && value > row[labels[i]])) wrong++;
    }
    expect(record.metrics.test_error.value).toBeCloseTo((100 * wrong) / count, 10);
    await program.release();
  });

  test('is no model of a store, and refuses an altered file', async () => {
    expect(readdirSync(directory).sort()).toEqual(['classifier.json', 'classifier.onnx']);
    expect(await listModels(store)).toEqual([]);
    const copy = temporaryDirectory();
    const record = readFileSync(join(directory, 'classifier.json'));
    const graph = readFileSync(join(directory, 'classifier.onnx'));
    writeFileSync(join(copy, 'classifier.json'), record);
    graph[graph.length >> 1] ^= 1;
    writeFileSync(join(copy, 'classifier.onnx'), graph);
    await expect(readClassifier(engine, copy)).rejects.toThrow(/classifier\.onnx: SHA-256 is/);
    writeFileSync(join(copy, 'classifier.json'), record.toString().replace('"classes": 3', '"classes": 0'));
    await expect(readClassifier(engine, copy)).rejects.toThrow(/classifier\.json: classes must be >= 1/);
    writeFileSync(join(copy, 'classifier.json'), '{');
    await expect(readClassifier(engine, copy)).rejects.toThrow(/classifier\.json: not JSON/);
    await expect(readClassifier(engine, join(copy, 'nowhere'))).rejects.toThrow(/no such classifier/);
  });

  test('refuses examples without classes', async () => {
    const { labels: _, ...train } = subset(dataset.train, [...Array(100).keys()]);
    await expect(
      trainClassifier({ engine, configuration, dataset: { ...dataset, train }, store: temporaryDirectory() }),
    ).rejects.toThrow(/^the examples have no classes; expected the class of each$/);
  });
});

test.each<[string, unknown, RegExp]>([
  ['latent_size', 3, /^latent_size is not a field of a configuration/],
  ['encoder', { hidden: [] }, /^encoder has neither convolutions nor hidden layers/],
  ['dropout', { kind: 'sparse', parts: ['encoder'] }, /^dropout\.parts is not a field/],
  [
    'optimiser',
    { ...lenet.optimiser, kind: 'adamw', weight_decay: 0.1 },
    /^optimiser\.weight_decay is 0\.1; expected 0 with dropout\.kind sparse/,
  ],
  ['epochs', 0, /^epochs must be >= 1/],
])('%s = %j is refused by name', (field, value, message) => {
  expect(() => parseClassifierConfiguration({ ...lenet, [field]: value })).toThrow(message);
});
