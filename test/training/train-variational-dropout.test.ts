import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readModel } from '@elbo/models';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { readTrainedModel } from '@elbo/training/evaluation/trained-model';
import { sparsityOf } from '@elbo/training/nn/sparsity';
import { float32Initialisers } from '@elbo/training/onnx/decode';
import type { EpochRecord } from '@elbo/training/pictures/training-curves';
import { pruneModel } from '@elbo/training/prune/prune-model';
import { train } from '@elbo/training/train';
import { describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';

const engine = new OnnxRuntimeEngine(1);
const dataset = barsDataset(1000);
const EPOCHS = 40;

/** A run whose noise soon drowns what the bars do not need. */
async function trained(kind: 'gaussian' | 'sparse' | 'group', store: string) {
  const configuration = tinyConfiguration({
    epochs: EPOCHS,
    latent_size: 8,
    encoder: { convolutions: [], hidden: [24] },
    decoder: { convolutions: [], hidden: [24] },
    optimiser: { ...tinyConfiguration().optimiser, learning_rate: 0.01 },
  });
  const epochs: EpochRecord[] = [];
  const result = await train({
    engine,
    configuration: {
      ...configuration,
      dropout: { ...configuration.dropout, kind, log_variance: kind === 'sparse' ? -2 : -4, warm_up_fraction: 0.5 },
    },
    dataset,
    store,
    onEpoch: (record) => epochs.push(record),
  });
  if (result === undefined) throw new Error('the run stopped');
  return { result, epochs };
}

describe('training with variational dropout', () => {
  test('sparse: many weights end at 0, in the files of a plain network of an epoch after the warm-up', async () => {
    const store = temporaryDirectory();
    const { result, epochs } = await trained('sparse', store);
    expect(result.bestEpoch).toBeGreaterThanOrEqual(EPOCHS / 2);
    const best = epochs[result.bestEpoch - 1];
    // Chosen by the validation −ELBO and an example's share of the weights' KL, among the epochs after the warm-up.
    const bound = ({ validation, weights }: EpochRecord) => (validation?.loss ?? 0) + (weights?.kl ?? 0);
    for (const epoch of epochs.slice(EPOCHS / 2 - 1)) expect(bound(best)).toBeLessThanOrEqual(bound(epoch));

    const { model, weights } = await readTrainedModel(result.directory);
    const { weights: all, non_zero: left } = sparsityOf(model.parameters, weights);
    expect(left).toBeLessThan(0.6 * all);
    expect(best.weights).toMatchObject({ nonZero: left, total: all });
    const { graphs, manifest } = await readModel(result.directory);
    for (const graph of Object.values(graphs)) {
      expect([...float32Initialisers(graph).keys()].filter((name) => name.endsWith('log_variance'))).toEqual([]);
    }
    expect(manifest.metrics.validation_negative_elbo.value).toBeCloseTo(best.validation?.loss ?? Number.NaN, 4);
  });

  test('group: whole units end without weights, and elbo prune takes them out of the files', async () => {
    const store = temporaryDirectory();
    const { result } = await trained('group', store);
    const before = await readModel(result.directory);
    const curves = await readFile(join(result.directory, 'training-curves.svg'), 'utf8');
    const pruned = await pruneModel({ directory: result.directory, store, dataset, engine });
    expect(Object.keys(pruned.removed).length).toBeGreaterThan(0);
    expect(pruned.manifest).toMatchObject({ name: 'tiny', version: '2' });
    expect(pruned.after.bytes).toBeLessThan(pruned.before.bytes);
    expect(pruned.after.flops).toBeLessThan(pruned.before.flops);
    // Two flops for each weight of a dense layer.
    expect(pruned.before.flops).toBe(2 * pruned.before.weights.weights);
    expect(pruned.after.flops).toBe(2 * pruned.after.weights.weights);
    expect(pruned.speed.map(({ batch }) => batch)).toEqual([1, 128]);
    const { latent_size: size, encoder } = (await readTrainedModel(pruned.directory)).configuration;
    expect(pruned.manifest.latent.size).toBe(size);
    expect(24 - encoder.hidden[0]).toBe(pruned.removed['encoder.hidden.0'] ?? 0);
    expect(pruned.manifest.pruned_from).toEqual({
      name: 'tiny',
      version: '1',
      threshold: 0,
      weights: {
        before: { stored: pruned.before.weights.weights, non_zero: pruned.before.weights.non_zero },
        after: { stored: pruned.after.weights.weights, non_zero: pruned.after.weights.non_zero },
      },
      compression: pruned.before.weights.weights / pruned.after.weights.non_zero,
    });
    // The misfit is the same for other samples of as many latent dimensions as matter; the KL of the others is gone.
    const misfit = 'test_reconstruction';
    expect(pruned.manifest.metrics[misfit].value).toBeCloseTo(before.manifest.metrics[misfit].value, 0);
    expect(await readFile(join(pruned.directory, 'training-curves.svg'), 'utf8')).toBe(curves);
  });

  test('gaussian: learns, and prunes nothing', async () => {
    const { result, epochs } = await trained('gaussian', temporaryDirectory());
    const losses = epochs.map(({ validation }) => validation?.loss ?? Number.NaN);
    expect(losses.at(-1)).toBeLessThan(0.9 * losses[0]);
    const { model, weights } = await readTrainedModel(result.directory);
    const { weights: all, non_zero: left } = sparsityOf(model.parameters, weights);
    expect(left).toBe(all);
  });

  test('the posteriors of pseudo-inputs, which are no minibatch, are those of the network without noise', async () => {
    const { dropout } = tinyConfiguration();
    const result = await train({
      engine,
      configuration: tinyConfiguration({
        epochs: 2,
        prior: 'vamp',
        prior_components: 5,
        dropout: { ...dropout, kind: 'group', log_variance: -4 },
      }),
      dataset,
      store: temporaryDirectory(),
    });
    expect(result?.manifest.prior).toMatchObject({ kind: 'vamp', components: 5 });
    expect(result?.parity).toBeLessThan(1e-5);
  });

  test('other data than the model was trained on are refused', async () => {
    const store = temporaryDirectory();
    const { result } = await trained('sparse', store);
    await expect(pruneModel({ directory: result.directory, store, dataset: barsDataset(999), engine })).rejects.toThrow(
      /^bars is not the data that tiny 1 was trained on/,
    );
  });
});
