import { inMemory } from '@elbo/training/data/dataset';
import { openExamples } from '@elbo/training/data/example-reader';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { startingAt } from '@elbo/training/nn/initialisers';
import { parameter } from '@elbo/training/nn/parameters';
import { add, mul, neg, reduceMean, softplus, stopGradient, sub } from '@elbo/training/onnx/ops';
import { BatchSource } from '@elbo/training/trainer/batches';
import { Trainer } from '@elbo/training/trainer/trainer';
import type { Objective } from '@elbo/training/vae/objective';
import { expect, test } from 'vitest';
import { tinyConfiguration } from './support/bars.js';

// A generator a·z + b against a discriminator w·x + c (Goodfellow et al., 2014, with the non-saturating loss), each with
// an optimiser of its own; the oracle does the same in float64 with gradients by hand.

const BATCH = 16;
const configuration = tinyConfiguration({
  batch_size: BATCH,
  epochs: 4,
  seed: 5,
  learning_rate_schedule: { kind: 'constant', warm_up_fraction: 0, final_fraction: 1, milestones: [], factor: 0.1 },
});
const optimiser = (learningRate: number, momentum: number) =>
  ({
    ...configuration.optimiser,
    kind: 'sgd',
    learning_rate: learningRate,
    momentum,
    gradient_norm_limit: 1000,
  }) as const;
const GENERATOR = optimiser(0.05, 0.5);
const DISCRIMINATOR = optimiser(0.1, 0);

const scalar = (name: string, value: number) => parameter(name, [], startingAt([value]));
const [a, b, w, c] = [scalar('a', 0.5), scalar('b', -1), scalar('w', 0.3), scalar('c', 0.1)];

const gan: Objective = {
  parameters: [a, b, w, c],
  losses: [
    { name: 'generator', parameters: [a, b], optimiser: GENERATOR },
    { name: 'discriminator', parameters: [w, c], optimiser: DISCRIMINATOR },
  ],
  noise: { z: [1] },
  schedules: {},
  terms: ['realism'],
  build({ x, noise }, weights) {
    const fake = add(mul(noise.z, weights(a)), weights(b));
    const judge = (value: typeof fake) => add(mul(value, weights(w)), weights(c));
    const discriminator = add(reduceMean(softplus(neg(judge(x)))), reduceMean(softplus(judge(stopGradient(fake)))));
    const generator = reduceMean(softplus(neg(judge(fake))));
    return { terms: { realism: sub(0, generator) }, losses: { generator, discriminator } };
  },
};

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const mean = (values: readonly number[]) => values.reduce((sum, v) => sum + v, 0) / values.length;

test('two losses with an optimiser each move their own parameters as the formulas say', async () => {
  const values = Float32Array.from({ length: 64 }, (_, i) => 2 + Math.sin(i));
  const examples = inMemory(values, [1]);
  const trainer = await Trainer.create(new OnnxRuntimeEngine(1), gan, configuration, examples);
  const norms: Record<'generator' | 'discriminator', number[]> = { generator: [], discriminator: [] };
  for (let epoch = 0; epoch < configuration.epochs; epoch++) {
    for await (const progress of trainer.runEpoch()) {
      for (const name of ['generator', 'discriminator'] as const) {
        norms[name].push(...progress.values[`gradient_norm/${name}`]);
      }
    }
  }

  const plan = { seed: 5, batchSize: BATCH, count: 64, exampleSize: 1, dtype: 'float32', binarise: false } as const;
  const source = new BatchSource(await openExamples(examples), { ...plan, noise: { z: 1 } });
  let p = { a: 0.5, b: -1, w: 0.3, c: 0.1 };
  const velocity = { a: 0, b: 0 };
  for (let step = 0; step < 16; step++) {
    const batches = await source.draw(step, 1);
    const x = Array.from(batches.examples);
    const z = Array.from(batches.noise.z);
    const fake = z.map((value) => p.a * value + p.b);
    // d softplus(−d(fake)) / d fake = −sigmoid(−d(fake)) · w
    const push = fake.map((value) => -sigmoid(-(p.w * value + p.c)));
    const slope = { a: mean(push.map((g, i) => g * p.w * z[i])), b: mean(push.map((g) => g * p.w)) };
    const real = x.map((value) => -sigmoid(-(p.w * value + p.c)));
    const forged = fake.map((value) => sigmoid(p.w * value + p.c));
    const judgement = {
      w: mean(real.map((g, i) => g * x[i])) + mean(forged.map((g, i) => g * fake[i])),
      c: mean(real) + mean(forged),
    };
    expect(norms.generator[step]).toBeCloseTo(Math.hypot(slope.a, slope.b), 5);
    expect(norms.discriminator[step]).toBeCloseTo(Math.hypot(judgement.w, judgement.c), 5);
    velocity.a = 0.5 * velocity.a + slope.a;
    velocity.b = 0.5 * velocity.b + slope.b;
    p = {
      a: p.a - 0.05 * velocity.a,
      b: p.b - 0.05 * velocity.b,
      w: p.w - 0.1 * judgement.w,
      c: p.c - 0.1 * judgement.c,
    };
  }
  for (const [name, value] of Object.entries(p)) {
    expect(Number(trainer.weights.get(name)?.[0]), name).toBeCloseTo(value, 4);
  }
  await trainer.release();
});
