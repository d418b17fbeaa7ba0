import { splitValidation } from '@elbo/training/data/dataset';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { negativeLogLikelihood } from '@elbo/training/evaluation/elbo';
import { readTrainedModel } from '@elbo/training/evaluation/trained-model';
import { train } from '@elbo/training/train';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';

test('with importance samples, the epoch with the lowest bound by as many is exported, whatever its −ELBO', async () => {
  const engine = new OnnxRuntimeEngine(1);
  const base = tinyConfiguration({ epochs: 12, latent_size: 6, kl_warm_up_fraction: 0 });
  const configuration = {
    ...base,
    optimiser: { ...base.optimiser, learning_rate: 0.01 },
    objective: { ...base.objective, importance_samples: 5 },
  };
  const dataset = barsDataset(800);
  const bounds: number[] = [];
  const result = await train({
    engine,
    configuration,
    dataset,
    store: temporaryDirectory(),
    onEpoch: ({ bound }) => bounds.push(bound ?? Number.NaN),
  });
  if (result === undefined) throw new Error('the run was stopped');
  expect(bounds).toHaveLength(12);
  expect(result.bestEpoch).toBe(1 + bounds.indexOf(Math.min(...bounds)));
  const { model, weights } = await readTrainedModel(result.directory);
  const { validation } = splitValidation(dataset.train, configuration.validation_fraction, configuration.seed);
  const heldOut = { examples: validation, seed: configuration.seed, binarise: true };
  const again = await negativeLogLikelihood(engine, model, weights, heldOut, { samples: 5 });
  expect(again.negativeLogLikelihood).toBeCloseTo(Math.min(...bounds), 3);
});
