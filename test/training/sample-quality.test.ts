import { RandomSource, readManifest } from '@elbo/models';
import { parseClassifierConfiguration } from '@elbo/training/classifier/configuration';
import type { ClassifierRecord } from '@elbo/training/classifier/record';
import { trainClassifier } from '@elbo/training/classifier/train';
import { checkSampleFlags } from '@elbo/training/cli/evaluate-samples';
import { type Dataset, inMemory } from '@elbo/training/data/dataset';
import { loadDataset } from '@elbo/training/data/datasets';
import type { Program } from '@elbo/training/engines/engine';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { float32 } from '@elbo/training/onnx/tensor';
import { loadAnyPreset } from '@elbo/training/presets';
import { SAMPLE_METRICS, type SampleQualityOptions, sampleQuality } from '@elbo/training/sample-quality/sample-quality';
import { train } from '@elbo/training/train';
import { loadPreset } from '@elbo/training/vae/configuration';
import { beforeAll, describe, expect, test } from 'vitest';
import { elbo } from '../support/elbo.js';
import { bytesOf } from '../support/examples.js';
import { suiteDirectory } from '../support/temporary-directory.js';
import { barsDataset } from './support/bars.js';

const PIXELS = 36;

/** A classifier whose features are the means of rows and columns. */
const record: ClassifierRecord = {
  schema_version: 1,
  name: 'stripes',
  version: '2',
  description: '',
  family: 'classifier',
  input: barsDataset(1, 1).input,
  classes: 3,
  features: 12,
  sparsity: { weights: 1, non_zero: 1, compression: 1, layers: [] },
  training: {
    configuration: {},
    dataset: { name: 'bars', sha256: '0'.repeat(64), train_examples: 1, validation_examples: 1 },
    seed: 1,
    engine: '',
    threads: 1,
    epochs: 1,
    steps: 1,
    started_at: '',
    seconds: 0,
  },
  metrics: {},
  files: { 'classifier.onnx': { sha256: 'ab'.repeat(32), bytes: 1 } },
};

const program = (run: (rows: number, values: Float32Array) => Record<string, Float32Array>): Program => ({
  async run({ x, z }) {
    const data = x ?? z;
    const rows = data?.shape[0] ?? 0;
    const outputs = run(rows, data?.data as Float32Array);
    return Object.fromEntries(
      Object.entries(outputs).map(([name, values]) => [name, float32(values, [rows, values.length / rows])]),
    );
  },
  release: async () => {},
});

const stripes = program((rows, pixels) => {
  const features = new Float32Array(rows * 12);
  for (const [at, value] of pixels.entries()) {
    const [row, pixel] = [Math.floor(at / PIXELS), at % PIXELS];
    features[row * 12 + Math.floor(pixel / 6)] += value / 6;
    features[row * 12 + 6 + (pixel % 6)] += value / 6;
  }
  return { features };
});

/** Decodes to given pixels, one image after another. */
function decoderOf(pixels: ArrayLike<number>): Program {
  let at = 0;
  return program((rows) => ({ x_mean: Float32Array.from({ length: rows * PIXELS }, () => pixels[at++] as number) }));
}

function labelled(dataset: Dataset): Dataset {
  const { train } = dataset;
  return { ...dataset, train: { ...train, labels: Uint8Array.from({ length: train.count }, (_, i) => i % 3) } };
}

const dataset = labelled(barsDataset(600, 200));
const options = (decoder: Program, changes: Partial<SampleQualityOptions> = {}): SampleQualityOptions => ({
  engine: new OnnxRuntimeEngine(1),
  sampler: { decoder, prior: { latentSize: 2 }, shape: [1, 6, 6] },
  likelihood: 'bernoulli',
  classifier: { record, program: stripes },
  dataset,
  examples: dataset.test,
  split: 'test',
  training: dataset.train,
  metrics: SAMPLE_METRICS,
  seed: 4,
  ...changes,
});

/** The number that the protocol names for training images in place of samples. */
const floorOf = (protocol = '') => Number(/training images in place of samples: (\S+)/.exec(protocol)?.[1]);

describe('the quality of samples', () => {
  test('of a decoder that gives the test images is perfect, and better than that of training images', async () => {
    const pixels = Array.from(await bytesOf(dataset.test), (byte) => byte / 255);
    const measured = await sampleQuality(options(decoderOf(pixels)));
    const { value, split, examples, protocol } = measured.test_classifier_frechet_distance ?? {};
    expect(value).toBeLessThan(1e-6);
    expect([split, examples]).toEqual(['test', 200]);
    expect(floorOf(protocol)).toBeGreaterThan(1e-3);
    expect(floorOf(protocol)).toBeLessThan(0.1);
    expect(protocol).toContain('classifier stripes/2, trained on bars, SHA-256 abab');
    expect(protocol).toContain(
      '200 expected images of draws from the prior, seed 4, against 200 test images; 12 features',
    );
    expect(measured.test_classifier_kernel_distance?.value).toBeLessThan(1e-3);
    expect(measured.test_classifier_kernel_distance?.protocol).toContain('over 10 blocks of 20');
    expect(measured.test_classifier_precision).toMatchObject({ value: 100, unit: '%' });
    expect(measured.test_classifier_recall).toMatchObject({ value: 100, unit: '%' });
  });

  test('of bright noise is worse than that of training images by every number', async () => {
    const random = new RandomSource(1);
    const noise = Array.from({ length: 300 * PIXELS }, () => 0.7 + 0.3 * random.uniform());
    const measured = await sampleQuality(options(decoderOf(noise), { sampleCount: 300 }));
    const better = (name: string) => {
      const { value, protocol } = measured[`test_classifier_${name}`] ?? {};
      return [value ?? Number.NaN, floorOf(protocol)] as const;
    };
    for (const name of ['frechet_distance', 'kernel_distance']) {
      const [noisy, floor] = better(name);
      expect(noisy).toBeGreaterThan(10 * Math.abs(floor));
    }
    for (const name of ['precision', 'recall']) {
      const [noisy, floor] = better(name);
      expect(noisy).toBeLessThan(0.5 * floor);
    }
    expect(measured.test_classifier_recall?.protocol).toMatch(
      /^300 expected .* against 200 test .*; 300 training images/,
    );
  });

  test('pixels are drawn only for a Bernoulli model of black and white images', async () => {
    const grey = new Array<number>(200 * PIXELS).fill(0.5);
    const binary = async (part: Dataset['test']) =>
      inMemory(
        (await bytesOf(part)).map((byte) => (byte > 0 ? 255 : 0)),
        part.shape,
      );
    const black = await binary(dataset.test);
    const distance = async (changes: Partial<SampleQualityOptions>) => {
      const measured = await sampleQuality(options(decoderOf(grey), { metrics: ['frechet'], ...changes }));
      return measured.test_classifier_frechet_distance;
    };
    const drawn = await distance({ examples: black });
    const means = await distance({ examples: black, likelihood: 'gaussian' });
    expect(drawn?.protocol).toContain('200 images drawn pixel by pixel');
    expect(means?.protocol).toContain('200 expected images');
    expect((await distance({}))?.protocol).toContain('200 expected images');
    // Images that are all the same have no spread.
    expect(drawn?.value).toBeLessThan(means?.value ?? 0);
  });

  test('expected images are clipped to what test images can be', async () => {
    const pixels = Array.from(await bytesOf(dataset.test), (byte) => (byte > 0 ? 7 : -3));
    const examples = inMemory(
      (await bytesOf(dataset.test)).map((byte) => (byte > 0 ? 255 : 0)),
      [1, 6, 6],
    );
    const measured = await sampleQuality(options(decoderOf(pixels), { examples, likelihood: 'gaussian' }));
    expect(measured.test_classifier_frechet_distance?.value).toBeLessThan(1e-6);
  });

  test.each([
    [
      { classifier: { record: { ...record, classes: 7 }, program: stripes } },
      /stripes\/2 tells 7 classes apart; expected 3/,
    ],
    [
      { classifier: { record: { ...record, input: { ...record.input, shape: [1, 8, 8] } }, program: stripes } },
      /stripes\/2 takes images of 1x8x8; expected one of 1x6x6, as bars has/,
    ],
    [
      { classifier: { record: { ...record, features: 9 }, program: stripes } },
      /features are \[200, 12\]; expected \[200, 9\]/,
    ],
    [{ classifier: { record, program: program(() => ({})) } }, /there is no output features; expected \[200, 12\]/],
    [{ examples: barsDataset(1, 19).test, split: 'validation' }, /19 validation images; expected at least 20/],
    [{ training: labelled(barsDataset(19, 1)).train }, /19 training images; expected at least 20/],
    [{ sampleCount: 19 }, /sampleCount is 19; expected a whole number from 20 to 50000/],
    [{ sampleCount: 50_001 }, /sampleCount is 50001/],
    [
      { dataset: { ...dataset, input: { kind: 'vector', shape: [36], value_range: [0, 1] } } },
      /bars has rows of 36 numbers; expected images/,
    ],
  ] as [Partial<SampleQualityOptions>, RegExp][])('refused: case %#', async (changes, message) => {
    const decoder = decoderOf(new Array<number>(200 * PIXELS).fill(0.5));
    await expect(sampleQuality(options(decoder, changes))).rejects.toThrow(message);
  });

  test('a decoder that gives no number is refused', async () => {
    const pixels = new Array<number>(200 * PIXELS).fill(0.5).with(PIXELS, Number.NaN);
    await expect(sampleQuality(options(decoderOf(pixels)))).rejects.toThrow(
      /a feature of image 1 is NaN; expected finite/,
    );
  });
});

describe('elbo evaluate of samples', () => {
  const directory = suiteDirectory();
  let [model, classifier] = ['', ''];

  beforeAll(async () => {
    const store = directory();
    const shapes = await loadDataset('shapes', { limit: 400, seed: 1 });
    const engine = new OnnxRuntimeEngine(1);
    const short = { dataset: shapes, store, engine };
    const trained = await train({ ...short, configuration: { ...loadPreset('shapes-mlp'), epochs: 1 } });
    const preset = { ...parseClassifierConfiguration(loadAnyPreset('features-conv')), dataset: 'shapes', epochs: 1 };
    const encoder = { ...preset.encoder, hidden: [12] };
    const classified = await trainClassifier({ ...short, configuration: { ...preset, encoder } });
    model = trained?.directory ?? '';
    classifier = classified?.directory ?? '';
  });

  test('measures the whole test part, and records it', async () => {
    const metrics = `elbo,${SAMPLE_METRICS.join(',')}`;
    const args = ['evaluate', model, '--metrics', metrics, '--classifier', classifier, '--sample-count', '500'];
    const { code, stdout, stderr } = await elbo([...args, '--threads', '1', '--record', '--json']);
    expect(code, stderr).toBe(0);
    const measured = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '').metrics;
    expect(Object.keys(measured)).toEqual([
      'test_negative_elbo',
      'test_reconstruction',
      'test_kl',
      'test_classifier_frechet_distance',
      'test_classifier_kernel_distance',
      'test_classifier_precision',
      'test_classifier_recall',
    ]);
    const { value, examples, protocol } = measured.test_classifier_frechet_distance;
    expect(examples).toBe(2000);
    expect(protocol).toMatch(
      /^500 expected images .* classifier features\/1, trained on shapes, SHA-256 [0-9a-f]{64}; /,
    );
    // One short epoch does not draw sprites.
    expect(value).toBeGreaterThan(2 * Number(/in place of samples: (\S+)$/.exec(protocol)?.[1]));
    expect((await readManifest(model)).metrics).toMatchObject(measured);
    expect(stdout).toMatch(/^test_classifier_precision [\d.]+ % \(2000 examples; 500 expected/m);
  });

  test('on the validation part, no test image is looked at', async () => {
    const part = ['--split', 'validation', '--limit', '400', '--metrics', 'frechet', '--classifier', classifier];
    const { code, stdout, stderr } = await elbo(['evaluate', model, ...part, '--threads', '1']);
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(
      /^validation_classifier_frechet_distance \S+ {2}\(40 examples; 40 expected .* against 40 validation images; .* 40 training images/,
    );
  });

  test.each([
    [['frechet'], {}, /^metric frechet compares features of a classifier: name one by --classifier classifiers\/NAME/],
    [['elbo'], { classifier: 'x' }, /^--classifier is for the metrics frechet, kernel-distance, precision, recall;/],
    [['elbo'], { sampleCount: 100 }, /^--sample-count is for the metrics frechet/],
  ])('metrics %j with %j are refused', (metrics, flags, message) => {
    expect(() => checkSampleFlags(metrics, flags)).toThrow(message);
  });

  test.each([
    [['--classifier', '/nowhere'], /^elbo: \/nowhere\/classifier\.json: no such classifier/],
    [['--classifier', '/nowhere', '--sample-count', '3'], /expected a whole number from 20 to 50000/],
    [[], /^elbo: metric recall compares features of a classifier/],
  ])('%j: exit code 2 and a line that says what is wrong', async (args, message) => {
    const { code, stderr, stdout } = await elbo(['evaluate', model, '--limit', '100', '--metrics', 'recall', ...args]);
    expect(stderr).toMatch(message);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  });

  test('missing data are refused', async () => {
    const args = ['--data-dir', '/nowhere', '--metrics', 'frechet', '--classifier', classifier];
    const { code, stderr } = await elbo(['evaluate', 'models/mnist/1', ...args]);
    expect(stderr).toMatch(/^elbo: mnist: neither train-images-idx3-ubyte.gz nor/);
    expect(code).toBe(2);
  });
});
