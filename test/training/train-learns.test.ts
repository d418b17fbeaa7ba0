import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { train } from '@elbo/training/train';
import { describe, expect, test } from 'vitest';
import { bytesOf } from '../support/examples.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';

const engine = new OnnxRuntimeEngine(1);

/** Nats an image of the best model that knows no structure: independent pixels with their mean brightness. */
function meanPixelEntropy(values: Uint8Array, size: number): number {
  const count = values.length / size;
  let nats = 0;
  for (let pixel = 0; pixel < size; pixel++) {
    let mean = 0;
    for (let i = pixel; i < values.length; i += size) mean += values[i] / 255 / count;
    nats -= mean * Math.log(mean) + (1 - mean) * Math.log(1 - mean);
  }
  return nats;
}

describe('training', () => {
  test('finds structure: held-out −ELBO falls well below that of independent pixels', async () => {
    const dataset = barsDataset(2000);
    const result = await train({
      engine,
      configuration: tinyConfiguration({
        epochs: 60,
        encoder: { convolutions: [], hidden: [32] },
        decoder: { convolutions: [], hidden: [32] },
        latent_size: 6,
      }),
      dataset,
      store: temporaryDirectory(),
    });
    const reached = result?.manifest.metrics.test_negative_elbo.value;
    expect(reached).toBeLessThan(0.8 * meanPixelEntropy(await bytesOf(dataset.test), 36));
    expect(result?.manifest.latent.active_units).toBeGreaterThan(1);
  });

  test('the decoder starts at the mean of the data, so that the first loss is that of independent pixels', async () => {
    const dataset = barsDataset(2000);
    let first: number | undefined;
    const controller = new AbortController();
    await train({
      engine,
      configuration: tinyConfiguration({ optimiser: { ...tinyConfiguration().optimiser, learning_rate: 1e-9 } }),
      dataset,
      store: temporaryDirectory(),
      signal: controller.signal,
      onProgress: ({ metrics }) => {
        first ??= metrics.reconstruction;
        controller.abort();
      },
    });
    const entropy = meanPixelEntropy(await bytesOf(dataset.train), 36);
    // Untrained weights add noise to the logits, so somewhat above; a decoder that starts at 1/2 would be at 36 log 2.
    expect(first).toBeGreaterThan(0.98 * entropy);
    expect(first).toBeLessThan(0.5 * (entropy + 36 * Math.log(2)));
  });

  test('stops with a clear error when the loss is no longer a number', async () => {
    const { optimiser } = tinyConfiguration();
    const configuration = tinyConfiguration({
      optimiser: { ...optimiser, kind: 'sgd', learning_rate: 10, gradient_norm_limit: 1e38 },
    });
    const store = temporaryDirectory();
    await expect(train({ engine, configuration, dataset: barsDataset(), store })).rejects.toThrow(
      /^5 steps in a row up to step \d+ of 32 had a loss or gradient that is not finite; try a lower/,
    );
  });

  test('refuses a validation part that is too small to calibrate scores', async () => {
    const store = temporaryDirectory();
    await expect(
      train({ engine, configuration: tinyConfiguration(), dataset: barsDataset(30), store }),
    ).rejects.toThrow(/15 validation examples of 30; expected at least 20/);
  });
});
