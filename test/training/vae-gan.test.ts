import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RandomSource, readModel } from '@elbo/models';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { readTrainedModel } from '@elbo/training/evaluation/trained-model';
import { inputWeights } from '@elbo/training/nn/parameters';
import { Graph } from '@elbo/training/onnx/graph';
import { float32 } from '@elbo/training/onnx/tensor';
import { type TrainOptions, train } from '@elbo/training/train';
import { type Configuration, parseConfiguration } from '@elbo/training/vae/configuration';
import { buildModel } from '@elbo/training/vae/model';
import { vaeObjective } from '@elbo/training/vae/objective';
import { expect, test } from 'vitest';
import { bytesOf } from '../support/examples.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';
import { taughtParameters } from './support/losses.js';
import { crossEntropy, decode, dense, encode, klToStandardNormal, sigmoid } from './support/reference-mlp.js';

// VAE-GAN: encoder, decoder and discriminator learn from a loss each, and the discriminator's features say what is alike.

const engine = new OnnxRuntimeEngine(1);
const SHAPE = [1, 6, 6];
const DISCRIMINATOR = {
  convolutions: [{ channels: 6, kernel: 4, stride: 2, padding: 1 }],
  hidden: [24],
  feature_layer: 0,
  feature_weight: 0.1,
  learning_rate: 5e-4,
  beta1: 0.5,
  beta2: 0.999,
};
const tiny = (changes: Partial<Configuration> = {}): Configuration =>
  tinyConfiguration({
    family: 'vae-gan',
    binarisation: 'none',
    activation: 'relu',
    kl_warm_up_fraction: 0,
    latent_size: 4,
    encoder: { convolutions: [], hidden: [32] },
    decoder: { convolutions: [], hidden: [32] },
    discriminator: DISCRIMINATOR,
    optimiser: { ...tinyConfiguration().optimiser, learning_rate: 1e-3, beta1: 0.5 },
    ...changes,
  });

test('the losses are those of the paper', async () => {
  const [batch, size] = [5, 4];
  const configuration = tiny({
    discriminator: { ...DISCRIMINATOR, convolutions: [], hidden: [10, 8], feature_layer: 1 },
  });
  const model = buildModel(configuration, SHAPE);
  const objective = vaeObjective(model, configuration);
  const random = new RandomSource(6);
  const weights = new Map(
    objective.parameters.map((p) => [
      p.name,
      p.initialise(random).map((value) => value + 0.2 * (random.uniform() - 0.5)),
    ]),
  );
  const x = Float32Array.from({ length: batch * 36 }, () => random.uniform());
  const [noise, prior] = [0, 1].map(() => random.fillNormal(new Float32Array(batch * size)));

  const graph = new Graph('step');
  const built = objective.build(
    {
      x: graph.input('x', 'float32', [batch, ...SHAPE]),
      noise: {
        z: graph.input('noise', 'float32', [batch, size]),
        prior: graph.input('prior', 'float32', [batch, size]),
      },
      scheduled: { kl_weight: graph.constant(float32([0.7], [])) },
    },
    inputWeights(graph, objective.parameters),
  );
  const values = { ...built.terms, ...built.losses };
  for (const [name, value] of Object.entries(values)) graph.output(value, `value/${name}`);
  const program = await engine.compile(graph);
  const outputs = await program.run({
    x: float32(x, [batch, ...SHAPE]),
    noise: float32(noise, [batch, size]),
    prior: float32(prior, [batch, size]),
    ...Object.fromEntries(
      objective.parameters.map(({ name, shape }) => [name, float32(weights.get(name) ?? [], shape)]),
    ),
  });
  await program.release();

  const leaky = (v: number[]) => v.map((value) => (value < 0 ? 0.2 * value : value));
  const judge = (image: readonly number[]) => {
    const features = leaky(dense(leaky(dense(image, weights, 'discriminator.0')), weights, 'discriminator.1'));
    return { features, logit: dense(features, weights, 'discriminator.output')[0] };
  };
  const softplus = (value: number) => Math.log1p(Math.exp(value));
  const images = Array.from({ length: batch }, (_, n) => Array.from(x.subarray(n * 36, (n + 1) * 36)));
  // Of features of images, on average over the features.
  const features = images.map((image) => judge(image).features);
  const means = features[0].map((_, i) => features.reduce((sum, of) => sum + of[i] / batch, 0));
  const variance =
    features.flatMap((of) => of.map((value, i) => (value - means[i]) ** 2)).reduce((sum, value) => sum + value, 0) /
    (batch * means.length);
  const expected = { reconstruction: 0, kl: 0, feature_misfit: 0, discriminator: 0, judgement: 0 };
  for (const [n, image] of images.entries()) {
    const posterior = encode(image, weights, 1, 10);
    const z = posterior.mean.map((m, j) => m + Math.exp(posterior.logVariance[j] / 2) * noise[n * size + j]);
    const logits = decode(z, weights, 1);
    const sample = decode(Array.from(prior.subarray(n * size, (n + 1) * size)), weights, 1);
    const [real, reconstructed, sampled] = [image, logits.map(sigmoid), sample.map(sigmoid)].map(judge);
    expected.reconstruction += crossEntropy(image, logits) / batch;
    expected.kl += klToStandardNormal(posterior) / batch;
    const squares = real.features.map((value, i) => (value - reconstructed.features[i]) ** 2);
    expected.feature_misfit += squares.reduce((sum, value) => sum + value, 0) / variance / 2 / batch;
    expected.discriminator += (softplus(-real.logit) + softplus(reconstructed.logit) + softplus(sampled.logit)) / batch;
    expected.judgement += (softplus(-reconstructed.logit) + softplus(-sampled.logit)) / batch;
  }
  const of = (name: string) => Number(outputs[`value/${name}`].data[0]);
  expect(of('loss')).toBeCloseTo(expected.reconstruction + expected.kl, 3);
  expect(of('kl')).toBeCloseTo(expected.kl, 4);
  expect(of('feature_misfit')).toBeCloseTo(expected.feature_misfit, 4);
  expect(of('encoder')).toBeCloseTo(0.7 * expected.kl + expected.feature_misfit, 4);
  expect(of('decoder')).toBeCloseTo(0.1 * expected.feature_misfit + expected.judgement, 4);
  expect(of('discriminator')).toBeCloseTo(expected.discriminator, 4);
});

test('each loss teaches its own network, by its own slope, and together they teach every parameter', async () => {
  const configuration = tiny({ activation: 'tanh' });
  const model = buildModel(configuration, SHAPE);
  const objective = vaeObjective(model, configuration);
  const taught = await taughtParameters(objective, SHAPE, { kl_weight: 1 });
  for (const { loss, parameter, gradient, difference } of taught) {
    expect(parameter.startsWith(`${loss}.`), `${loss} by ${parameter}`).toBe(true);
    expect(Math.abs(gradient), parameter).toBeGreaterThan(1e-4);
    expect(Math.abs(gradient / difference - 1), `${loss} by ${parameter}`).toBeLessThan(0.05);
  }
  expect(taught.map(({ parameter }) => parameter).sort()).toEqual(objective.parameters.map(({ name }) => name).sort());
});

test('trains, exports its last epoch, and leaves the discriminator behind', async () => {
  const losses: number[] = [];
  const dataset = barsDataset(1500, 300);
  const result = await train({
    engine,
    configuration: tiny({ epochs: 30, latent_size: 6, objective: { ...tiny().objective, beta: 0.3 } }),
    dataset,
    store: temporaryDirectory(),
    onEpoch: ({ validation }) => losses.push(validation?.loss ?? Number.NaN),
  });
  if (result === undefined) throw new Error('the run stopped');
  expect(result.bestEpoch).toBe(30);
  expect(result.manifest.metrics.validation_negative_elbo.value).toBeCloseTo(losses.at(-1) ?? Number.NaN, 3);

  // Nothing but the discriminator tells encoder and decoder what images look like.
  const images = Float32Array.from(await bytesOf(dataset.test), (byte) => byte / 255);
  const { graphs } = await readModel(result.directory);
  const [encoder, decoder] = await Promise.all([engine.load(graphs.encoder), engine.load(graphs.decoder)]);
  const { mean: z } = await encoder.run({ x: float32(images, [300, ...SHAPE]) });
  const { x_mean } = await decoder.run({ z });
  await encoder.release();
  await decoder.release();
  const brightness = Float64Array.from({ length: 36 }, (_, pixel) =>
    images.reduce((sum, value, at) => (at % 36 === pixel ? sum + value / 300 : sum), 0),
  );
  const squares = (guess: (at: number) => number) =>
    images.reduce((sum, value, at) => sum + (value - guess(at)) ** 2, 0);
  const [misfit, spread] = [squares((at) => Number(x_mean.data[at])), squares((at) => brightness[at % 36])];
  expect(misfit).toBeLessThan(0.7 * spread);

  for (const file of Object.keys(result.manifest.files)) {
    expect(readFileSync(`${result.directory}/${file}`).includes('discriminator'), file).toBe(false);
  }
  const { model } = await readTrainedModel(result.directory);
  expect(model.parameters.some(({ name }) => name.startsWith('discriminator'))).toBe(false);
});

test('a run that was interrupted and resumed equals one that was not, skipped steps and all', async () => {
  // Near the median of the encoder's, the longest.
  const optimiser = { ...tiny().optimiser, skip_gradient_norm: 3.5 };
  const run = async (store: string, changes: Partial<TrainOptions>) =>
    train({
      engine,
      configuration: tiny({ epochs: 4, batch_size: 16, optimiser }),
      dataset: barsDataset(640),
      store,
      ...changes,
    });
  const [whole, broken] = [temporaryDirectory(), temporaryDirectory()];
  const expected = await run(whole, {});
  const interruption = new AbortController();
  const stopped = await run(broken, {
    signal: interruption.signal,
    onProgress: ({ epoch }) => {
      if (epoch === 1) interruption.abort();
    },
  });
  expect(stopped).toBeUndefined();
  const resumed = await run(broken, { resume: true });
  if (expected === undefined || resumed === undefined) throw new Error('a run stopped');
  expect(resumed.bestEpoch).toBe(4);
  const { skipped_steps: skipped = 0, steps } = expected.manifest.training;
  expect(skipped).toBeGreaterThan(0);
  expect(skipped).toBeLessThan(steps);
  expect(resumed.manifest.training.skipped_steps).toBe(skipped);
  for (const file of ['encoder.onnx', 'decoder.onnx', 'scorer.onnx', 'training-curves.svg']) {
    const [ours, theirs] = [resumed, expected].map(({ directory }) => readFileSync(join(directory, file)));
    expect(ours.equals(theirs), file).toBe(true);
  }
});

test.each<[Partial<Configuration>, RegExp]>([
  [{ likelihood: 'gaussian' }, /^likelihood is gaussian; expected bernoulli for family vae-gan/],
  [{ binarisation: 'dynamic' }, /^binarisation is dynamic; expected none for family vae-gan/],
  [{ prior: 'vamp' }, /^prior is vamp; expected standard-normal or gaussian-mixture for family vae-gan/],
  [{ dropout: { ...tiny().dropout, kind: 'sparse' } }, /^dropout.kind is sparse; expected none for family vae-gan/],
  [
    { objective: { ...tiny().objective, free_bits: 1 } },
    /^objective.free_bits is given; expected its default for family vae-gan, whose objective has beta and kl_cycles/,
  ],
  [
    { decoder: { convolutions: [], hidden: [8, 8], stochastic_layers: [{ after_layer: 0, latents: 2 }] } },
    /^decoder.stochastic_layers are given; expected none for family vae-gan/,
  ],
  [
    { discriminator: { ...DISCRIMINATOR, convolutions: [], hidden: [] } },
    /^discriminator has neither convolutions nor/,
  ],
  [
    { discriminator: { ...DISCRIMINATOR, feature_layer: 2 } },
    /^discriminator.feature_layer is 2; expected less than 2/,
  ],
])('%j is refused', (changes, message) => {
  expect(() => parseConfiguration(tiny(changes))).toThrow(message);
});

test('a discriminator that does not fit the images is refused by its name', () => {
  const configuration = tiny({
    discriminator: { ...DISCRIMINATOR, convolutions: [{ channels: 2, kernel: 9, stride: 1, padding: 0 }] },
  });
  expect(() => vaeObjective(buildModel(configuration, SHAPE), configuration)).toThrow(
    /^discriminator.convolutions.0: a kernel of 9 with padding 0 does not fit maps of 6x6/,
  );
});
