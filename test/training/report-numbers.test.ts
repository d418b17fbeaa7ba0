import { spawnSync } from 'node:child_process';
import { RandomSource } from '@elbo/models';
import { loadPreset, override, presetNames } from '@elbo/training';
import { principalComponents } from '@elbo/training/evaluation/principal-components';
import { encodeModel } from '@elbo/training/onnx/encode';
import { Graph } from '@elbo/training/onnx/graph';
import { add, matmul } from '@elbo/training/onnx/ops';
import { float32 } from '@elbo/training/onnx/tensor';
import { brief, fixed } from '@elbo/training/pictures/numbers';
import { isClassifier, loadAnyPreset } from '@elbo/training/presets';
import { BINS_A_DECADE, SMALLEST_DECADE, weightsOf } from '@elbo/training/report/layer-weights';
import { shares } from '@elbo/training/report/sections/histogram';
import { shellWord, trainingCommand } from '@elbo/training/report/training-command';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

test('principal components find the axes and variances that data were made of', () => {
  const count = 2000;
  const noise = new RandomSource(1).fillNormal(new Float32Array(3 * count));
  // Orthogonal axes of length 1, scales 3, 1 and 0.1.
  const axes = [
    [2 / 3, 2 / 3, 1 / 3],
    [-2 / 3, 1 / 3, 2 / 3],
    [1 / 3, -2 / 3, 2 / 3],
  ];
  const rows = Float32Array.from({ length: 3 * count }, (_, at) => {
    const [row, j] = [Math.floor(at / 3), at % 3];
    return 7 + [3, 1, 0.1].reduce((sum, scale, k) => sum + scale * noise[3 * row + k] * axes[k][j], 0);
  });
  const { points, shares: found } = principalComponents(rows, 3);
  expect(found[0]).toBeCloseTo(9 / 10.01, 1);
  expect(found[1]).toBeCloseTo(1 / 10.01, 1);
  const correlation = (axis: number) => {
    let [product, ofPoints, ofNoise] = [0, 0, 0];
    for (let i = 0; i < count; i++) {
      product += points[2 * i + axis] * noise[3 * i + axis];
      ofPoints += points[2 * i + axis] ** 2;
      ofNoise += noise[3 * i + axis] ** 2;
    }
    return product / Math.sqrt(ofPoints * ofNoise);
  };
  expect(correlation(0)).toBeGreaterThan(0.99);
  // The largest weight of the second axis is positive, by convention.
  expect(Math.abs(correlation(1))).toBeGreaterThan(0.99);
});

test('weights are counted in both graphs, zeros exactly, constants not', () => {
  const make = (name: string, values: number[], shape: number[]) => {
    const graph = new Graph(name);
    const x = graph.input('x', 'float32', ['N', 2]);
    const weight = graph.initialiser(`${name}.weight`, float32(values, shape));
    const bias = graph.initialiser(`${name}.bias`, float32([1, 0, 3], [3]));
    graph.output(add(add(matmul(x, weight), bias), graph.constant(float32([5, 6, 7], [3]))), 'y');
    return encodeModel(graph);
  };
  const encoder = make('encoder', [0, -0, 0.5, -0.5, 2e-9, 40], [2, 3]);
  const decoder = make('decoder', [1, 1, 1, 1, 1, 0], [2, 3]);
  const { parameters, layers } = weightsOf({ graphs: { encoder, decoder, scorer: encoder } });
  expect(parameters).toBe(18);
  expect(layers.map(({ name, count, zeros }) => [name, count, zeros])).toEqual([
    ['encoder.weight', 6, 2],
    ['decoder.weight', 6, 1],
  ]);
  const { magnitudes } = layers[0];
  expect(magnitudes.reduce((sum, count) => sum + count, 0)).toBe(4);
  expect(magnitudes[Math.floor((Math.log10(0.5) - SMALLEST_DECADE) * BINS_A_DECADE)]).toBe(2);
  expect(magnitudes[0]).toBe(1);
});

test('shares of a histogram are those of a count by hand', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: -2, max: 2, noNaN: true }), { minLength: 1 }),
      fc.integer({ min: 1, max: 9 }),
      (values, bins) => {
        const found = shares(values, [-1, 1], bins);
        const inside = values.filter((value) => value >= -1 && value <= 1).length;
        expect(found.reduce((sum, share) => sum + share, 0)).toBeCloseTo(inside / values.length, 9);
        found.forEach((share, bin) => {
          const [from, to] = [-1 + (2 * bin) / bins, -1 + (2 * (bin + 1)) / bins];
          const surely = values.filter((value) => value > from + 1e-9 && value < to - 1e-9).length;
          expect(share * values.length).toBeGreaterThanOrEqual(surely - 1e-9);
        });
      },
    ),
  );
});

test('numbers are short, and never a negative zero', () => {
  expect([0, 1, 0.5, 1000, 12340, -2.5, 2.5e7, 0.03671].map(brief)).toEqual([
    '0',
    '1',
    '0.5',
    '1000',
    '12340',
    '−2.5',
    '2.5e+7',
    '0.03671',
  ]);
  expect([-0.04, 0.04, -0.06, 12].map((value) => fixed(value, 1))).toEqual(['0.0', '0.0', '−0.1', '12.0']);
});

describe('the training command', () => {
  const record = (configuration: object, more: object = {}) => ({
    training: {
      configuration: { ...configuration },
      dataset: { name: 'x', sha256: '0'.repeat(64), train_examples: 900, validation_examples: 100 },
      seed: 1,
      engine: 'onnxruntime',
      threads: 2,
      epochs: 1,
      steps: 1,
      started_at: '',
      seconds: 1,
      ...more,
    },
  });
  /** What a shell makes of the command's words. */
  const wordsOf = (command: string) =>
    spawnSync('sh', ['-c', `printf '%s\\0' ${command}`], { encoding: 'utf8' })
      .stdout.split('\0')
      .slice(0, -1);

  test.each(presetNames().filter((name) => !isClassifier(loadAnyPreset(name))))(
    'of %s with changes gives the same configuration again',
    (preset) => {
      const changed = {
        ...loadPreset(preset),
        name: 'other',
        description: `it's "1"; $(touch x) \`y\`\n& <z>`,
        dataset: '12',
        latent_size: 7,
        seed: 99,
        objective: { ...loadPreset(preset).objective, beta: 2 },
      };
      const words = wordsOf(trainingCommand(record(changed)) ?? '').slice(3);
      const configuration = words.reduce(
        (before, word, i) => {
          const option = words[i - 1];
          if (option === '--set') return override(before, [word]);
          if (option === '--seed' || option === '--epochs') return override(before, [`${option.slice(2)}=${word}`]);
          if (option === '--name' || option === '--dataset')
            return override(before, [`${option.slice(2)}=${JSON.stringify(word)}`]);
          return before;
        },
        loadPreset(words[words.indexOf('--preset') + 1] ?? ''),
      );
      expect(configuration).toEqual(changed);
    },
  );

  test('names the nearest preset, the engine, and a limit where fewer examples were taken', () => {
    const mnist = record(loadPreset('mnist-mlp'), { engine: 'tfjs', device: 'cpu' });
    expect(trainingCommand(mnist)).toBe('npx elbo train --preset mnist-mlp --data-dir DIR --engine tfjs --threads 2');
    expect(trainingCommand(mnist, 1000)).not.toContain('--limit');
    // Fields that a family never reads had other defaults once.
    const { discriminator } = loadPreset('fashion-mnist-gan');
    expect(trainingCommand(record({ ...loadPreset('shapes-mlp'), discriminator }))).not.toContain('discriminator');
    const slow = { ...discriminator, learning_rate: 1e-4 };
    expect(trainingCommand(record({ ...loadPreset('fashion-mnist-gan'), discriminator: slow }))).toContain(
      ' --set discriminator.learning_rate=0.0001 ',
    );
    expect(trainingCommand(mnist, 60_000)).toContain(' --limit 1000 ');
  });

  test('names the model that training started from', () => {
    const { training } = record(loadPreset('mnist-mlp'));
    const started = { ...training, started_from: 'digits/3 0123456789abcdef fedcba9876543210' };
    expect(trainingCommand({ training: started })).toContain(' --preset mnist-mlp --from models/digits/3 ');
    expect(trainingCommand({ training: { ...started, kept_zeros: true } })).toContain('npx elbo train --keep-zeros ');
  });

  test('is not made up for a configuration that Elbo does not know', () => {
    expect(trainingCommand(record({ ...loadPreset('table'), family: 'flow' }))).toBeUndefined();
  });

  test('is made of words that a shell takes as they are', () => {
    fc.assert(
      fc.property(
        fc.string({ minLength: 1, unit: 'grapheme' }).filter((text) => !text.includes('\0')),
        (text) => {
          expect(wordsOf(shellWord(text))).toEqual([text]);
        },
      ),
      { numRuns: 50 },
    );
  });
});
