import { RandomSource } from '@elbo/models';
import { inMemory } from '@elbo/training/data/dataset';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { ElboEvaluator, logSumExp, negativeLogLikelihood } from '@elbo/training/evaluation/elbo';
import { describeLatent } from '@elbo/training/evaluation/latent-structure';
import { buildModel } from '@elbo/training/vae/model';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesOf } from '../support/examples.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';
import { crossEntropy, decode, encode, klToStandardNormal } from './support/reference-mlp.js';

const engine = new OnnxRuntimeEngine(1);
const dataset = barsDataset(100, 60);
const testBytes = await bytesOf(dataset.test);
const model = buildModel(tinyConfiguration({ activation: 'relu', latent_size: 2 }), [1, 6, 6]);
// The encoder is damped, so that its posterior is a proposal from which few samples reach the true one, yet is not the prior.
const random = new RandomSource(11);
const weights = new Map(
  model.parameters.map((parameter) => {
    const scale = parameter.name.startsWith('encoder') ? 0.4 : 1.5;
    return [parameter.name, parameter.initialise(random).map((w) => scale * w)];
  }),
);

/** Black and white only: binarisation then leaves the pixels as they are, and the oracle sees the same. */
const blackAndWhite = testBytes.map((byte) => (byte > 0 ? 255 : 0));
const pixels = Array.from({ length: 60 }, (_, i) =>
  Array.from(blackAndWhite.subarray(i * 36, (i + 1) * 36), (b) => b / 255),
);

/** −log p(x) by summing p(x | z) p(z) over a fine grid of the two latent dimensions. */
function negativeLogLikelihoodOnGrid(x: readonly number[]): number {
  const step = 0.1;
  const terms: number[] = [];
  for (let a = -6; a <= 6; a += step) {
    for (let b = -6; b <= 6; b += step) {
      const logPrior = -Math.log(2 * Math.PI) - (a * a + b * b) / 2;
      terms.push(logPrior - crossEntropy(x, decode([a, b], weights, 2)) + 2 * Math.log(step));
    }
  }
  return -logSumExp(terms);
}

describe('evaluation', () => {
  test('the importance-sampled likelihood is the integral over z', async () => {
    const count = 6;
    const examples = inMemory(blackAndWhite.subarray(0, count * 36), [1, 6, 6]);
    const { negativeLogLikelihood: estimate } = await negativeLogLikelihood(
      engine,
      model,
      weights,
      { examples, seed: 1, binarise: true },
      { samples: 20_000 },
    );
    const exact = pixels.slice(0, count).reduce((sum, x) => sum + negativeLogLikelihoodOnGrid(x) / count, 0);
    expect(Math.abs(estimate - exact)).toBeLessThan(0.02);
  });

  test('−ELBO averages to the reconstruction term plus the KL in closed form, and bounds the likelihood', async () => {
    const samples = 40;
    const repeated = new Uint8Array(60 * 36 * samples);
    for (let i = 0; i < samples; i++) repeated.set(blackAndWhite, i * 60 * 36);
    const examples = inMemory(repeated, [1, 6, 6]);
    const evaluator = await ElboEvaluator.create(engine, model, { examples, seed: 3, binarise: true });
    const { negativeElbo, reconstruction, kl } = await evaluator.evaluate(weights);

    const noise = new RandomSource(99);
    let expectedReconstruction = 0;
    let expectedKl = 0;
    for (const x of pixels) {
      const posterior = encode(x, weights, 1, 10);
      expectedKl += klToStandardNormal(posterior) / 60;
      for (let s = 0; s < samples; s++) {
        const epsilon = noise.fillNormal(new Float32Array(2));
        const z = posterior.mean.map((mean, i) => mean + Math.exp(posterior.logVariance[i] / 2) * epsilon[i]);
        expectedReconstruction += crossEntropy(x, decode(z, weights, 2)) / (60 * samples);
      }
    }
    expect(kl).toBeCloseTo(expectedKl, 4);
    expect(reconstruction).toBeCloseTo(expectedReconstruction, 0.5);
    expect(negativeElbo).toBeCloseTo(reconstruction + kl, 10);
    const likelihood = await negativeLogLikelihood(
      engine,
      model,
      weights,
      { examples: inMemory(blackAndWhite, [1, 6, 6]), seed: 1, binarise: true },
      { samples: 500 },
    );
    expect(negativeElbo).toBeGreaterThan(likelihood.negativeLogLikelihood);
  });

  test('grey pixels are binarised with their brightness as the probability', async () => {
    // With all weights 0 the decoder says 1/2 everywhere: 36 log 2 nats whatever is drawn; a bias shows the mean.
    const count = 4000;
    const examples = inMemory(new Uint8Array(count * 36).fill(64), [1, 6, 6]);
    const zero = new Map(
      model.parameters.map(({ name, shape }) => [name, new Float32Array(shape.reduce((a, b) => a * b, 1))]),
    );
    const bias = zero.get('decoder.output.bias');
    bias?.fill(1);
    const evaluator = await ElboEvaluator.create(engine, model, { examples, seed: 4, binarise: true });
    const { reconstruction, kl } = await evaluator.evaluate(zero);
    expect(kl).toBe(0);
    expect(reconstruction / 36).toBeCloseTo(Math.log1p(Math.E) - 64 / 255, 2);
  });

  test('latent structure: dimensions that ignore the input are not active and carry no information', async () => {
    const silenced = new Map([...weights].map(([name, values]) => [name, values.slice()]));
    for (const head of ['encoder.mean', 'encoder.log_variance']) {
      const matrix = silenced.get(`${head}.weight`) ?? new Float32Array();
      for (let i = 1; i < matrix.length; i += 2) matrix[i] = 0;
      silenced.get(`${head}.bias`)?.set([0], 1);
    }
    const { activeUnits, klPerDimension } = await describeLatent(
      engine,
      model,
      silenced,
      inMemory(testBytes, [1, 6, 6]),
    );
    expect(activeUnits).toBe(1);
    expect(klPerDimension[1]).toBeCloseTo(0, 6);
    const total = Array.from({ length: 60 }, (_, i) => {
      const x = Array.from(testBytes.subarray(i * 36, (i + 1) * 36), (byte) => byte / 255);
      return klToStandardNormal(encode(x, silenced, 1, 10)) / 60;
    }).reduce((a, b) => a + b);
    expect(klPerDimension[0] + klPerDimension[1]).toBeCloseTo(total, 4);
  });

  test('log-sum-exp neither overflows nor underflows', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -50, max: 50, noNaN: true }), { minLength: 1 }),
        fc.integer({ min: -1000, max: 1000 }),
        (v, shift) => {
          const direct = Math.log(v.reduce((sum, x) => sum + Math.exp(x), 0));
          expect(logSumExp(v.map((x) => x + shift))).toBeCloseTo(direct + shift, 8);
        },
      ),
    );
    expect(logSumExp([Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY])).toBe(Number.NEGATIVE_INFINITY);
  });
});
