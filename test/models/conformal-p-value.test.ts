import { conformalPValue, conformalThreshold } from '@elbo/models';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

const score = fc.oneof(fc.float({ noNaN: true }), fc.integer({ min: 0, max: 5 }));
const sortedScores = fc.array(score, { minLength: 1, maxLength: 60 }).map((v) => Float32Array.from(v).sort());

describe('conformal p-value', () => {
  test('is (1 + number of held-out scores at least as large) / (n + 1)', () => {
    fc.assert(
      fc.property(sortedScores, score, (sorted, s) => {
        const atLeast = sorted.filter((held) => held >= s).length;
        expect(conformalPValue(sorted, s)).toBe((1 + atLeast) / (sorted.length + 1));
      }),
    );
  });

  test('falls at or below a rate exactly where the score exceeds the threshold of that rate', () => {
    fc.assert(
      fc.property(sortedScores, score, fc.double({ min: 1e-3, max: 0.999, noNaN: true }), (sorted, s, rate) => {
        fc.pre(rate * (sorted.length + 1) >= 1 && Math.floor(rate * (sorted.length + 1)) <= sorted.length);
        expect(s > conformalThreshold(sorted, rate)).toBe(conformalPValue(sorted, s) <= rate);
      }),
    );
  });

  test('a rate below 1 / (n + 1) cannot be stated', () => {
    expect(() => conformalThreshold(new Float32Array(99), 0.009)).toThrow(
      'false_positive_rate 0.009 cannot be stated from 99 held-out scores; expected 0.01 to 1 (exclusive)',
    );
    expect(
      conformalThreshold(
        Float32Array.from({ length: 99 }, (_, i) => i),
        0.01,
      ),
    ).toBe(98);
    for (const rate of [0, -1, 1, 2, Number.NaN])
      expect(() => conformalThreshold(new Float32Array(9), rate)).toThrow(RangeError);
  });

  test('a score that is not a number has none', () => {
    expect(() => conformalPValue(new Float32Array(3), Number.NaN)).toThrow('score is NaN');
  });
});
