import { fileURLToPath } from 'node:url';
import { decodeUint16, listModels, readModel, referenceFiles } from '@elbo/models';
import { readTrainedModel } from '@elbo/training/evaluation/trained-model';
import { float32Initialisers } from '@elbo/training/onnx/decode';
import { loadAnyPreset } from '@elbo/training/presets';
import { presetNames } from '@elbo/training/vae/configuration';
import { describe, expect, test } from 'vitest';
import { sameClassNeighbours } from '../support/same-class-neighbours.js';

const store = fileURLToPath(new URL('../../models', import.meta.url));
const references = await listModels(store);

test('digits, clothing, digits by class, pruned digits and shapes are shipped', () => {
  const names = ['fashion-mnist', 'mnist', 'mnist-conditional', 'mnist-sparse', 'shapes'];
  expect(references.map(({ name }) => name)).toEqual(expect.arrayContaining(names));
});

describe.each(references)('the shipped model $name/$version', ({ directory, name }) => {
  test('matches its manifest, file by file, and is small', async () => {
    const { manifest } = await readModel(directory);
    const bytes = Object.values(manifest.files).reduce((total, file) => total + file.bytes, 0);
    expect(bytes).toBeLessThan(5_000_000);
  });

  test('has a map of its latent space with classes and images, in a small part of its size', async () => {
    const { reference, files, training } = (await readModel(directory)).manifest;
    if (reference === undefined) throw new Error('there are no reference data');
    expect(reference.count).toBe(Math.min(2000, training.dataset.validation_examples));
    expect(reference).toMatchObject({ map: {}, labels: {}, items: { kind: 'sprites' } });
    const bytes = referenceFiles(reference).reduce((total, file) => total + files[file].bytes, 0);
    expect(bytes).toBeLessThan(600_000);
  });

  test('records the configuration, the data and the metrics that its numbers can be made again with', async () => {
    const { manifest, configuration } = await readTrainedModel(directory);
    expect(configuration.name).toBe(name);
    expect(presetNames().some((preset) => loadAnyPreset(preset).name === name)).toBe(true);
    for (const metric of ['validation_negative_elbo', 'test_negative_elbo', 'test_negative_log_likelihood']) {
      expect(manifest.metrics[metric]?.unit, metric).toBe('nats');
    }
  });

  test('the scorer holds the same weights as encoder and decoder', async () => {
    const { graphs } = await readModel(directory);
    const scorer = float32Initialisers(graphs.scorer);
    const { weights } = await readTrainedModel(directory);
    for (const [parameter, values] of weights) expect(scorer.get(parameter), parameter).toEqual(values);
  });
});

// Of a conditional model codes hold what a class leaves open, so that its map has no classes to show.
test.each([
  ['mnist', 10, 0.8],
  ['mnist-sparse', 10, 0.8],
  ['fashion-mnist', 10, 0.6],
  ['shapes', 3, 0.45],
])('on the map of %s most neighbours have one class, of %i', async (name, classes, least) => {
  const { files, manifest } = await readModel(references.find((model) => model.name === name)?.directory ?? '');
  expect(manifest.reference?.labels?.names).toHaveLength(classes);
  const numbersOf = (file: string) => decodeUint16(Buffer.from(files.get(file) ?? []));
  const share = sameClassNeighbours(numbersOf('reference-map.u16'), numbersOf('reference-labels.u16'), 10);
  expect(share).toBeGreaterThan(least);
});

test('mnist reaches its targets: −ELBO of at most 92 nats, importance-sampled NLL of at most 88', async () => {
  const mnist = references.find(({ name }) => name === 'mnist');
  const { manifest } = await readModel(mnist?.directory ?? '');
  expect(manifest.training.dataset).toMatchObject({ train_examples: 54_000, validation_examples: 6_000 });
  expect(manifest.metrics.test_negative_elbo).toMatchObject({ split: 'test', examples: 10_000 });
  expect(manifest.metrics.test_negative_elbo.value).toBeLessThanOrEqual(92);
  expect(manifest.metrics.test_negative_log_likelihood).toMatchObject({ split: 'test', examples: 10_000 });
  expect(manifest.metrics.test_negative_log_likelihood.value).toBeLessThanOrEqual(88);
});
