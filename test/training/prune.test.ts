import { RandomSource } from '@elbo/models';
import { decoderGraph, encoderGraph } from '@elbo/training/export/graphs';
import { largestDifference, PARITY_LIMIT } from '@elbo/training/export/parity';
import { ACTIVATIONS, type ActivationName } from '@elbo/training/nn/layers';
import { elementCount, float32 } from '@elbo/training/onnx/tensor';
import { prune } from '@elbo/training/prune/prune';
import type { Configuration } from '@elbo/training/vae/configuration';
import { buildModel, type Model } from '@elbo/training/vae/model';
import { describe, expect, test } from 'vitest';
import { tinyConfiguration } from './support/bars.js';
import { engine } from './support/harness.js';

const SHAPE = [1, 6, 6];
const ROWS = 7;

type Values = Map<string, Float32Array>;

function randomValues(model: Model, seed = 1): Values {
  const random = new RandomSource(seed);
  return new Map(
    model.parameters.map(({ name, shape }) => [
      name,
      random.fillNormal(new Float32Array(elementCount(shape))).map((value) => 0.5 * value),
    ]),
  );
}

/** Sets the weights to 0 whose place on an axis is in [start, start + span). */
function clear(model: Model, values: Values, name: string, axis: number, start: number, span = 1): void {
  const shape = model.parameters.find((parameter) => parameter.name === name)?.shape;
  const data = values.get(name);
  if (shape === undefined || data === undefined) throw new Error(`there is no ${name}`);
  const inner = shape.slice(axis + 1).reduce((product, length) => product * length, 1);
  for (let i = 0; i < data.length; i++) {
    const place = Math.floor(i / inner) % shape[axis];
    if (place >= start && place < start + span) data[i] = 0;
  }
}

interface Outputs {
  readonly mean: number[][];
  readonly logVariance: number[][];
  readonly decoded: Float32Array;
}

/** What a model computes of fixed rows; the decoder gets `latents` dimensions of fixed z, some of which may be named. */
async function outputsOf(
  model: Model,
  values: ReadonlyMap<string, Float32Array>,
  dimensions: readonly number[],
): Promise<Outputs> {
  const x = new RandomSource(5).fillNormal(new Float32Array(ROWS * elementCount(SHAPE)));
  const z = new RandomSource(6).fillNormal(new Float32Array(ROWS * 8));
  const [encoder, decoder] = await Promise.all(
    [encoderGraph(model, values), decoderGraph(model, values)].map((graph) => engine.compile(graph)),
  );
  const { mean, log_variance } = await encoder.run({ x: float32(x, [ROWS, ...SHAPE]) });
  const latents = Float32Array.from({ length: ROWS * dimensions.length }, (_, i) => {
    const row = Math.floor(i / dimensions.length);
    return z[row * 8 + dimensions[i % dimensions.length]];
  });
  const { x_mean } = await decoder.run({ z: float32(latents, [ROWS, dimensions.length]) });
  await encoder.release();
  await decoder.release();
  const rows = (data: Float32Array) =>
    Array.from({ length: ROWS }, (_, i) => Array.from(data.subarray(i * model.latentSize, (i + 1) * model.latentSize)));
  return {
    mean: rows(mean.data as Float32Array),
    logVariance: rows(log_variance.data as Float32Array),
    decoded: x_mean.data as Float32Array,
  };
}

/** The smaller model computes what the larger one does, of the latent dimensions that are left. */
async function expectSame(configuration: Configuration, values: Values, latents: readonly number[]) {
  const model = buildModel(configuration, SHAPE);
  const pruned = prune(configuration, model, values);
  const smaller = buildModel(pruned.configuration, SHAPE);
  for (const { name, shape } of smaller.parameters) {
    expect(pruned.weights.get(name)?.length, name).toBe(elementCount(shape));
  }
  const all = Array.from({ length: configuration.latent_size }, (_, i) => i);
  const expected = await outputsOf(model, values, all);
  const actual = await outputsOf(smaller, pruned.weights, latents);
  const left = (rows: number[][]) => Float32Array.from(rows.flatMap((row) => latents.map((at) => row[at])));
  expect(largestDifference(Float32Array.from(actual.mean.flat()), left(expected.mean))).toBeLessThan(PARITY_LIMIT);
  expect(largestDifference(Float32Array.from(actual.logVariance.flat()), left(expected.logVariance))).toBeLessThan(
    PARITY_LIMIT,
  );
  expect(largestDifference(actual.decoded, expected.decoded)).toBeLessThan(PARITY_LIMIT);
  return pruned;
}

const dense = (changes: Partial<Configuration> = {}) =>
  tinyConfiguration({
    latent_size: 4,
    encoder: { convolutions: [], hidden: [9, 7] },
    decoder: { convolutions: [], hidden: [6, 8] },
    ...changes,
  });

describe('pruning dense layers', () => {
  test.each(Object.keys(ACTIVATIONS) as ActivationName[])(
    '%s: takes out units that nothing reads, constants, and latent dimensions, and computes the same',
    async (activation) => {
      const configuration = dense({ activation });
      const model = buildModel(configuration, SHAPE);
      const values = randomValues(model);
      clear(model, values, 'encoder.0.weight', 1, 2);
      clear(model, values, 'encoder.1.weight', 0, 5);
      clear(model, values, 'encoder.1.weight', 1, 0);
      clear(model, values, 'encoder.mean.weight', 0, 3);
      clear(model, values, 'encoder.log_variance.weight', 0, 3);
      clear(model, values, 'decoder.0.weight', 0, 1);
      clear(model, values, 'decoder.1.weight', 1, 4, 2);
      clear(model, values, 'decoder.output.weight', 0, 7);
      const { configuration: left, removed } = await expectSame(configuration, values, [0, 2, 3]);
      expect(left).toEqual({
        ...configuration,
        latent_size: 3,
        encoder: { convolutions: [], hidden: [7, 5] },
        decoder: { convolutions: [], hidden: [6, 5] },
      });
      expect(removed).toEqual({ 'encoder.hidden.0': 2, 'encoder.hidden.1': 2, latent_size: 1, 'decoder.hidden.1': 3 });
    },
  );

  test('a unit goes whose only reader goes', async () => {
    const configuration = dense();
    const model = buildModel(configuration, SHAPE);
    const values = randomValues(model);
    // Unit 4 of the first layer is read by unit 1 of the second alone, which nothing reads.
    clear(model, values, 'encoder.1.weight', 0, 4);
    const [weight, size] = [values.get('encoder.1.weight') ?? new Float32Array(), 7];
    weight[4 * size + 1] = 1;
    for (const head of ['mean', 'log_variance']) clear(model, values, `encoder.${head}.weight`, 0, 1);
    const { removed } = await expectSame(configuration, values, [0, 1, 2, 3]);
    expect(removed).toEqual({ 'encoder.hidden.0': 1, 'encoder.hidden.1': 1 });
  });

  test('a unit that one head alone reads stays, and so does a latent dimension that the encoder does not feed', async () => {
    const configuration = dense();
    const model = buildModel(configuration, SHAPE);
    const values = randomValues(model);
    clear(model, values, 'encoder.mean.weight', 0, 3);
    clear(model, values, 'encoder.mean.weight', 1, 2);
    clear(model, values, 'encoder.log_variance.weight', 1, 2);
    const { removed, configuration: left } = await expectSame(configuration, values, [0, 1, 2, 3]);
    expect(removed).toEqual({});
    expect(left).toEqual(configuration);
  });

  test('a layer without any use keeps one unit, and the outputs stay', async () => {
    const configuration = dense({ activation: 'tanh' });
    const model = buildModel(configuration, SHAPE);
    const values = randomValues(model);
    clear(model, values, 'decoder.0.weight', 1, 0, 6);
    clear(model, values, 'encoder.1.weight', 0, 0, 9);
    const { configuration: left } = await expectSame(configuration, values, [0]);
    expect(left).toMatchObject({ latent_size: 1, encoder: { hidden: [1, 1] }, decoder: { hidden: [1, 1] } });
  });

  test('a threshold counts small weights as 0', () => {
    const configuration = dense();
    const model = buildModel(configuration, SHAPE);
    const values = randomValues(model);
    const weight = values.get('decoder.0.weight') ?? new Float32Array();
    for (let unit = 0; unit < 6; unit++) weight[unit] = unit % 2 === 0 ? 0.01 : -0.01;
    expect(prune(configuration, model, values, 0.009).removed).toEqual({});
    expect(prune(configuration, model, values, 0.011).configuration.latent_size).toBe(3);
    // The given values stay as they are.
    expect(weight[0]).toBe(Math.fround(0.01));
  });
});

const convolution = (channels: number, padding: number) => ({ channels, kernel: 3, stride: 1, padding });

describe('pruning convolutions', () => {
  const convolutional = (activation: ActivationName) =>
    dense({
      activation,
      encoder: { convolutions: [convolution(4, 0), convolution(3, 1), convolution(5, 0)], hidden: [6] },
      decoder: { convolutions: [convolution(4, 1), convolution(3, 1)], hidden: [5] },
    });

  test.each(Object.keys(ACTIVATIONS) as ActivationName[])(
    '%s: takes out channels, and computes the same',
    async (activation) => {
      const configuration = convolutional(activation);
      const model = buildModel(configuration, SHAPE);
      const values = randomValues(model);
      // Nothing reads these: a channel between convolutions, one before dense layers, two of the decoder.
      clear(model, values, 'encoder.1.weight', 2, 1);
      clear(model, values, 'encoder.3.weight', 0, 2 * 4, 4);
      clear(model, values, 'decoder.2.weight', 3, 3);
      clear(model, values, 'decoder.output.weight', 3, 0);
      // A constant channel that is read without zeros around it, by a convolution and by a dense layer.
      clear(model, values, 'encoder.1.weight', 3, 2);
      clear(model, values, 'encoder.2.weight', 3, 4);
      const { removed } = await expectSame(configuration, values, [0, 1, 2, 3]);
      expect(removed).toEqual({
        'encoder.convolutions.0.channels': 1,
        'encoder.convolutions.1.channels': 1,
        'encoder.convolutions.2.channels': 2,
        'decoder.convolutions.0.channels': 1,
        'decoder.convolutions.1.channels': 1,
      });
    },
  );

  test('a constant channel stays where zeros around the maps make it count otherwise at the border', async () => {
    const configuration = convolutional('tanh');
    const model = buildModel(configuration, SHAPE);
    const values = randomValues(model);
    clear(model, values, 'encoder.0.weight', 3, 1);
    clear(model, values, 'decoder.2.weight', 2, 1);
    const { removed } = await expectSame(configuration, values, [0, 1, 2, 3]);
    expect(removed).toEqual({});
  });

  test('a constant channel of zeros goes everywhere', async () => {
    const configuration = convolutional('relu');
    const model = buildModel(configuration, SHAPE);
    const values = randomValues(model);
    for (const [layer, axis] of [
      ['encoder.0', 3],
      ['decoder.2', 2],
    ] as const) {
      clear(model, values, `${layer}.weight`, axis, 1);
      const bias = values.get(`${layer}.bias`) ?? new Float32Array();
      bias[1] = -1;
    }
    const { removed } = await expectSame(configuration, values, [0, 1, 2, 3]);
    expect(removed).toEqual({ 'encoder.convolutions.0.channels': 1, 'decoder.convolutions.1.channels': 1 });
  });
});

test('a layer that pruning does not know is refused by name', () => {
  const configuration = dense();
  const model = buildModel(configuration, SHAPE);
  const other = buildModel(dense({ encoder: { convolutions: [], hidden: [9, 7, 5] } }), SHAPE);
  expect(() => prune(configuration, other, randomValues(other))).toThrow(
    /layer of encoder\.2\.weight is not one that can be pruned/,
  );
  expect(() => prune(dense({ decoder: { convolutions: [], hidden: [6, 8, 4] } }), model, randomValues(model))).toThrow(
    /layer of decoder\.2\.weight/,
  );
});
