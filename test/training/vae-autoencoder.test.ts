import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readModel } from '@elbo/models';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { ElboEvaluator } from '@elbo/training/evaluation/elbo';
import { evaluate } from '@elbo/training/evaluation/evaluate';
import { readTrainedModel } from '@elbo/training/evaluation/trained-model';
import { float32 } from '@elbo/training/onnx/tensor';
import { type TrainResult, train } from '@elbo/training/train';
import { type Configuration, parseConfiguration } from '@elbo/training/vae/configuration';
import { buildModel } from '@elbo/training/vae/model';
import { beforeAll, describe, expect, test } from 'vitest';
import { bytesOf } from '../support/examples.js';
import { suiteDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';
import { crossEntropy, decode, dense } from './support/reference-mlp.js';

// An autoencoder: z is the encoder's mean, the loss is the reconstruction, and the prior is fitted afterwards.

const engine = new OnnxRuntimeEngine(1);
const dataset = barsDataset(1500, 300);
const tiny = (changes: Partial<Configuration> = {}) =>
  tinyConfiguration({
    family: 'autoencoder',
    prior: 'gaussian-mixture',
    prior_components: 6,
    kl_warm_up_fraction: 0,
    binarisation: 'none',
    activation: 'relu',
    epochs: 25,
    latent_size: 5,
    encoder: { convolutions: [], hidden: [24] },
    decoder: { convolutions: [], hidden: [24] },
    ...changes,
  });

async function exported(configuration: Configuration, store: string): Promise<TrainResult> {
  const result = await train({ engine, configuration, dataset, store });
  if (result === undefined) throw new Error('the run stopped');
  return result;
}

const relu = (values: readonly number[]) => values.map((value) => Math.max(0, value));
const inputs = Array.from({ length: 8 }, () => [] as number[]);
for (const [i, byte] of (await bytesOf(dataset.test)).subarray(0, 8 * 36).entries()) {
  inputs[Math.floor(i / 36)].push(byte / 255);
}
const x = float32(Float32Array.from(inputs.flat()), [8, 1, 6, 6]);

describe('an autoencoder that was trained', () => {
  const store = suiteDirectory();
  let result: TrainResult;
  beforeAll(async () => {
    result = await exported(tiny(), store());
  });

  test('reconstructs better than the VAE of its layers', async () => {
    const vae = await exported(tiny({ family: 'vae', prior: 'standard-normal', name: 'vae' }), store());
    const reconstruction = (of: TrainResult) => of.manifest.metrics.test_reconstruction.value;
    expect(reconstruction(result)).toBeLessThan(reconstruction(vae) - 1);
  });

  test('exports its mean, a constant log variance, and a decoder, as the layers compute them', async () => {
    const { weights } = await readTrainedModel(result.directory);
    const { graphs } = await readModel(result.directory);
    const encoder = await engine.load(graphs.encoder);
    const { mean, log_variance } = await encoder.run({ x });
    expect(log_variance.shape).toEqual([8, 5]);
    expect(new Set(log_variance.data as Float32Array)).toEqual(new Set([-10]));
    const decoder = await engine.load(graphs.decoder);
    const { x_mean } = await decoder.run({ z: mean });
    for (const [i, row] of inputs.entries()) {
      const z = dense(relu(dense(row, weights, 'encoder.0')), weights, 'encoder.mean');
      for (const [j, value] of z.entries()) expect(Number(mean.data[i * 5 + j])).toBeCloseTo(value, 4);
      const pixels = decode(z, weights, 1).map((logit) => 1 / (1 + Math.exp(-logit)));
      for (const [j, value] of pixels.entries()) expect(Number(x_mean.data[i * 36 + j])).toBeCloseTo(value, 4);
    }
    await encoder.release();
    await decoder.release();
  });

  test('is measured by its reconstruction, with no noise, and has no ELBO', async () => {
    const { manifest, directory } = result;
    expect(Object.keys(manifest.metrics).sort()).toEqual(['test_reconstruction', 'validation_reconstruction']);
    const { weights, model } = await readTrainedModel(directory);
    const bytes = await bytesOf(dataset.test);
    let nats = 0;
    for (let i = 0; i < dataset.test.count; i++) {
      const row = Array.from(bytes.subarray(i * 36, (i + 1) * 36), (byte) => byte / 255);
      const z = dense(relu(dense(row, weights, 'encoder.0')), weights, 'encoder.mean');
      nats += crossEntropy(row, decode(z, weights, 1)) / dataset.test.count;
    }
    expect(manifest.metrics.test_reconstruction.value).toBeCloseTo(nats, 3);
    const evaluator = await ElboEvaluator.create(engine, model, { examples: dataset.test, seed: 9, binarise: false });
    const { negativeElbo, kl } = await evaluator.evaluate(weights);
    expect(kl).toBe(0);
    expect(negativeElbo).toBeCloseTo(nats, 3);
    await evaluator.release();
    const asked = { engine, model, weights, examples: dataset.test, split: 'test', seed: 1, binarise: false };
    await expect(evaluate({ ...asked, metrics: ['nll'] })).rejects.toThrow(/^metric nll needs a distribution of z/);
    expect(readFileSync(join(directory, 'training-curves.svg'), 'utf8')).not.toContain('ELBO');
  });

  test('is scored by what varies, the same at every place of a batch', async () => {
    const { manifest, directory } = result;
    expect(manifest.scorer.components).toEqual([
      ...['reconstruction', 'reconstruction_peak', 'kl', 'nats_by_contrast', 'nats_by_variation', 'mahalanobis'],
      'latent_density',
    ]);
    const scorer = await engine.load((await readModel(directory)).graphs.scorer);
    const outputs = await scorer.run({ x });
    expect(Object.keys(outputs).sort()).toEqual([...manifest.scorer.components, 'error_map', 'score'].sort());
    for (const name of manifest.scorer.components) expect(new Set(outputs[name].data as Float32Array).size).toBe(8);
    const turned = [...inputs.slice(3), ...inputs.slice(0, 3)];
    const again = await scorer.run({ x: float32(Float32Array.from(turned.flat()), [8, 1, 6, 6]) });
    const scores = [...(again.score.data as Float32Array)];
    expect([...scores.slice(5), ...scores.slice(0, 5)]).toEqual([...(outputs.score.data as Float32Array)]);
    await scorer.release();
  });
});

test('has no parameters of a posterior variance', () => {
  expect(buildModel(tiny(), [1, 6, 6]).parameters.filter(({ name }) => name.includes('log_variance'))).toEqual([]);
});

test.each([
  [
    { prior: 'standard-normal' as const },
    /^prior is standard-normal; expected gaussian-mixture for family autoencoder/,
  ],
  [{ prior: 'vamp' as const }, /^prior is vamp; expected gaussian-mixture/],
  [{ kl_warm_up_fraction: 0.1 }, /^kl_warm_up_fraction is 0.1; expected 0 for family autoencoder/],
  [
    { objective: { ...tiny().objective, beta: 2 } },
    /^objective.beta is given; expected its default for family autoenc/,
  ],
  [{ objective: { ...tiny().objective, free_bits: 1 } }, /^objective.free_bits is given; expected its default/],
  [
    { decoder: { convolutions: [], hidden: [8, 8], stochastic_layers: [{ after_layer: 0, latents: 2 }] } },
    /^decoder.stochastic_layers are given; expected none for family autoencoder/,
  ],
])('%j is refused', (changes, message) => {
  expect(() => parseConfiguration(tiny(changes))).toThrow(message);
});
