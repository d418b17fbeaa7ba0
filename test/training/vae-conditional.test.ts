import { RandomSource, readModel } from '@elbo/models';
import { type Dataset, type Examples, inMemory } from '@elbo/training/data/dataset';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { oneHotRows } from '@elbo/training/evaluation/batches';
import { evaluate } from '@elbo/training/evaluation/evaluate';
import { readTrainedModel } from '@elbo/training/evaluation/trained-model';
import { float32 } from '@elbo/training/onnx/tensor';
import { train } from '@elbo/training/train';
import { parseConfiguration } from '@elbo/training/vae/configuration';
import { beforeAll, describe, expect, test } from 'vitest';
import { suiteDirectory, temporaryDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';

const engine = new OnnxRuntimeEngine(1);
const newStore = suiteDirectory();
const SIDE = 6;

/** Images of one bar; its row is the class, its brightness is left to the latent variables. */
function labelledBars(count: number, seed: number): Examples {
  const random = new RandomSource(seed);
  const labels = Uint8Array.from({ length: count }, () => random.integer(SIDE));
  const values = new Uint8Array(count * SIDE * SIDE);
  for (const [i, label] of labels.entries()) {
    const start = i * SIDE * SIDE + label * SIDE;
    values.fill(60 + random.integer(196), start, start + SIDE);
  }
  return inMemory(values, [1, SIDE, SIDE], { labels });
}

const dataset: Dataset = {
  ...barsDataset(1, 1),
  name: 'labelled-bars',
  train: labelledBars(1500, 1),
  test: labelledBars(300, 2),
};
const configuration = tinyConfiguration({
  conditional: true,
  binarisation: 'none',
  epochs: 40,
  latent_size: 2,
  encoder: { convolutions: [], hidden: [24] },
  decoder: { convolutions: [], hidden: [24] },
});

describe('a conditional model', () => {
  let directory: string;
  beforeAll(async () => {
    const result = await train({ engine, configuration, dataset, store: newStore() });
    if (result === undefined) throw new Error('the run was stopped');
    directory = result.directory;
  });

  test('says in its manifest which classes it knows, and how frequent they are', async () => {
    const { manifest } = await readModel(directory);
    expect(manifest.condition?.classes).toBe(SIDE);
    const total = manifest.condition?.frequencies.reduce((sum, share) => sum + share, 0);
    expect(total).toBeCloseTo(1, 9);
  });

  test('decodes samples of the class that is asked for', async () => {
    const { graphs } = await readModel(directory);
    const decoder = await engine.load(graphs.decoder);
    const z = new RandomSource(3).fillNormal(new Float32Array(SIDE * 4 * 2));
    const classes = Array.from({ length: SIDE * 4 }, (_, i) => i % SIDE);
    const { x_mean } = await decoder.run({ z: float32(z, [SIDE * 4, 2]), label: oneHotRows(classes, SIDE) });
    await decoder.release();
    for (const [i, label] of classes.entries()) {
      const rows = Array.from({ length: SIDE }, (_, row) => {
        const at = i * SIDE * SIDE + row * SIDE;
        return (x_mean.data as Float32Array).subarray(at, at + SIDE).reduce((sum, pixel) => sum + pixel, 0);
      });
      expect(rows.indexOf(Math.max(...rows))).toBe(label);
    }
  });

  test('needs fewer nats with the class than a model without, and comes back to measure the same', async () => {
    const { model, weights, manifest } = await readTrainedModel(directory);
    const again = await evaluate({
      engine,
      model,
      weights,
      examples: dataset.test,
      split: 'test',
      metrics: ['elbo', 'nll'],
      samples: 20,
      seed: configuration.seed,
      binarise: false,
    });
    const { test_negative_elbo: recorded } = manifest.metrics;
    expect(again.test_negative_elbo.value).toBeCloseTo(recorded.value, 3);
    expect(again.test_negative_log_likelihood.value).toBeLessThan(recorded.value);
    const without = await train({
      engine,
      configuration: { ...configuration, conditional: false },
      dataset,
      store: temporaryDirectory(),
    });
    // Which of six rows it is takes log 6 nats.
    expect(recorded.value).toBeLessThan(
      (without?.manifest.metrics.test_negative_elbo.value ?? 0) - 0.5 * Math.log(SIDE),
    );
  });
});

test('data without classes are refused', async () => {
  const { labels: _, ...unlabelled } = dataset.train;
  await expect(
    train({ engine, configuration, dataset: { ...dataset, train: unlabelled }, store: temporaryDirectory() }),
  ).rejects.toThrow(/conditional is true; expected a data set with the class of each example/);
});

test('data of one class are refused before training, as is a test part without classes', async () => {
  const { train: examples, test: heldOut } = dataset;
  const one = (part: Examples) => ({ ...part, labels: new Uint8Array(part.count) });
  const { labels: _, ...unlabelled } = heldOut;
  for (const changed of [{ train: one(examples), test: one(heldOut) }, { test: unlabelled }]) {
    await expect(
      train({ engine, configuration, dataset: { ...dataset, ...changed }, store: temporaryDirectory() }),
    ).rejects.toThrow(/^conditional is true; expected a data set with the class of each example, of two classes/);
  }
});

test('a class that only the test part has is known to the model', async () => {
  const labels = dataset.test.labels?.slice() ?? new Uint8Array();
  labels[0] = SIDE;
  const result = await train({
    engine,
    configuration: { ...configuration, epochs: 1 },
    dataset: { ...dataset, test: { ...dataset.test, labels } },
    store: temporaryDirectory(),
  });
  expect(result?.manifest.condition).toMatchObject({ classes: SIDE + 1 });
  expect(result?.manifest.condition?.frequencies.at(-1)).toBe(0);
});

test('a VampPrior, whose pseudo-inputs have no class, is refused', () => {
  expect(() => parseConfiguration({ ...configuration, prior: 'vamp' })).toThrow(
    /prior is vamp; expected .* conditional/,
  );
});
