import { decodeMixture, drawLatents, encodeMixture, type LatentMixture } from '@elbo/models';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

const mixture: LatentMixture = {
  components: 2,
  dimensions: 2,
  weights: Float32Array.of(0.25, 0.75),
  means: Float32Array.of(-5, 3, 5, -2),
  deviations: Float32Array.of(0.5, 1, 0.1, 2),
};

describe('draws from a prior', () => {
  test('have the shares, means and deviations of the mixture, and N(0, 1) beyond its dimensions', () => {
    const count = 20_000;
    const latents = drawLatents({ latentSize: 3, mixture }, count, 7);
    const rows = Array.from({ length: count }, (_, i) => Array.from(latents.subarray(i * 3, i * 3 + 3)));
    for (const [k, isMember] of [(x: number) => x < 0, (x: number) => x > 0].entries()) {
      const mine = rows.filter(([first]) => isMember(first));
      expect(mine.length / count).toBeCloseTo(mixture.weights[k], 1.5);
      const expected = [...[0, 1].map((j) => [mixture.means[k * 2 + j], mixture.deviations[k * 2 + j]]), [0, 1]];
      for (const [j, [mean, deviation]] of expected.entries()) {
        const average = mine.reduce((sum, row) => sum + row[j], 0) / mine.length;
        const spread = Math.sqrt(mine.reduce((sum, row) => sum + (row[j] - average) ** 2, 0) / mine.length);
        expect(Math.abs(average - mean)).toBeLessThan(0.06 * deviation + 0.01);
        expect(spread / deviation).toBeCloseTo(1, 1);
      }
    }
  });

  test.each([undefined, mixture])('do not depend on how many are drawn (%#)', (chosen) => {
    const prior = { latentSize: 4, ...(chosen && { mixture: chosen }) };
    const many = drawLatents(prior, 9, 5, 0.7);
    expect(drawLatents(prior, 4, 5, 0.7)).toEqual(many.slice(0, 16));
    expect(drawLatents(prior, 9, 6, 0.7)).not.toEqual(many);
  });

  test('at temperature 0 are the means', () => {
    const latents = drawLatents({ latentSize: 3, mixture }, 50, 1, 0);
    for (let i = 0; i < 50; i++) {
      const [first, second, third] = latents.subarray(i * 3);
      expect([
        [-5, 3],
        [5, -2],
      ]).toContainEqual([first, second]);
      expect(third).toBeCloseTo(0, 10);
    }
  });
});

describe('prior.f32', () => {
  test('comes back as it was written', () => {
    const float = fc.float({ noNaN: true, noDefaultInfinity: true });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 4 }),
        fc.infiniteStream(float),
        (k, z, floats) => {
          const numbers = (length: number) => Float32Array.from({ length }, () => floats.next().value as number);
          const written: LatentMixture = {
            components: k,
            dimensions: z,
            weights: new Float32Array(k).fill(1 / k),
            means: numbers(k * z),
            deviations: numbers(k * z).map(Math.abs),
          };
          expect(decodeMixture(encodeMixture(written), written)).toEqual(written);
        },
      ),
    );
  });

  test.each([
    ['cut short', encodeMixture(mixture).subarray(4), /has 36 bytes; expected 40/],
    [
      'weights that do not add up to 1',
      encodeMixture({ ...mixture, weights: Float32Array.of(0.5, 0.7) }),
      /no mixture/,
    ],
    ['a weight below 0', encodeMixture({ ...mixture, weights: Float32Array.of(-0.5, 1.5) }), /no mixture/],
    [
      'a mean that is not finite',
      encodeMixture({ ...mixture, means: mixture.means.map(() => Number.NaN) }),
      /no mixture/,
    ],
    ['deviations below 0', encodeMixture({ ...mixture, deviations: mixture.deviations.map((d) => -d) }), /no mixture/],
  ])('%s is refused', (_name, bytes, message) => {
    expect(() => decodeMixture(bytes, mixture)).toThrow(message);
  });
});
