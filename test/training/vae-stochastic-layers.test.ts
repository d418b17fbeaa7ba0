import { RandomSource } from '@elbo/models';
import { inMemory } from '@elbo/training/data/dataset';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { logSumExp, negativeLogLikelihood } from '@elbo/training/evaluation/elbo';
import { constantWeights, type WeightValues } from '@elbo/training/nn/parameters';
import { Graph } from '@elbo/training/onnx/graph';
import { float32 } from '@elbo/training/onnx/tensor';
import { train } from '@elbo/training/train';
import { type Configuration, parseConfiguration } from '@elbo/training/vae/configuration';
import { buildModel } from '@elbo/training/vae/model';
import { describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';
import { numbersOf } from './support/harness.js';

const engine = new OnnxRuntimeEngine(1);
const convolutions = (...channels: number[]) =>
  channels.map((count) => ({ channels: count, kernel: 4, stride: 2, padding: 1 }));

/** Every parameter drawn, so that none is 0. */
function drawnWeights(model: ReturnType<typeof buildModel>, scale = 0.7): WeightValues {
  const random = new RandomSource(3);
  return new Map(
    model.parameters.map(({ name, shape }) => [
      name,
      random.fillNormal(new Float32Array(shape.reduce((a, b) => a * b, 1))).map((value) => scale * value),
    ]),
  );
}

test('the likelihood is the integral over the latent variables of both layers, each with its own prior', async () => {
  const configuration = tinyConfiguration({
    latent_size: 1,
    activation: 'tanh',
    encoder: { convolutions: [], hidden: [4] },
    decoder: { convolutions: [], hidden: [3], stochastic_layers: [{ after_layer: 0, latents: 1 }] },
  });
  const model = buildModel(configuration, [1, 2, 2]);
  // The posteriors stay near the priors, proposals that miss nothing.
  const weights = new Map(
    [...drawnWeights(model)].map(([name, values]) => [
      name,
      /^encoder\.(mean|log_variance)|posterior/.test(name) ? values.map((value) => 0.1 * value) : values,
    ]),
  );
  const bytes = Uint8Array.of(255, 0, 255, 255);
  const x = Array.from(bytes, (byte) => byte / 255);
  const of = (name: string) => Array.from(weights.get(`decoder.${name}`) ?? []);
  const layer = (name: string, input: readonly number[]) => {
    const [w, b] = [of(`${name}.weight`), of(`${name}.bias`)];
    return b.map((bias, j) => input.reduce((sum, value, i) => sum + value * w[i * b.length + j], bias));
  };
  const logNormal = (z: number, mean: number, logVariance: number) =>
    -0.5 * ((z - mean) ** 2 / Math.exp(logVariance) + logVariance + Math.log(2 * Math.PI));

  const step = 0.1;
  const terms: number[] = [];
  for (let top = -6; top <= 6; top += step) {
    const h = layer('0', [top]).map(Math.tanh);
    const [mean, logVariance] = layer('0.stochastic.prior', h);
    const sigma = Math.exp(logVariance / 2);
    for (let lower = mean - 6 * sigma; lower <= mean + 6 * sigma; lower += step * sigma) {
      const joined = layer('0.stochastic.latents', [lower]).map((value, i) => value + h[i]);
      const logits = layer('output', joined);
      const misfit = logits.reduce((sum, l, i) => sum + Math.log1p(Math.exp(l)) - x[i] * l, 0);
      terms.push(logNormal(top, 0, 0) + logNormal(lower, mean, logVariance) - misfit + Math.log(step * step * sigma));
    }
  }
  const { negativeLogLikelihood: estimate } = await negativeLogLikelihood(
    engine,
    model,
    weights,
    { examples: inMemory(bytes, [1, 2, 2]), seed: 1, binarise: true },
    { samples: 100_000 },
  );
  expect(estimate).toBeCloseTo(-logSumExp(terms), 2);
});

const SHAPES: Readonly<Record<string, Pick<Configuration, 'encoder' | 'decoder'> & { latents: number }>> = {
  'dense layers': {
    encoder: { convolutions: [], hidden: [16, 12] },
    decoder: {
      convolutions: [],
      hidden: [8, 12],
      stochastic_layers: [
        { after_layer: 0, latents: 2 },
        { after_layer: 1, latents: 3 },
      ],
    },
    latents: 3 + 2 + 3,
  },
  maps: {
    encoder: { convolutions: convolutions(3, 4), hidden: [6] },
    decoder: {
      hidden: [5],
      convolutions: convolutions(4, 3),
      stochastic_layers: [
        { after_layer: 0, latents: 2 },
        { after_layer: 1, latents: 2 },
        { after_layer: 2, latents: 1 },
      ],
    },
    // Maps of 1 x 1 and 3 x 3.
    latents: 3 + 2 + 2 + 9,
  },
};

describe.each(Object.entries(SHAPES))('stochastic layers between %s', (_name, { latents, ...networks }) => {
  const model = buildModel(tinyConfiguration(networks), [1, 6, 6]);
  const weights = drawnWeights(model, 0.3);

  test('add their latent variables to those of the first', () => {
    expect(model.latentSize).toBe(latents);
  });

  test('what inference decodes is what its z decodes to, and N(mean, variance) what z is drawn from', async () => {
    const [rows, samples] = [3, 4];
    const graph = new Graph('both');
    const constants = constantWeights(graph, weights);
    const x = graph.input('x', 'float32', [rows, 1, 6, 6]);
    const noise = graph.input('noise', 'float32', [rows * samples, latents]);
    const { posterior, z, decode } = model.infer(x, constants, { noise, samples });
    for (const [name, tensor] of Object.entries({
      z,
      ...posterior,
      decoded: decode(),
      again: model.decode(z, constants),
    }))
      graph.output(tensor, name);
    const random = new RandomSource(5);
    const drawn = random.fillNormal(new Float32Array(rows * samples * latents));
    const program = await engine.compile(graph);
    const outputs = await program.run({
      x: float32(
        Float32Array.from({ length: rows * 36 }, () => random.uniform()),
        [rows, 1, 6, 6],
      ),
      noise: float32(drawn, [rows * samples, latents]),
    });
    await program.release();
    const [all, mean, logVariance, decoded, again] = ['z', 'mean', 'logVariance', 'decoded', 'again'].map((name) =>
      numbersOf(outputs[name]),
    );
    for (const [i, value] of decoded.entries()) expect(again[i]).toBeCloseTo(value, 4);
    for (const [i, value] of all.entries()) {
      expect(mean[i] + Math.exp(logVariance[i] / 2) * drawn[i]).toBeCloseTo(value, 4);
    }
    // Samples of one example share the first layer's posterior; lower ones see different z.
    expect(mean.slice(0, 3)).toEqual(mean.slice(latents, latents + 3));
    expect(mean.slice(3, latents)).not.toEqual(mean.slice(latents + 3, 2 * latents));
  });
});

test('two layers train, export and come back', async () => {
  const sizes = new Set<number | undefined>();
  const result = await train({
    engine,
    configuration: tinyConfiguration({
      epochs: 40,
      latent_size: 3,
      encoder: { convolutions: [], hidden: [32, 16] },
      decoder: { convolutions: [], hidden: [16, 32], stochastic_layers: [{ after_layer: 1, latents: 4 }] },
    }),
    dataset: barsDataset(2000),
    store: temporaryDirectory(),
    onEpoch: ({ latentSize }) => sizes.add(latentSize),
  });
  expect(sizes).toEqual(new Set([7]));
  const { metrics, latent, prior } = result?.manifest ?? {};
  expect(latent?.size).toBe(7);
  expect(latent?.kl_per_dimension).toHaveLength(7);
  expect(prior).toEqual({ kind: 'standard-normal' });
  // Independent pixels need some 19 nats.
  expect(metrics?.test_negative_elbo.value).toBeLessThan(15);
});

const withLayers = (...layers: { after_layer: number; latents: number }[]) =>
  tinyConfiguration({
    encoder: { convolutions: convolutions(3), hidden: [6] },
    decoder: { hidden: [5], convolutions: convolutions(4, 3), stochastic_layers: layers },
  });

test.each([
  [withLayers({ after_layer: 3, latents: 1 }), /stochastic_layers.0.after_layer is 3; expected 0 to 2/],
  [
    withLayers({ after_layer: 1, latents: 1 }, { after_layer: 1, latents: 1 }),
    /stochastic_layers.1.after_layer is 1; expected 2 to 2/,
  ],
  [withLayers({ after_layer: 1, latents: 1 }), /maps of 1x1 come out of layer 1; expected .* 3x3/],
])('places that do not fit are refused', (configuration, message) => {
  expect(() => buildModel(configuration, [1, 6, 6])).toThrow(message);
});

test('more latent dimensions than a score can be made of are refused before training', () => {
  const configuration = withLayers({ after_layer: 2, latents: 300 });
  expect(() => buildModel(configuration, [1, 6, 6])).toThrow(
    /^the stochastic layers have 2703 latent dimensions; expected at most 2048/,
  );
});

test('a doubly reparameterised gradient is refused, as posteriors depend on samples', () => {
  const configuration = withLayers({ after_layer: 0, latents: 1 });
  const objective = { ...configuration.objective, importance_samples: 5, doubly_reparameterised: true };
  expect(() => parseConfiguration({ ...configuration, objective })).toThrow(
    /doubly_reparameterised is true; expected false/,
  );
});
