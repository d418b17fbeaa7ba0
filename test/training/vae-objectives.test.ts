import { RandomSource } from '@elbo/models';
import { inMemory, subset, take } from '@elbo/training/data/dataset';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { type ElboEstimate, ElboEvaluator, negativeLogLikelihood } from '@elbo/training/evaluation/elbo';
import { Graph } from '@elbo/training/onnx/graph';
import { zerosLike } from '@elbo/training/onnx/ops';
import { float32 } from '@elbo/training/onnx/tensor';
import { Trainer } from '@elbo/training/trainer/trainer';
import type { ObjectiveConfiguration } from '@elbo/training/vae/configuration';
import { buildModel } from '@elbo/training/vae/model';
import { trimmedMean, vaeObjective } from '@elbo/training/vae/objective';
import { beforeAll, describe, expect, test } from 'vitest';
import { bytesOf } from '../support/examples.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';

// That each objective does to a small model what it is for, beside the plain ELBO with the same seed.

const engine = new OnnxRuntimeEngine(1);
const { train: examples, test: heldOut } = barsDataset(1500, 400);

interface Outcome extends ElboEstimate {
  readonly negativeLogLikelihood: number;
  readonly activeUnits: number;
  readonly klPerDimension: readonly number[];
}

async function trainedWith(changes: Partial<ObjectiveConfiguration>): Promise<Outcome> {
  const base = tinyConfiguration({
    epochs: 25,
    latent_size: 8,
    encoder: { convolutions: [], hidden: [32] },
    decoder: { convolutions: [], hidden: [32] },
  });
  const configuration = { ...base, objective: { ...base.objective, ...changes } };
  const model = buildModel(configuration, examples.shape);
  const trainer = await Trainer.create(engine, vaeObjective(model, configuration), configuration, examples);
  for (let epoch = 0; epoch < configuration.epochs; epoch++) for await (const _ of trainer.runEpoch());
  const evaluator = await ElboEvaluator.create(engine, model, { examples: heldOut, seed: 1, binarise: true });
  const estimate = await evaluator.evaluate(trainer.weights);
  const held = { examples: take(heldOut, 100), seed: 1, binarise: true };
  const { negativeLogLikelihood: nats } = await negativeLogLikelihood(engine, model, trainer.weights, held, {
    samples: 100,
  });

  await evaluator.release();
  await trainer.release();
  return { ...estimate, ...estimate.latent, negativeLogLikelihood: nats };
}

describe('with anomalies among the examples', () => {
  const SHARE = 0.1;
  const random = new RandomSource(9);
  /** Every tenth example is noise. */
  const contaminated = async () => {
    const values = (await bytesOf(examples)).slice();
    const size = values.length / examples.count;
    for (let row = 0; row < examples.count; row += 1 / SHARE) {
      for (let i = row * size; i < (row + 1) * size; i++) values[i] = random.integer(2) * 255;
    }
    return inMemory(values, examples.shape);
  };

  test('a trimmed share teaches nothing: anomalies stay strange, and the others are learned better', async () => {
    const data = await contaminated();
    const noise = subset(
      data,
      Array.from({ length: Math.floor(data.count * SHARE) }, (_, i) => i / SHARE),
    );
    const measured = async (trimmed: number) => {
      const base = tinyConfiguration({ epochs: 25, latent_size: 8, kl_warm_up_fraction: 0 });
      const configuration = { ...base, objective: { ...base.objective, trimmed_share: trimmed } };
      const model = buildModel(configuration, data.shape);
      const trainer = await Trainer.create(engine, vaeObjective(model, configuration), configuration, data);
      for (let epoch = 0; epoch < configuration.epochs; epoch++) for await (const _ of trainer.runEpoch());
      const nats = async (of: typeof data) => {
        const evaluator = await ElboEvaluator.create(engine, model, { examples: of, seed: 1, binarise: true });
        const { negativeElbo } = await evaluator.evaluate(trainer.weights);
        await evaluator.release();
        return negativeElbo;
      };
      const found = { normal: await nats(heldOut), noise: await nats(noise) };
      await trainer.release();
      return found;
    };
    const [all, trimmed] = [await measured(0), await measured(1.5 * SHARE)];
    expect(trimmed.noise).toBeGreaterThan(all.noise + 1);
    expect(trimmed.normal).toBeLessThan(all.normal);
  });

  test('the loss of a step is the mean of the smallest, as sorting finds it', async () => {
    const configuration = tinyConfiguration({ batch_size: 8 });
    const graph = new Graph('step');
    const given = [5, 1, 9, 2, 2.5, 7, 100, 3];
    const nats = graph.input('nats', 'float32', [8]);
    const mean = trimmedMean({ reconstruction: nats, kl: zerosLike(nats) }, 0.3);
    graph.output(mean(nats), 'mean');
    const program = await engine.compile(graph);
    const { mean: found } = await program.run({ nats: float32(given, [8]) });
    await program.release();
    const kept = given.toSorted((a, b) => a - b).slice(0, configuration.batch_size - 2);
    expect(found.data[0]).toBeCloseTo(kept.reduce((sum, value) => sum + value) / kept.length, 5);
  });
});

describe('beside the plain ELBO', () => {
  let plain: Outcome;
  beforeAll(async () => {
    plain = await trainedWith({});
  });

  test('a larger beta leaves the posterior fewer nats', async () => {
    const { kl, reconstruction } = await trainedWith({ beta: 4 });
    expect(kl).toBeLessThan(0.6 * plain.kl);
    expect(reconstruction).toBeGreaterThan(plain.reconstruction);
  });

  test('a capacity holds the KL term at its nats', async () => {
    for (const capacity of [0.5 * plain.kl, 1.5 * plain.kl]) {
      const { kl } = await trainedWith({ capacity, beta: 30, capacity_fraction: 0.5 });
      expect(Math.abs(kl / capacity - 1), `${capacity} nats`).toBeLessThan(0.1);
    }
  });

  test('free bits keep latent dimensions in use that a larger beta gives up', async () => {
    const without = await trainedWith({ beta: 4 });
    const { klPerDimension } = await trainedWith({ beta: 4, free_bits: 0.5 });
    expect(Math.min(...without.klPerDimension)).toBeLessThan(0.1);
    expect(Math.min(...klPerDimension)).toBeGreaterThan(0.3);
  });

  test('without a KL term the posterior says as much as it can', async () => {
    const { kl, reconstruction } = await trainedWith({ beta: 0 });
    expect(kl).toBeGreaterThan(2 * plain.kl);
    expect(reconstruction).toBeLessThan(plain.reconstruction);
  });

  test.each([false, true])('importance samples serve the likelihood, not the ELBO (doubly: %s)', async (doubly) => {
    const outcome = await trainedWith({ importance_samples: 8, doubly_reparameterised: doubly });
    expect(outcome.negativeLogLikelihood).toBeLessThan(plain.negativeLogLikelihood);
    expect(outcome.negativeElbo).toBeGreaterThan(outcome.negativeLogLikelihood);
    expect(outcome.activeUnits).toBeGreaterThanOrEqual(plain.activeUnits);
  });
});
