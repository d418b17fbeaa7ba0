import { RandomSource } from '@elbo/models';
import { FEWEST_IMAGES, kernelDistance, squaredDiscrepancy } from '@elbo/training/sample-quality/kernel-distance';
import { describe, expect, test } from 'vitest';
import { featuresFrom } from './support/features.js';

const random = new RandomSource(8);

function rows(count: number, size: number, shift = 0): number[][] {
  return Array.from({ length: count }, () =>
    Array.from(random.fillNormal(new Float32Array(size)), (value) => value + shift),
  );
}

const kernel = (x: readonly number[], y: readonly number[]) =>
  (x.reduce((sum, value, i) => sum + value * (y[i] as number), 0) / x.length + 1) ** 3;

/** Gretton et al. (2012), eq. 3, a sum over all ordered pairs. */
function bruteForce(a: readonly (readonly number[])[], b: readonly (readonly number[])[]): number {
  const [m, n] = [a.length, b.length];
  let value = 0;
  a.forEach((x, i) => {
    a.forEach((y, j) => {
      if (i !== j) value += kernel(x, y) / (m * (m - 1));
    });
    for (const y of b) value -= (2 * kernel(x, y)) / (m * n);
  });
  b.forEach((x, i) => {
    b.forEach((y, j) => {
      if (i !== j) value += kernel(x, y) / (n * (n - 1));
    });
  });
  return value;
}

describe('the kernel distance', () => {
  test('of one block is the sum over all pairs, with sets of other sizes too', () => {
    const [a, b] = [rows(13, 6), rows(9, 6, 0.5)];
    expect(squaredDiscrepancy(featuresFrom(a), featuresFrom(b))).toBeCloseTo(bruteForce(a, b), 5);
  });

  test('of two points each is worked out by hand', () => {
    // k(0, 1) = 1, k(2, 2) = 125; between: k(0, 2) = 1 and k(1, 2) = 27, each twice.
    const value = squaredDiscrepancy(featuresFrom([[0], [1]]), featuresFrom([[2], [2]]));
    expect(value).toBeCloseTo(1 + 125 - 2 * 14, 10);
  });

  test('has the expectation 0 where both sets have one distribution, and its standard error says so', () => {
    const measured = Array.from({ length: 40 }, (_, seed) =>
      kernelDistance(featuresFrom(rows(200, 4)), featuresFrom(rows(200, 4)), seed),
    );
    // Biased estimates would all be above 0.
    const below = measured.filter(({ value }) => value < 0).length;
    expect(below).toBeGreaterThan(8);
    expect(below).toBeLessThan(32);
    const within = measured.filter(({ value, standardError }) => Math.abs(value) < 3 * standardError).length;
    expect(within).toBeGreaterThan(34);
  });

  test('is the expected one of a shift: between Gaussians of known moments', () => {
    // With one feature, E k(x, y) = E (xy + 1)³ = 1 + 3 E x E y + 3 E x² E y² + E x³ E y³ for independent x and y.
    const expectation = (x: readonly number[], y: readonly number[]) =>
      1 +
      3 * (x[0] as number) * (y[0] as number) +
      3 * (x[1] as number) * (y[1] as number) +
      (x[2] as number) * (y[2] as number);
    const [centred, shifted] = [
      [0, 1, 0],
      [1, 2, 4],
    ];
    const expected = expectation(centred, centred) + expectation(shifted, shifted) - 2 * expectation(centred, shifted);
    const { value, standardError, blocks, blockSize } = kernelDistance(
      featuresFrom(rows(4000, 1)),
      featuresFrom(rows(5000, 1, 1)),
      1,
    );
    expect([blocks, blockSize]).toEqual([10, 400]);
    expect(Math.abs(value - expected)).toBeLessThan(4 * standardError);
    expect(standardError).toBeLessThan(0.1 * expected);
  });

  test('repeats for a seed, and takes blocks of 1000 at the most', () => {
    const [a, b] = [featuresFrom(rows(12_345, 1)), featuresFrom(rows(11_999, 1, 0.1))];
    const first = kernelDistance(a, b, 3);
    expect(first).toMatchObject({ blocks: 11, blockSize: 1000 });
    expect(kernelDistance(a, b, 3)).toEqual(first);
    expect(kernelDistance(a, b, 4).value).not.toBe(first.value);
  });

  test('is finite for the fewest images', () => {
    const set = featuresFrom(rows(FEWEST_IMAGES, 3));
    expect(Number.isFinite(kernelDistance(set, set, 1).standardError)).toBe(true);
  });
});
