import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { readTrainedModel } from '@elbo/training/evaluation/trained-model';
import { exportAgain } from '@elbo/training/export-again';
import { type TrainResult, train } from '@elbo/training/train';
import type { Configuration } from '@elbo/training/vae/configuration';
import { beforeAll, expect, test } from 'vitest';
import { suiteDirectory, temporaryDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';

const engine = new OnnxRuntimeEngine(1);
const newStore = suiteDirectory();
const dataset = barsDataset(600);
let first: TrainResult;

async function trained(changes: Partial<Configuration>, from?: string): Promise<TrainResult> {
  const store = from === undefined ? newStore() : temporaryDirectory();
  const configuration = tinyConfiguration(changes);
  const result = await train({ engine, configuration, dataset, store, from });
  if (result === undefined) throw new Error('the run was stopped');
  return result;
}

beforeAll(async () => {
  first = await trained({ epochs: 20 });
});

/** A learning rate at which float32 weights stay what they are. */
const optimiser = { ...tinyConfiguration().optimiser, learning_rate: 1e-12 };

test('training starts from the weights of another model', async () => {
  const second = await trained({ epochs: 1, optimiser, kl_warm_up_fraction: 0 }, first.directory);
  const [before, after] = [await readTrainedModel(first.directory), await readTrainedModel(second.directory)];
  for (const [name, values] of before.weights) {
    for (const [i, value] of values.entries()) expect(after.weights.get(name)?.[i]).toBeCloseTo(value, 6);
  }
  const [was, is] = [first, second].map(({ manifest }) => manifest.metrics.test_negative_elbo.value);
  expect(is).toBeCloseTo(was, 3);
  expect(second.manifest.training.started_from).toMatch(/^tiny\/1 [0-9a-f]{16} [0-9a-f]{16}$/);
});

test('parameters that the other model lacks start as they would', async () => {
  const second = await trained({ epochs: 1, optimiser, prior: 'vamp', prior_components: 5 }, first.directory);
  expect(second.manifest.prior.kind).toBe('vamp');
});

test('weights that are 0 in the other model stay 0, and the others learn', async () => {
  // Half of every matrix is taken out of a copy of the first model.
  const { manifest, configuration, weights } = await readTrainedModel(first.directory);
  const pruned = new Map(
    [...weights].map(([name, values]) => [name, values.map((value, i) => (i % 2 === 0 ? 0 : value))] as const),
  );
  const store = temporaryDirectory();
  const half = await exportAgain(
    { directory: first.directory, store, dataset, engine },
    { manifest, weights },
    { configuration, weights: pruned },
  );
  const result = await train({
    engine,
    configuration: tinyConfiguration({ epochs: 20, kl_warm_up_fraction: 0 }),
    dataset,
    store,
    from: half.directory,
    keepZeros: true,
  });
  if (result === undefined) throw new Error('the run was stopped');
  const after = await readTrainedModel(result.directory);
  for (const { name, shape } of after.model.parameters) {
    const [before, values] = [pruned, after.weights].map((of) => of.get(name) ?? new Float32Array());
    const moved = values.filter((value, i) => value !== before[i]).length;
    expect(moved, name).toBeGreaterThan(0);
    if (shape.length > 1) expect(values.filter((value, i) => (value === 0) !== (before[i] === 0)).length, name).toBe(0);
  }
  const of = (metrics: typeof manifest.metrics) => metrics.test_negative_elbo.value;
  expect(of(result.manifest.metrics)).toBeLessThan(of(half.manifest.metrics) - 1);
  expect(result.manifest.training.kept_zeros).toBe(true);
});

test.each([
  [{}, undefined, /^--keep-zeros is given; expected --from MODEL with it/],
  [
    { dropout: { ...tinyConfiguration().dropout, kind: 'sparse' as const } },
    'first',
    /^--keep-zeros is given and dropout.kind is sparse; expected --set dropout.kind=none/,
  ],
])('zeros that cannot be kept are refused: %j', async (changes, from, message) => {
  const options = { engine, configuration: tinyConfiguration(changes), dataset, store: temporaryDirectory() };
  await expect(train({ ...options, from: from && first.directory, keepZeros: true })).rejects.toThrow(message);
});

test.each([
  [{ seed: 2 }, /trained with seed 1 and validation_fraction 0.1; expected the same here/],
  [{ validation_fraction: 0.2 }, /expected the same here/],
  [{ latent_size: 4 }, /^--from: encoder.mean.weight has 48 numbers; expected 64 \[16, 4\]/],
])('a model that does not suit %j is refused', async (changes, message) => {
  await expect(trained({ epochs: 1, ...changes }, first.directory)).rejects.toThrow(message);
});
