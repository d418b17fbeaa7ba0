import { RandomSource } from '@elbo/models';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

describe('random source', () => {
  test('the same seed gives the same numbers, another seed or stream gives others', () => {
    const draw = (seed: number, stream?: number) =>
      Array.from(new RandomSource(seed, stream).fillNormal(new Float32Array(8)));
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
    expect(draw(7, 1)).not.toEqual(draw(7));
  });

  test('continues from a saved state', () => {
    const source = new RandomSource(3);
    source.fillNormal(new Float32Array(10));
    const restored = RandomSource.fromState(source.state);
    expect(restored.fillNormal(new Float32Array(6))).toEqual(source.fillNormal(new Float32Array(6)));
  });

  test('normals have the moments of a standard normal', () => {
    const n = 200_000;
    const values = new RandomSource(1).fillNormal(new Float32Array(n));
    const moment = (power: number) => values.reduce((sum, v) => sum + v ** power, 0) / n;
    expect(Math.abs(moment(1))).toBeLessThan(5 / Math.sqrt(n));
    expect(Math.abs(moment(2) - 1)).toBeLessThan(5 * Math.sqrt(2 / n));
    expect(Math.abs(moment(4) - 3)).toBeLessThan(5 * Math.sqrt(96 / n));
  });

  test('binarisation thresholds are uniform over 0 … 254 and never 255', () => {
    const n = 1_000_003;
    const counts = new Array<number>(256).fill(0);
    for (const threshold of new RandomSource(5).fillBinarisationThresholds(new Uint8Array(n))) counts[threshold] += 1;
    expect(counts[255]).toBe(0);
    const expected = n / 255;
    const chiSquare = counts.slice(0, 255).reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    // 254 degrees of freedom: mean 254, standard deviation 22.5.
    expect(chiSquare).toBeLessThan(254 + 5 * 22.5);
  });

  test('a permutation holds every index once', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 200 }), fc.nat(), (size, seed) => {
        const sorted = Array.from(new RandomSource(seed).permutation(size)).sort((a, b) => a - b);
        expect(sorted).toEqual(Array.from({ length: size }, (_, i) => i));
      }),
    );
  });
});
