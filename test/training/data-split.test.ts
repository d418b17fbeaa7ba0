import { DataError } from '@elbo/training/data/data-error';
import {
  type Examples,
  inMemory,
  meanPerFeature,
  slice,
  splitHeldOut,
  splitValidation,
  subset,
  take,
} from '@elbo/training/data/dataset';
import { countMoments } from '@elbo/training/data/whole-numbers';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesOf } from '../support/examples.js';

/** Examples that carry their index: in the two pixels, the label and the two factors. */
function numbered(count: number): Examples {
  const twice = Uint8Array.from({ length: 2 * count }, (_, i) => (i >> 1) + (i & 1));
  return inMemory(twice, [2], {
    labels: Uint8Array.from({ length: count }, (_, i) => i),
    factors: { names: ['a', 'b'], cardinalities: [200, 201], values: twice },
  });
}

const indices = ({ labels }: Examples) => Array.from(labels ?? []);

describe('the validation split', () => {
  test('puts every example in exactly one part, in the original order, with all that belongs to it', async () => {
    const sizes = fc
      .integer({ min: 2, max: 200 })
      .chain((count) => fc.record({ count: fc.constant(count), size: fc.integer({ min: 1, max: count - 1 }) }));
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat(), async ({ count, size }, seed) => {
        const { train, validation } = splitValidation(numbered(count), size / count, seed);
        expect(validation.count).toBe(size);
        const all = [...indices(train), ...indices(validation)].sort((a, b) => a - b);
        expect(all).toEqual(Array.from({ length: count }, (_, i) => i));
        for (const part of [train, validation]) {
          expect(indices(part)).toEqual(indices(part).toSorted((a, b) => a - b));
          const twice = indices(part).flatMap((i) => [i, i + 1]);
          expect(Array.from(await bytesOf(part))).toEqual(twice);
          expect(Array.from(part.factors?.values ?? [])).toEqual(twice);
        }
      }),
    );
  });

  test('is the same for the same seed and another for another', () => {
    const validation = (seed: number) => indices(splitValidation(numbered(100), 0.2, seed).validation);
    expect(validation(4)).toEqual(validation(4));
    expect(validation(4)).not.toEqual(validation(5));
  });

  test.each([0, 1, -0.1, 1.1, 0.001, 0.999, Number.NaN])('refuses a fraction of %d', (fraction) => {
    expect(() => splitValidation(numbered(100), fraction, 0)).toThrow(DataError);
    expect(() => splitValidation(numbered(100), fraction, 0)).toThrow(`validation fraction is ${fraction} of 100`);
  });
});

test('of few examples, a model that is calibrated holds out 40, or half', () => {
  const held = (count: number, fraction: number) =>
    splitHeldOut(numbered(count), { validation_fraction: fraction, seed: 1 }).validation.count;
  expect(held(200, 0.1)).toBe(40);
  expect(held(200, 0.3)).toBe(60);
  expect(held(60, 0.1)).toBe(30);
});

test('taking a limit keeps the first examples, or all', async () => {
  expect(indices(take(numbered(5), 3))).toEqual([0, 1, 2]);
  expect(indices(take(numbered(5), 9))).toEqual([0, 1, 2, 3, 4]);
  expect(indices(slice(numbered(5), 2, 4))).toEqual([2, 3]);
  expect(Array.from(await bytesOf(slice(numbered(5), 2, 4)))).toEqual([2, 3, 3, 4]);
});

test('subsets of slices of subsets are the examples that the indices name at last', async () => {
  const examples = slice(subset(slice(numbered(20), 5, 15), [9, 0, 4, 4, 2]), 1, 5);
  expect(indices(examples)).toEqual([5, 9, 9, 7]);
  expect(Array.from(await bytesOf(examples))).toEqual([5, 6, 9, 10, 9, 10, 7, 8]);
  expect(Array.from(examples.factors?.values ?? [])).toEqual([5, 6, 9, 10, 9, 10, 7, 8]);
});

describe('moments of every feature', () => {
  test('the mean of a pixel is the mean of its bytes over 255', async () => {
    const { mean, variance } = await meanPerFeature(inMemory(Uint8Array.of(0, 255, 10, 0, 255, 20, 0, 255, 60), [3]));
    expect([mean[0], mean[1]]).toEqual([0, 1]);
    expect(mean[2]).toBeCloseTo(30 / 255, 12);
    expect([variance[0], variance[1]]).toEqual([0, 0]);
    expect(variance[2]).toBeCloseTo((20 ** 2 + 10 ** 2 + 30 ** 2) / 3 / 255 ** 2, 12);
  });

  test('numbers far from zero keep their variance', async () => {
    const { mean, variance } = await meanPerFeature(inMemory(Float32Array.of(-1, 4e6, 0, 4e6 + 1, 4, 4e6 + 2), [2]));
    expect(Array.from(mean)).toEqual([1, 4e6 + 1]);
    expect(variance[0]).toBeCloseTo(14 / 3, 12);
    expect(variance[1]).toBeCloseTo(2 / 3, 9);
  });
});

describe('moments of counts', () => {
  test.each([
    ['an odd number of rows', [0, 1, 5, 3, 2, 0], 2],
    ['an even number of rows', [0, 1, 5, 3, 2, 0, 10, 20], 5],
  ])('%s: of the logarithms, and the median sum', async (_, values, median) => {
    const { logMean, logVariance, medianTotal } = await countMoments(inMemory(Float32Array.from(values), [2]));
    for (const column of [0, 1]) {
      const logs = values.filter((_, i) => i % 2 === column).map((value) => Math.log(1 + value));
      const mean = logs.reduce((a, b) => a + b) / logs.length;
      const variance = logs.reduce((a, b) => a + (b - mean) ** 2, 0) / logs.length;
      expect(logMean[column]).toBeCloseTo(mean, 12);
      expect(logVariance[column]).toBeCloseTo(variance, 12);
    }
    expect(medianTotal).toBe(median);
  });
});

test('values that are no whole number of examples, or labels of another number, are refused', () => {
  expect(() => inMemory(new Uint8Array(7), [2])).toThrow('7 values; expected a multiple of 2');
  expect(() => inMemory(new Uint8Array(8), [2], { labels: new Uint8Array(3) })).toThrow('3 labels; expected 4');
});
