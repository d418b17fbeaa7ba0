import { DataError } from '@elbo/training/data/data-error';
import { type Examples, meanPerPixel, slice, splitValidation, take } from '@elbo/training/data/dataset';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

/** Examples that carry their index: in the two pixels, the label and the two factors. */
function numbered(count: number): Examples {
  const twice = Uint8Array.from({ length: 2 * count }, (_, i) => (i >> 1) + (i & 1));
  return {
    count,
    values: twice,
    labels: Uint8Array.from({ length: count }, (_, i) => i),
    factors: { names: ['a', 'b'], cardinalities: [200, 201], values: twice },
  };
}

const indices = ({ labels }: Examples) => Array.from(labels ?? []);

describe('the validation split', () => {
  test('puts every example in exactly one part, in the original order, with all that belongs to it', () => {
    const sizes = fc
      .integer({ min: 2, max: 200 })
      .chain((count) => fc.record({ count: fc.constant(count), size: fc.integer({ min: 1, max: count - 1 }) }));
    fc.assert(
      fc.property(sizes, fc.nat(), ({ count, size }, seed) => {
        const { train, validation } = splitValidation(numbered(count), size / count, seed);
        expect(validation.count).toBe(size);
        const all = [...indices(train), ...indices(validation)].sort((a, b) => a - b);
        expect(all).toEqual(Array.from({ length: count }, (_, i) => i));
        for (const part of [train, validation]) {
          expect(indices(part)).toEqual(indices(part).toSorted((a, b) => a - b));
          const twice = indices(part).flatMap((i) => [i, i + 1]);
          expect(Array.from(part.values)).toEqual(twice);
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

test('taking a limit keeps the first examples, or all', () => {
  expect(indices(take(numbered(5), 3))).toEqual([0, 1, 2]);
  expect(indices(take(numbered(5), 9))).toEqual([0, 1, 2, 3, 4]);
  expect(indices(slice(numbered(5), 2, 4))).toEqual([2, 3]);
});

test('the mean of a pixel is the mean of its bytes over 255', () => {
  const examples = { count: 3, values: Uint8Array.of(0, 255, 10, 0, 255, 20, 0, 255, 60) };
  const mean = meanPerPixel(examples);
  expect(mean[0]).toBe(0);
  expect(mean[1]).toBe(1);
  expect(mean[2]).toBeCloseTo(30 / 255, 12);
});
