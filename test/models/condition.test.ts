import { type Condition, classOf, classOfText, drawLabels, drawLatents, RandomSource } from '@elbo/models';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

const named: Condition = { classes: 3, frequencies: [0.2, 0.3, 0.5], names: ['zero', '1', 'two of them'] };
const numbered: Condition = { classes: 12, frequencies: Array(12).fill(1 / 12) };

describe('a label', () => {
  test.each([
    [named, 0, 0],
    [named, 2, 2],
    [named, 3, undefined],
    [named, -1, undefined],
    [named, 0.5, undefined],
    [named, Number.NaN, undefined],
    [named, 'zero', 0],
    [named, 'two of them', 2],
    [named, 'Zero', undefined],
    [named, '0', undefined],
    [numbered, 11, 11],
    [numbered, '11', undefined],
  ] as [Condition, number | string, number | undefined][])(
    'is a number or a name: %#',
    (condition, label, expected) => {
      expect(classOf(condition, label)).toBe(expected);
    },
  );

  test.each([
    [named, 'zero', 0],
    [named, '0', 0],
    [named, '1', 1],
    [named, '3', undefined],
    [named, '', undefined],
    [named, ' 1', undefined],
    [numbered, '11', 11],
    [numbered, '12', undefined],
    [numbered, '01', undefined],
    [numbered, '1e0', undefined],
    [numbered, '0x1', undefined],
    [numbered, '-0', undefined],
    [numbered, 'zero', undefined],
    [{ ...numbered, names: Array.from({ length: 12 }, (_, i) => `${1990 + i}`) }, '1991', 1],
  ] as [Condition, string, number | undefined][])('as a text is either: %#', (condition, text, expected) => {
    expect(classOfText(condition, text)).toBe(expected);
  });
});

describe('draws of labels', () => {
  test('come as often as their frequencies say', () => {
    const count = 40_000;
    const labels = drawLabels(named.frequencies, count, 7);
    for (const [label, frequency] of named.frequencies.entries()) {
      const share = labels.filter((drawn) => drawn === label).length / count;
      // Four standard deviations of a share.
      expect(Math.abs(share - frequency)).toBeLessThan(4 * Math.sqrt((frequency * (1 - frequency)) / count));
    }
  });

  test('are the same for a seed, and the first ones do not depend on how many there are', () => {
    const many = drawLabels(numbered.frequencies, 30, 5);
    expect(drawLabels(numbered.frequencies, 30, 5)).toEqual(many);
    expect(drawLabels(numbered.frequencies, 7, 5)).toEqual(many.slice(0, 7));
    expect(drawLabels(numbered.frequencies, 30, 6)).not.toEqual(many);
  });

  test('are numbers of a source of their own, each the class whose part of 0 to 1 holds it', () => {
    const source = RandomSource.derived(11, 'labels', 0);
    const expected = Array.from({ length: 30 }, () => Math.floor(source.uniform() * 4));
    expect(drawLabels([0.25, 0.25, 0.25, 0.25], 30, 11)).toEqual(expected);
  });

  test('are independent of the latents of the seed', () => {
    const count = 20_000;
    const latents = drawLatents({ latentSize: 1 }, count, 3);
    const labels = drawLabels([0.5, 0.5], count, 3);
    const product = labels.reduce((sum, label, i) => sum + (label - 0.5) * 2 * latents[i], 0) / count;
    expect(Math.abs(product)).toBeLessThan(4 / Math.sqrt(count));
  });

  test('never give a class that has no share, even where shares add up to a little less than 1', () => {
    const seed = fc.integer({ min: 0, max: 2 ** 32 - 1 });
    fc.assert(
      fc.property(seed, (chosen) => {
        const labels = drawLabels([0, 0.3, 0, 0.2, 0], 50, chosen);
        expect(labels.every((label) => label === 1 || label === 3)).toBe(true);
      }),
    );
  });
});
