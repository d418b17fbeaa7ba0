import { readModel } from '@elbo/models';
import { createEngine, ENGINES } from '@elbo/training/engines/create-engine';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { evaluate } from '@elbo/training/evaluation/evaluate';
import { readTrainedModel } from '@elbo/training/evaluation/trained-model';
import { summarise } from '@elbo/training/onnx/decode';
import { train } from '@elbo/training/train';
import { describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';

const convolution = (channels: number) => ({ channels, kernel: 3, stride: 1, padding: 1 });
const configuration = tinyConfiguration({
  epochs: 7,
  batch_size: 16,
  optimiser: { ...tinyConfiguration().optimiser, learning_rate: 0.01 },
  encoder: { convolutions: [convolution(6), { ...convolution(8), stride: 2 }], hidden: [] },
  decoder: { convolutions: [{ ...convolution(8), stride: 2 }, convolution(6)], hidden: [] },
  weight_average_decay: 0.9,
});

describe.each(ENGINES)('a convolutional VAE trained on %s', (name) => {
  test('learns, is exported as convolutions, and its files give the numbers that were measured', async () => {
    const engine = await createEngine({ engine: name, device: 'cpu', threads: 1 });
    const dataset = barsDataset(400);
    const losses: number[] = [];
    const result = await train({
      engine,
      configuration,
      dataset,
      store: temporaryDirectory(),
      onEpoch: ({ validation }) => losses.push(validation?.loss ?? Number.NaN),
    });
    if (result === undefined) throw new Error('the run stopped');
    expect(losses.at(-1)).toBeLessThan(0.97 * losses[0]);
    const { manifest, directory } = result;
    expect(manifest.training).toMatchObject({ engine: name, device: 'cpu', skipped_steps: 0 });

    const { graphs } = await readModel(directory);
    expect(summarise(graphs.encoder).operators).toMatchObject({ Conv: 2 });
    expect(summarise(graphs.decoder).operators).toMatchObject({ ConvTranspose: 2 });

    // What either engine trained, ONNX Runtime measures alike.
    const { model, weights } = await readTrainedModel(directory);
    const measured = await evaluate({
      engine: new OnnxRuntimeEngine(1),
      model,
      weights,
      examples: dataset.test,
      split: 'test',
      metrics: ['elbo'],
      seed: configuration.seed,
      binarise: true,
    });
    expect(measured.test_negative_elbo.value).toBeCloseTo(manifest.metrics.test_negative_elbo.value, 3);
  }, 180_000);
});

test.each(['encoder', 'decoder'] as const)('convolutions in the %s alone are trained and exported', async (part) => {
  const dense = { convolutions: [], hidden: [8] };
  const result = await train({
    engine: new OnnxRuntimeEngine(1),
    configuration: { ...configuration, epochs: 1, encoder: dense, decoder: dense, [part]: configuration[part] },
    dataset: barsDataset(200),
    store: temporaryDirectory(),
  });
  expect(result?.parity).toBeLessThan(1e-4);
});
