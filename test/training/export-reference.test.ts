import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  decodeCodes,
  decodeUint16,
  type ImageInput,
  type Manifest,
  RandomSource,
  type Reference,
  readModel,
  recordMetrics,
} from '@elbo/models';
import { addReferenceData, type Configuration, datasetOf, inMemory, OnnxRuntimeEngine, train } from '@elbo/training';
import { type Dataset, type Examples, splitHeldOut, spread } from '@elbo/training/data/dataset';
import { runOverExamples } from '@elbo/training/evaluation/batches';
import { referenceData } from '@elbo/training/export/reference';
import { exportWith } from '@elbo/training/export-again';
import { calibrate } from '@elbo/training/offline/calibrate';
import { Graph } from '@elbo/training/onnx/graph';
import { flatten, matmul } from '@elbo/training/onnx/ops';
import { float32 } from '@elbo/training/onnx/tensor';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { elbo } from '../support/elbo.js';
import { valuesOf } from '../support/examples.js';
import { encodeNpy } from '../support/npy.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';
import { colourModel, greyModel, type ReportModel, tableModel } from './support/report-models.js';

const engine = new OnnxRuntimeEngine(1);

/** The grey bars, with the number of bright pixels in the first row as class. */
function labelledBars(): Dataset {
  const bars = barsDataset();
  const withLabels = (examples: Examples): Examples => {
    const { storage } = examples;
    if (storage.kind !== 'memory') throw new Error('bars lie in memory');
    const labels = Uint8Array.from({ length: examples.count }, (_, i) => (storage.values[i * 36] > 0 ? 1 : 0));
    return { ...examples, labels };
  };
  return { ...bars, classNames: ['dark', 'bright'], train: withLabels(bars.train), test: withLabels(bars.test) };
}

async function trained(
  store: string,
  changes: Partial<Configuration> = {},
  dataset: Dataset = labelledBars(),
): Promise<{ directory: string; manifest: Manifest }> {
  const result = await train({ configuration: tinyConfiguration({ epochs: 1, ...changes }), dataset, store, engine });
  if (result === undefined) throw new Error('training was stopped');
  return result;
}

/** The reference data of a version, and what its encoder gives for the examples that they should be of. */
async function withOracle({ directory, dataset }: ReportModel) {
  const { manifest, files, graphs } = await readModel(directory);
  const { reference, latent, condition, training } = manifest;
  if (reference === undefined) throw new Error('there are no reference data');
  const configuration = training.configuration as Configuration;
  const { validation } = splitHeldOut(dataset.train, configuration);
  const examples = spread(validation, configuration.reference_points);
  const encoder = await engine.load(graphs.encoder);
  const { mean } = await runOverExamples(encoder, examples, ['mean'], { classes: condition?.classes });
  await encoder.release();
  const contentOf = (file: string) => Buffer.from(files.get(file) ?? []);
  return { manifest, reference, examples, mean, size: latent.size, contentOf };
}

/** Tiles of a sheet, each [height, width, channels] as bytes. */
async function tilesOf(webp: Buffer, { count, items }: Reference, [channels, height, width]: readonly number[]) {
  if (items?.kind !== 'sprites') throw new Error('the items are no pictures');
  const tiles: number[][] = [];
  for (let i = 0; i < count; i++) {
    const [left, top] = [(i % items.columns) * width, Math.floor(i / items.columns) * height];
    const { data, info } = await sharp(webp)
      .extract({ left, top, width, height })
      .raw()
      .toBuffer({ resolveWithObject: true });
    tiles.push([...data].filter((_, at) => at % info.channels < channels));
  }
  return tiles;
}

/** Bytes of an image, [channels, height, width] → [height, width, channels]. */
function interleaved(image: ArrayLike<number>, channels: number): number[] {
  const pixels = image.length / channels;
  return Array.from({ length: image.length }, (_, i) => image[(i % channels) * pixels + Math.floor(i / channels)]);
}

describe.each<[string, () => Promise<ReportModel>]>([
  ['grey images with classes', () => greyModel(temporaryDirectory())],
  ['grey images of a conditional model', () => greyModel(temporaryDirectory(), true)],
  ['images in colour', () => colourModel(temporaryDirectory())],
  ['rows of a table with missing values', () => tableModel(temporaryDirectory(), ['a', 'b', 'c', 'd'], true)],
])('the reference data of %s', (_name, make) => {
  test('are codes, classes and items of the validation part, in its order', async () => {
    const { manifest, reference, examples, mean, size, contentOf } = await withOracle(await make());
    expect(reference.count).toBe(examples.count);
    expect(reference.count).toBe(manifest.training.dataset.validation_examples);

    const { minimum, maximum } = reference.codes;
    const codes = decodeCodes(contentOf('reference-codes.u8'), reference.codes);
    expect(codes).toHaveLength(reference.count * size);
    for (const [i, code] of codes.entries()) {
      const step = (maximum[i % size] - minimum[i % size]) / 255;
      expect(Math.abs(code - mean[i])).toBeLessThanOrEqual(step / 2 + 1e-6);
    }

    expect(reference.labels?.names).toEqual(examples.labels && ['0', '1', '2', '3']);
    if (examples.labels !== undefined) {
      expect([...decodeUint16(contentOf('reference-labels.u16'))]).toEqual([...examples.labels]);
    }

    const map = decodeUint16(contentOf('reference-map.u16'));
    expect(map).toHaveLength(2 * reference.count);
    expect(Math.max(...map)).toBe(65_535);

    const { axes, explained } = reference.principal_components;
    const center = reference.principal_components.mean;
    for (const j of center.keys()) {
      const column = mean.filter((_value, i) => i % size === j);
      expect(center[j]).toBeCloseTo(column.reduce((sum, value) => sum + value, 0) / column.length, 4);
    }
    const variance = (axis: readonly number[]) => {
      let sum = 0;
      for (let i = 0; i < reference.count; i++) {
        let at = 0;
        for (const [j, weight] of axis.entries()) at += weight * (mean[i * size + j] - center[j]);
        sum += at * at;
      }
      return sum;
    };
    const unit = (j: number) => Array.from({ length: size }, (_value, i) => (i === j ? 1 : 0));
    const total = center.reduce((sum, _value, j) => sum + variance(unit(j)), 0);
    for (const i of [0, 1]) expect(explained[i]).toBeCloseTo(variance(axes[i]) / total, 4);

    const values = await valuesOf(examples);
    const item = values.length / examples.count;
    if (reference.items?.kind === 'rows') {
      const rows = contentOf('reference-items.f32');
      const found = Array.from({ length: rows.length / 4 }, (_value, i) => rows.readFloatLE(4 * i));
      expect(found).toEqual([...values]);
      expect(found.some(Number.isNaN)).toBe(true);
      return;
    }
    const [channels] = manifest.input.shape;
    const tiles = await tilesOf(contentOf('reference-items.webp'), reference, manifest.input.shape);
    for (const [i, tile] of tiles.entries()) {
      expect(tile, `tile ${i}`).toEqual(interleaved(values.subarray(i * item, (i + 1) * item), channels));
    }
  });
});

describe('reference data', () => {
  test('are at even distances in the validation part where it has more, and name the classes of the data', async () => {
    const dataset = labelledBars();
    const { directory, manifest } = await trained(temporaryDirectory(), { reference_points: 25 }, dataset);
    const { reference, examples, mean, contentOf } = await withOracle({ directory, dataset });
    expect(manifest.training.dataset.validation_examples).toBe(60);
    expect(reference.count).toBe(25);
    expect(reference.labels?.names).toEqual(['dark', 'bright']);
    expect([...decodeUint16(contentOf('reference-labels.u16'))]).toEqual([...(examples.labels ?? [])]);
    const codes = decodeCodes(contentOf('reference-codes.u8'), reference.codes);
    const { minimum, maximum } = reference.codes;
    for (const [i, code] of codes.entries()) {
      expect(Math.abs(code - mean[i])).toBeLessThanOrEqual((maximum[i % 3] - minimum[i % 3]) / 510 + 1e-6);
    }
  });

  test('are left out where none are asked for', async () => {
    const { directory } = await trained(temporaryDirectory(), { reference_points: 0 });
    const { manifest } = await readModel(directory);
    expect(manifest).not.toHaveProperty('reference');
    expect(Object.keys(manifest.files).filter((file) => file.startsWith('reference'))).toEqual([]);
  });

  test.each<[string, Partial<Configuration>]>([
    [
      'an autoencoder',
      { family: 'autoencoder', prior: 'gaussian-mixture', prior_components: 3, kl_warm_up_fraction: 0 },
    ],
    [
      'a ladder',
      { decoder: { convolutions: [], hidden: [12, 16], stochastic_layers: [{ after_layer: 0, latents: 2 }] } },
    ],
    ['a mixture of pseudo-inputs', { prior: 'vamp', prior_components: 5 }],
    ['a fitted mixture', { prior: 'gaussian-mixture', prior_components: 3 }],
    ['one latent dimension', { latent_size: 1 }],
    ['weights in half precision', { weight_precision: 'float16' }],
  ])('come with %s', async (_name, changes) => {
    const dataset = labelledBars();
    const { directory } = await trained(temporaryDirectory(), changes, dataset);
    const { reference, mean, size, contentOf } = await withOracle({ directory, dataset });
    expect(reference.map).toBeDefined();
    expect(reference.principal_components.axes.map((axis) => axis.length)).toEqual([size, size]);
    const codes = decodeCodes(contentOf('reference-codes.u8'), reference.codes);
    const { minimum, maximum } = reference.codes;
    for (const [i, code] of codes.entries()) {
      expect(Math.abs(code - mean[i])).toBeLessThanOrEqual((maximum[i % size] - minimum[i % size]) / 510 + 1e-6);
    }
  });

  test('that are added to a version are those that its training would have written, and change nothing else', async () => {
    const dataset = labelledBars();
    const [store, other] = [temporaryDirectory(), temporaryDirectory()];
    const { directory: whole } = await trained(store, { reference_points: 30 }, dataset);
    const { directory: bare } = await trained(other, { reference_points: 0 }, dataset);
    const before = await readModel(bare);
    await addReferenceData({ directory: bare, dataset, engine, points: 30 });
    const [added, expected] = [await readModel(bare), await readModel(whole)];
    expect(added.manifest.reference).toEqual(expected.manifest.reference);
    for (const [file, content] of expected.files) {
      if (file.startsWith('reference-')) expect(added.files.get(file), file).toEqual(content);
    }
    for (const [file, content] of before.files) expect(added.files.get(file), file).toEqual(content);
    expect(added.manifest.training.configuration).toEqual(expected.manifest.training.configuration);
    expect({ ...added.manifest, files: 0, reference: 0, training: 0 }).toEqual({
      ...before.manifest,
      files: 0,
      reference: 0,
      training: 0,
    });
    await expect(addReferenceData({ directory: bare, dataset, engine })).rejects.toThrow(
      /it has reference data, which stay as they are/,
    );
    const others = { ...dataset, sha256: '0'.repeat(64) };
    const { directory: third } = await trained(other, { reference_points: 0 }, dataset);
    await expect(addReferenceData({ directory: third, dataset: others, engine })).rejects.toThrow(
      /is not the data that tiny 2 was trained on/,
    );
    await expect(addReferenceData({ directory: third, dataset, engine })).rejects.toThrow(/reference_points is 0/);
  });

  test('go on to a version that is calibrated anew, and are made anew by an export, which keeps what was measured', async () => {
    const dataset = labelledBars();
    const store = temporaryDirectory();
    const { directory } = await trained(store, {}, dataset);
    // Fewer than 1,024 weights of a layer are never rounded.
    const layers = { convolutions: [], hidden: [64] };
    const { directory: wide } = await trained(store, { name: 'wide', encoder: layers, decoder: layers }, dataset);
    await recordMetrics(wide, { test_active_units: { value: 2, split: 'test', examples: 200 } });
    const first = await readModel(directory);
    const images = join(temporaryDirectory(), 'normal.npy');
    const values = await valuesOf(dataset.test);
    writeFileSync(images, encodeNpy({ type: 'u1', shape: [200, 1, 6, 6], values }));
    const calibrated = await calibrate({ directory, store, files: [images], engine });
    const second = await readModel(calibrated.directory);
    expect(second.manifest.reference).toEqual(first.manifest.reference);
    for (const [file, content] of first.files) {
      if (file.startsWith('reference-')) expect(second.files.get(file), file).toEqual(content);
    }
    await recordMetrics(directory, { test_active_units: { value: 2, split: 'test', examples: 200 } });
    const again = await exportWith({ directory, store, dataset, engine, reference_points: 20 });
    const third = await readModel(again.directory);
    expect(third.manifest.reference?.count).toBe(20);
    expect(third.files.get('reference-codes.u8')).toHaveLength(20 * 3);
    expect(third.manifest.training.configuration).toMatchObject({ reference_points: 20 });
    // The graphs are the same, so what was measured of them is, too; of rounded ones it has to be measured again.
    const { manifest } = await readModel(directory);
    expect(third.manifest.metrics).toEqual(manifest.metrics);
    for (const file of ['encoder.onnx', 'decoder.onnx', 'scorer.onnx']) {
      expect(third.manifest.files[file], file).toEqual(manifest.files[file]);
    }
    const half = await exportWith({ directory: wide, store, dataset, engine, weight_precision: 'float16' });
    expect(half.manifest.metrics).not.toHaveProperty('test_active_units');
    const none = await exportWith({ directory, store, dataset, engine, reference_points: 0 });
    expect(none.manifest).not.toHaveProperty('reference');
  });
});

describe('the sheet of images', () => {
  const inputOf = (shape: ImageInput['shape']): ImageInput => ({
    kind: 'image',
    shape,
    channel_order: 'CHW',
    colour: shape[0] === 1 ? 'grey' : 'rgb',
    value_range: [0, 1],
    resize: { fit: 'fill', background: 0 },
  });

  /** Reference data of images by an encoder of two random weights a number. */
  async function dataOf(examples: Examples, shape: ImageInput['shape']) {
    const size = shape.reduce((product, length) => product * length, 1);
    const graph = new Graph('encoder');
    const x = graph.input('x', 'float32', ['N', ...shape]);
    const weights = new RandomSource(1).fillNormal(new Float32Array(2 * size));
    graph.output(matmul(flatten(x), graph.initialiser('weights', float32(weights, [size, 2]))), 'mean');
    const encoder = await engine.compile(graph);
    const data = await referenceData({
      encoder,
      examples,
      input: inputOf(shape),
      latentSize: 2,
      points: 2000,
      seed: 1,
    }).finally(() => encoder.release());
    if (data === undefined || data.reference.items?.kind !== 'sprites') throw new Error('there is no sheet');
    return { ...data, items: data.reference.items, webp: Buffer.from(data.files.get('reference-items.webp') ?? []) };
  }

  test('of large images has means of squares of their pixels, and says how large a tile is', async () => {
    const [count, side] = [5, 128];
    const squares = new RandomSource(2);
    // Squares of 2 x 2 pixels of one colour.
    const values = new Uint8Array(count * 3 * side * side);
    for (let at = 0; at < values.length; at += 2 * side) {
      for (let x = 0; x < side; x += 2) {
        const value = squares.integer(256);
        for (const place of [at + x, at + x + 1, at + side + x, at + side + x + 1]) values[place] = value;
      }
    }
    const { items, reference, webp } = await dataOf(inMemory(values, [3, side, side]), [3, side, side]);
    expect(items.tile).toEqual([64, 64]);
    const tiles = await tilesOf(webp, reference, [3, 64, 64]);
    const size = 3 * side * side;
    for (const [i, tile] of tiles.entries()) {
      const image = values.subarray(i * size, (i + 1) * size);
      const expected = image.filter((_, at) => at % 2 === 0 && Math.floor(at / side) % 2 === 0);
      expect(tile, `tile ${i}`).toEqual(interleaved(expected, 3));
    }
    expect(reference).not.toHaveProperty('map');
  });

  test('of many images that compress badly stays small, by tiles of half the size', async () => {
    const count = 400;
    const noise = new RandomSource(3);
    const values = Uint8Array.from({ length: count * 3 * 64 * 64 }, () => noise.integer(256));
    const { items, webp } = await dataOf(inMemory(values, [3, 64, 64]), [3, 64, 64]);
    expect(items.tile).toEqual([32, 32]);
    const { width, height } = await sharp(webp).metadata();
    expect([width, height]).toEqual([32 * items.columns, 32 * Math.ceil(count / items.columns)]);
    expect(webp.length).toBeLessThan(480_000);
  });

  test('of images of numbers has them as bytes', async () => {
    const numbers = new RandomSource(4);
    const values = Float32Array.from({ length: 3 * 64 }, () => numbers.uniform());
    const { reference, webp, items } = await dataOf(inMemory(values, [1, 8, 8]), [1, 8, 8]);
    expect(items).not.toHaveProperty('tile');
    const tiles = await tilesOf(webp, reference, [1, 8, 8]);
    expect(tiles.flat()).toEqual(Array.from(values, (value) => Math.round(255 * value)));
  });
});

describe('a table', () => {
  test('of more than 64 columns comes without its rows', async () => {
    const random = new RandomSource(5);
    const part = (count: number) => inMemory(random.fillNormal(new Float32Array(count * 65)), [65]);
    const dataset = await datasetOf('wide', { train: part(100), test: part(20) });
    const { manifest } = await trained(temporaryDirectory(), { likelihood: 'gaussian' }, dataset);
    expect(manifest.reference?.count).toBe(40);
    expect(manifest.reference).not.toHaveProperty('items');
    expect(manifest.reference?.map).toBeDefined();
  });
});

describe('elbo reference', () => {
  test('adds the data to a version, and refuses one that has them', async () => {
    const rows = join(temporaryDirectory(), 'rows.npy');
    const values = new RandomSource(6).fillNormal(new Float32Array(4 * 200));
    writeFileSync(rows, encodeNpy({ type: 'f4', shape: [200, 4], values }));
    const store = temporaryDirectory();
    const set = (field: string) => ['--set', field];
    const run = await elbo([
      ...['train', '--preset', 'table', '--dataset', rows, '--name', 'rows', '--epochs', '1', '--out', store],
      ...set('reference_points=0'),
    ]);
    expect(run.code, run.stderr).toBe(0);
    const model = join(store, 'rows', '1');
    const added = await elbo(['reference', model, '--points', '30', '--json']);
    expect(added.code, added.stderr).toBe(0);
    expect(added.stdout).toMatch(/1: 30 examples with codes, map, items, \d+ kB/);
    const { reference } = JSON.parse(added.stdout.trim().split('\n').at(-1) ?? '');
    expect((await readModel(model)).manifest.reference).toEqual(reference);
    expect(reference.items).toEqual({ kind: 'rows', file: 'reference-items.f32' });

    const again = await elbo(['reference', model]);
    expect([again.code, again.stderr]).toEqual([2, expect.stringMatching(/^elbo: .*it has reference data/)]);
    const many = await elbo(['reference', model, '--points', '20001']);
    expect([many.code, many.stderr]).toEqual([2, expect.stringMatching(/expected a whole number from 1 to 20000/)]);
    const next = await elbo(['export', model, '--reference-points', '25']);
    expect(next.code, next.stderr).toBe(0);
    expect((await readModel(join(store, 'rows', '2'))).manifest.reference?.count).toBe(25);
  });
});
