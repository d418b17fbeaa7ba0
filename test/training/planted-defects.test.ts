import { RandomSource, readModel } from '@elbo/models';
import { take } from '@elbo/training/data/dataset';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { TfjsEngine } from '@elbo/training/engines/tfjs';
import { ElboEvaluator } from '@elbo/training/evaluation/elbo';
import { readTrainedModel } from '@elbo/training/evaluation/trained-model';
import { ServedModel } from '@elbo/training/offline/served-model';
import { Graph } from '@elbo/training/onnx/graph';
import { float32 } from '@elbo/training/onnx/tensor';
import { train } from '@elbo/training/train';
import { type Configuration, loadPreset, override, parseConfiguration } from '@elbo/training/vae/configuration';
import { buildModel } from '@elbo/training/vae/model';
import { vaeObjective } from '@elbo/training/vae/objective';
import { withDefects } from '@elbo/training/vae/planted-defects';
import { describe, expect, test } from 'vitest';
import { bytesOf } from '../support/examples.js';
import { suiteDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';
import { dense } from './support/reference-mlp.js';

// The denoising criterion: the encoder sees rectangles on images whose decoder is to give them without.

const engine = new OnnxRuntimeEngine(1);

describe.each([
  [1, 28, 28],
  [3, 20, 33],
  [1, 128, 96],
])('defects of images of %i x %i x %i', (channels, height, width) => {
  const EXAMPLES = 6;
  const COUNT = 3;
  const NUMBERS = 6 + channels;
  const random = new RandomSource(5);
  const size = channels * height * width;
  const x = Float32Array.from({ length: EXAMPLES * size }, () => random.uniform());
  const noise = random.fillNormal(new Float32Array(EXAMPLES * COUNT * NUMBERS));
  const planted = async (by: Pick<OnnxRuntimeEngine, 'compile'>) => {
    const graph = new Graph('defects');
    const image = graph.input('x', 'float32', [EXAMPLES, channels, height, width]);
    graph.output(withDefects(image, graph.input('noise', 'float32', [EXAMPLES, COUNT, NUMBERS])), 'seen');
    const program = await by.compile(graph);
    const { seen } = await program.run({
      x: float32(x, [EXAMPLES, channels, height, width]),
      noise: float32(noise, [EXAMPLES, COUNT, NUMBERS]),
    });
    await program.release();
    return seen.data as Float32Array;
  };

  test('are rectangles of any angle, of one shade a channel, the later above the earlier', async () => {
    const seen = await planted(engine);
    let [changed, atAnEdge, wrong] = [0, 0, 0];
    for (let example = 0; example < EXAMPLES; example++) {
      const above = Array.from({ length: COUNT }, (_, defect) =>
        rectangle(noise.subarray((example * COUNT + defect) * NUMBERS).subarray(0, NUMBERS), height, width),
      );
      for (let row = 0; row < height; row++) {
        for (let column = 0; column < width; column++) {
          const margins = above.map(({ margin }) => margin(row + 0.5, column + 0.5));
          // Where rounding decides, either is right.
          if (margins.some((margin) => Math.abs(margin) < 1e-3)) {
            atAnEdge++;
            continue;
          }
          const top = above.findLast((_, defect) => margins[defect] > 0);
          if (top !== undefined) changed++;
          for (let channel = 0; channel < channels; channel++) {
            const at = ((example * channels + channel) * height + row) * width + column;
            const expected = top === undefined ? x[at] : top.shades[channel];
            if (Math.abs(seen[at] - expected) > 1e-5) wrong++;
          }
        }
      }
    }
    expect(wrong).toBe(0);
    expect(changed).toBeGreaterThan(50);
    expect(atAnEdge).toBeLessThan(0.01 * EXAMPLES * height * width);
  });

  test('are the same by tfjs', async () => {
    const [expected, actual] = [await planted(engine), await planted(await TfjsEngine.create())];
    const different = expected.filter((value, i) => Math.abs(value - actual[i]) > 1e-5).length;
    expect(different).toBeLessThan(1e-3 * expected.length);
  });
});

/** What the numbers of a defect mean, by corners and edges: how far inside a point is, in pixels. */
function rectangle(numbers: Float32Array, height: number, width: number) {
  const [chance, row, column, length, breadth, turn, ...shades] = Array.from(numbers, normalDistribution);
  const half = (u: number) => 0.5 * (Math.min(height, width) / 3) ** u;
  const direction = { row: Math.sin(Math.PI * turn), column: Math.cos(Math.PI * turn) };
  const margin = (y: number, x: number) => {
    const [dy, dx] = [y - row * height, x - column * width];
    const along = dx * direction.column + dy * direction.row;
    // Pythagoras, so that the second axis is not taken from the first one's formula.
    const across = Math.sqrt(Math.max(0, dx * dx + dy * dy - along * along));
    return Math.min(half(length) - Math.abs(along), half(breadth) - across);
  };
  const none = () => Number.NEGATIVE_INFINITY;
  return {
    margin: chance < 0.5 ? margin : none,
    shades: shades.map((u) => Math.min(Math.max(3 * u - 1, 0), 1)),
  };
}

/** Φ by Simpson's rule. */
function normalDistribution(x: number): number {
  const steps = 400;
  const density = (t: number) => Math.exp((-t * t) / 2) / Math.sqrt(2 * Math.PI);
  let sum = density(0) + density(x);
  for (let i = 1; i < steps; i++) sum += (i % 2 === 1 ? 4 : 2) * density((i * x) / steps);
  return 0.5 + (sum * x) / steps / 3;
}

const planting = (count: number, changes: Partial<Configuration> = {}): Configuration => {
  const tiny = tinyConfiguration(changes);
  return { ...tiny, objective: { ...tiny.objective, planted_defects: count } };
};

test('an objective without defects draws no noise for them, and presents x', () => {
  const { objective } = tinyConfiguration();
  expect(objective.planted_defects).toBe(0);
  const model = buildModel(planting(0), [1, 6, 6]);
  expect(Object.keys(vaeObjective(model, planting(0)).noise)).toEqual(['z']);
  expect(vaeObjective(model, planting(3)).noise).toEqual({ z: [3], defects: [3, 7] });
});

test.each([
  ['of several importance samples', { importance_samples: 3 }],
  ['with a trimmed share', { trimmed_share: 0.25 }],
])('an objective %s takes them', (_, changes) => {
  const configuration = planting(2);
  const combined = parseConfiguration({ ...configuration, objective: { ...configuration.objective, ...changes } });
  expect(vaeObjective(buildModel(combined, [3, 6, 8]), combined).noise.defects).toEqual([2, 9]);
});

describe('refused', () => {
  test('are defects on rows of a table', () => {
    const configuration = override(loadPreset('table'), ['objective.planted_defects=2']);
    expect(() => vaeObjective(buildModel(configuration, [5]), configuration)).toThrow(
      'objective.planted_defects is 2; expected 0 for rows of a table, which have no place for a defect',
    );
  });

  test('are defects in a VAE-GAN', () => {
    expect(() =>
      override(loadPreset('mnist-mlp'), [...['family=vae-gan', 'binarisation=none', 'objective.planted_defects=1']]),
    ).toThrow(/^objective.planted_defects is given; expected its default for family vae-gan/);
  });

  test.each([-1, 0.5, 101])('are %d of them', (count) => {
    expect(() => override(loadPreset('shapes-mlp'), [`objective.planted_defects=${count}`])).toThrow(
      /^objective.planted_defects /,
    );
  });
});

describe('a model that was trained with them', () => {
  const store = suiteDirectory();
  const dataset = barsDataset(1500, 300);
  const SIZE = 36;
  const trained = async (count: number) => {
    const configuration = planting(count, {
      ...{ name: `tiny-${count}`, epochs: 25, latent_size: 6 },
      encoder: { convolutions: [], hidden: [48] },
      decoder: { convolutions: [], hidden: [48] },
    });
    const result = await train({ engine, configuration, dataset, store: store() });
    if (result === undefined) throw new Error('the run stopped');
    return { ...result, model: await ServedModel.open(engine, await readModel(result.directory)) };
  };

  test('lets its reconstruction move less by a defect that it was not shown than one that was not', async () => {
    const clean = Float32Array.from(await bytesOf(take(dataset.test, 200)), (byte) => byte / 255);
    // Two dots, black on white and white on black, which no bar is.
    const spoilt = clean.slice();
    for (let i = 0; i < clean.length / SIZE; i++) {
      for (const at of [(i * 7) % SIZE, (i * 11 + 14) % SIZE])
        spoilt[i * SIZE + at] = clean[i * SIZE + at] > 0.5 ? 0 : 1;
    }
    const reconstructed = async (model: ServedModel, images: Float32Array) => {
      const { means } = await model.encode({ x: float32(images, [images.length / SIZE, 1, 6, 6]) });
      return (await model.decode(means)).flatMap((image) => [...image]);
    };
    const movementOf = async (model: ServedModel) => {
      const [before, after] = [await reconstructed(model, clean), await reconstructed(model, spoilt)];
      return after.reduce((sum, value, i) => sum + (value - before[i]) ** 2, 0) / clean.length;
    };
    const [without, withThem] = [await trained(0), await trained(4)];
    const movements = [await movementOf(without.model), await movementOf(withThem.model)];
    await Promise.all([without.model.release(), withThem.model.release()]);
    expect(movements[1]).toBeLessThan(0.9 * movements[0]);
    const nats = [without, withThem].map(({ manifest }) => manifest.metrics.test_negative_elbo.value);

    expect(nats[1]).toBeLessThan(nats[0] + 2);
  });

  test('is measured and exported without any: the encoder is the network of its weights', async () => {
    const { directory, manifest, model: served } = await trained(3);
    const { weights, model } = await readTrainedModel(directory);
    const rows = Array.from({ length: 8 }, (_, i) => Array.from({ length: SIZE }, (_, j) => ((i * 5 + j) % 7) / 6));
    const { means } = await served.encode({ x: float32(Float32Array.from(rows.flat()), [rows.length, 1, 6, 6]) });
    await served.release();
    const silu = (values: readonly number[]) => values.map((value) => value / (1 + Math.exp(-value)));
    const expected = rows.flatMap((row) => dense(silu(dense(row, weights, 'encoder.0')), weights, 'encoder.mean'));
    for (const [i, mean] of means.entries()) expect(mean).toBeCloseTo(expected[i], 4);

    const heldOut = { examples: dataset.test, seed: manifest.training.seed, binarise: true };
    const evaluator = await ElboEvaluator.create(engine, model, heldOut);
    const { negativeElbo } = await evaluator.evaluate(weights);
    await evaluator.release();
    expect(negativeElbo).toBeCloseTo(manifest.metrics.test_negative_elbo.value, 4);
  });
});
