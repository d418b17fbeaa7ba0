import { classCount, type Dataset } from '@elbo/training/data/dataset';
import type { Engine } from '@elbo/training/engines/engine';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { TfjsEngine } from '@elbo/training/engines/tfjs';
import { momentsFor } from '@elbo/training/prepared-data';
import { type Progress, Trainer } from '@elbo/training/trainer/trainer';
import type { Configuration } from '@elbo/training/vae/configuration';
import { buildModel } from '@elbo/training/vae/model';
import { vaeObjective } from '@elbo/training/vae/objective';
import { describe, expect, test } from 'vitest';
import { barsDataset, tinyConfiguration } from './support/bars.js';
import { codesDataset, countsDataset, mixedDataset } from './support/tables.js';

/** Steps that are compared; one epoch has as many. */
const STEPS = 20;
const BATCH_SIZE = 16;

const { optimiser, objective, discriminator } = tinyConfiguration();
const autoencoder = { family: 'autoencoder', prior: 'gaussian-mixture', kl_warm_up_fraction: 0 } as const;
const convolutions = (...channels: number[]) =>
  channels.map((count) => ({ channels: count, kernel: 4, stride: 2, padding: 1 }));

/** Every family of models, and the ways in which they are trained. */
const CONFIGURATIONS: Readonly<Record<string, Partial<Configuration>>> = {
  'a multilayer perceptron': {},
  'a moving average of the weights': { weight_average_decay: 0.9 },
  'convolutions, with dense layers': {
    encoder: { convolutions: convolutions(3, 5), hidden: [6] },
    decoder: { convolutions: convolutions(5, 3), hidden: [6] },
    activation: 'silu',
  },
  'stochastic layers between dense layers': {
    encoder: { convolutions: [], hidden: [16, 12] },
    decoder: { convolutions: [], hidden: [8, 12], stochastic_layers: [{ after_layer: 1, latents: 3 }] },
  },
  'stochastic layers between maps, by importance samples': {
    encoder: { convolutions: convolutions(3, 5), hidden: [6] },
    decoder: { convolutions: convolutions(5, 3), hidden: [], stochastic_layers: [{ after_layer: 1, latents: 2 }] },
    objective: { ...objective, importance_samples: 3 },
  },
  'an autoencoder': autoencoder,
  'a denoising autoencoder': { ...autoencoder, objective: { ...objective, planted_defects: 2 } },
  'classes, by importance samples': { conditional: true, objective: { ...objective, importance_samples: 3 } },
  'convolutions that see planted defects': {
    encoder: { convolutions: convolutions(3), hidden: [6] },
    decoder: { convolutions: convolutions(3), hidden: [6] },
    objective: { ...objective, planted_defects: 2 },
  },
  'a VAE-GAN of dense layers and classes': {
    family: 'vae-gan',
    binarisation: 'none',
    conditional: true,
    discriminator: { ...discriminator, convolutions: [], hidden: [12, 10] },
  },
  'a VAE-GAN of convolutions': {
    family: 'vae-gan',
    binarisation: 'none',
    encoder: { convolutions: convolutions(3), hidden: [6] },
    decoder: { convolutions: convolutions(3), hidden: [6] },
    discriminator: { ...discriminator, convolutions: convolutions(3, 4), hidden: [] },
  },
  'a VampPrior': { prior: 'vamp', prior_components: 7 },
  'a VampPrior above stochastic layers': {
    prior: 'vamp',
    prior_components: 7,
    decoder: { convolutions: [], hidden: [8, 12], stochastic_layers: [{ after_layer: 0, latents: 3 }] },
  },
  'a Gaussian likelihood': { likelihood: 'gaussian' },
  'a discretised logistic likelihood': { likelihood: 'discretised-logistic' },
  'a discretised logistic likelihood, with convolutions': {
    likelihood: 'discretised-logistic',
    encoder: { convolutions: convolutions(3), hidden: [] },
    decoder: { convolutions: convolutions(3), hidden: [] },
  },
  'counts under a negative binomial likelihood': { likelihood: 'negative-binomial' },
  'codes under a categorical likelihood': { likelihood: 'categorical' },
  'numbers and codes under a mixed likelihood': { likelihood: 'mixed' },
  AdamW: { optimiser: { ...optimiser, kind: 'adamw', weight_decay: 0.1 } },
  Adamax: { optimiser: { ...optimiser, kind: 'adamax' } },
  'gradients some of which are too long': { optimiser: { ...optimiser, skip_gradient_norm: 1.95 } },
  'momentum and a short limit of the gradient': {
    optimiser: { ...optimiser, kind: 'sgd', momentum: 0.9, learning_rate: 1e-3, gradient_norm_limit: 1 },
  },
};

/** Every objective. */
const OBJECTIVES: Readonly<Record<string, Partial<Configuration['objective']>>> = {
  'beta-VAE': { beta: 4 },
  'capacity that rises': { capacity: 3, beta: 20 },
  'free bits': { free_bits: 0.5 },
  'beta-TCVAE': { total_correlation: 5 },
  FactorVAE: {
    total_correlation: 5,
    total_correlation_by: 'discriminator',
    discriminator: { hidden: [10, 8], learning_rate: 1e-3, beta1: 0.5, beta2: 0.9 },
  },
  'DIP-VAE I': { covariance: 'means' },
  'DIP-VAE II': { covariance: 'samples', covariance_diagonal: 10 },
  InfoVAE: { maximum_mean_discrepancy: 50 },
  'WAE-MMD': { beta: 0, maximum_mean_discrepancy: 100 },
  'an autoencoder with noise': { beta: 0 },
  'a trimmed share': { trimmed_share: 0.25 },
  'planted defects': { planted_defects: 3 },
  'planted defects, by importance samples': { planted_defects: 2, importance_samples: 5 },
  IWAE: { importance_samples: 5 },
  'IWAE, doubly reparameterised': { importance_samples: 5, doubly_reparameterised: true },
};
const dropout = (changes: Partial<Configuration['dropout']>) => ({
  dropout: { ...tinyConfiguration().dropout, log_variance: -4, warm_up_fraction: 0.5, ...changes },
});
const withConvolutions = {
  encoder: { convolutions: convolutions(3), hidden: [6] },
  decoder: { convolutions: convolutions(3), hidden: [6] },
};

/** Every variational dropout, in dense layers and in convolutions. */
const DROPOUTS: Readonly<Record<string, Partial<Configuration>>> = Object.fromEntries(
  (['gaussian', 'sparse', 'group'] as const).flatMap((kind) => [
    [`${kind} dropout`, dropout({ kind })],
    [`${kind} dropout of convolutions`, { ...dropout({ kind }), ...withConvolutions }],
  ]),
);
const byObjective = Object.entries(OBJECTIVES).map(
  ([name, changes]) => [name, { objective: { ...objective, ...changes } }] as const,
);

interface Trained {
  readonly losses: number[];
  readonly norms: number[];
  readonly states: ReadonlyMap<string, Float32Array>;
}

const EXAMPLES = STEPS * BATCH_SIZE;
const datasetFor = async ({ likelihood, conditional }: Configuration): Promise<Pick<Dataset, 'train' | 'input'>> => {
  switch (likelihood) {
    case 'negative-binomial':
      return countsDataset(EXAMPLES, 1);
    case 'categorical':
      return codesDataset(EXAMPLES, 1);
    case 'mixed':
      return mixedDataset(EXAMPLES, 1);
    default: {
      const { train, input } = barsDataset(EXAMPLES, 1);
      return {
        train: conditional ? { ...train, labels: Uint8Array.from({ length: EXAMPLES }, (_, i) => i % 3) } : train,
        input,
      };
    }
  }
};

/** The first epoch, with the same seed and so the same noise and minibatches on every engine. */
async function trained(engine: Engine, configuration: Configuration): Promise<Trained> {
  const { train, input } = await datasetFor(configuration);
  const model = buildModel(configuration, train.shape, {
    dtype: train.dtype,
    classes: train.labels && classCount(train),
    columns: input.kind === 'vector' ? input.columns : undefined,
    convolutions: engine.convolutions,
    // So that outputs and scales start elsewhere than at 0 and 1.
    ...(input.kind === 'vector' && { moments: await momentsFor(configuration.likelihood, train) }),
  });
  const trainer = await Trainer.create(engine, vaeObjective(model, configuration, train.count), configuration, train);
  try {
    const runs: Progress[] = [];
    for await (const progress of trainer.runEpoch()) runs.push(progress);
    return {
      losses: runs.flatMap(({ values }) => [...values.loss]),
      norms: runs.flatMap(({ values }) =>
        Object.keys(values)
          .filter(isNorm)
          .flatMap((name) => [...values[name]]),
      ),
      states: trainer.state.tensors,
    };
  } finally {
    await trainer.release();
  }
}

const isNorm = (name: string) => name.startsWith('gradient_norm');

function relativeDifference(actual: number, expected: number): number {
  return Math.abs(actual - expected) / Math.max(1e-3, Math.abs(expected));
}

const COMBINED = { 'sparse dropout of an autoencoder': { ...autoencoder, ...dropout({ kind: 'sparse' }) } };

describe.each([...Object.entries({ ...CONFIGURATIONS, ...DROPOUTS, ...COMBINED }), ...byObjective])(
  'the first steps of %s',
  (_name, changes) => {
    test('are the same by tfjs, which differentiates on its own, as by ONNX Runtime', async () => {
      const configuration = tinyConfiguration({ batch_size: BATCH_SIZE, epochs: 1, ...changes });
      const expected = await trained(new OnnxRuntimeEngine(1), configuration);
      const actual = await trained(await TfjsEngine.create(), configuration);
      expect(actual.losses).toHaveLength(STEPS);
      for (const [i, loss] of expected.losses.entries()) {
        expect(relativeDifference(actual.losses[i], loss), `loss of step ${i}`).toBeLessThan(1e-4);
      }
      for (const [i, norm] of expected.norms.entries()) {
        expect(relativeDifference(actual.norms[i], norm), `gradient norm ${i}`).toBeLessThan(1e-3);
      }
      expect([...actual.states.keys()]).toEqual([...expected.states.keys()]);
      for (const [name, values] of expected.states) {
        const difference = Math.hypot(
          ...values.map((value, i) => value - (actual.states.get(name)?.[i] ?? Number.NaN)),
        );
        expect(difference, name).toBeLessThanOrEqual(1e-3 * Math.hypot(...values) + 1e-6);
      }
    });
  },
);
