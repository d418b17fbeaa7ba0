import { RandomSource } from '@elbo/models';
import { dci, importanceScores } from '@elbo/training/evaluation/dci';
import type { Embedding } from '@elbo/training/evaluation/embedding';
import { factorVaeScore } from '@elbo/training/evaluation/factor-vae';
import type { FactoredEmbedding } from '@elbo/training/evaluation/factors';
import { mutualInformationGap } from '@elbo/training/evaluation/mutual-information-gap';
import { separatedAttributePredictability } from '@elbo/training/evaluation/separated-attributes';
import { describe, expect, test } from 'vitest';

const CARDINALITIES = [2, 3, 4];

/** How an encoder places an example of three factors; `noise` gives standard normal numbers. */
type Code = (factors: readonly number[], noise: () => number) => number[];

const perfect: Code = ([a, b, c], noise) => [c + noise() / 100, noise() / 1000, -5 * a + noise() / 100, 2 * b];
/** Factors b and c turned by 45 degrees into two dimensions. */
const rotated: Code = ([a, b, c]) => [10 * a, b - 1 + (c - 1.5), b - 1 - (c - 1.5)];
const random: Code = (_factors, noise) => [noise(), noise(), noise()];
/** Nothing says anything of factor c. */
const oneMissing: Code = ([a, b], noise) => [a + noise() / 100, b + noise() / 100, noise()];

function embedding(rows: readonly (readonly number[])[]): Embedding {
  return { count: rows.length, size: rows[0].length, means: Float32Array.from(rows.flat()) };
}

function embedded(code: Code, seed: number, count = 1500): FactoredEmbedding {
  const source = new RandomSource(seed);
  const noise = () => source.fillNormal(new Float32Array(1))[0];
  const factors = Array.from({ length: count }, () => CARDINALITIES.map((cardinality) => source.integer(cardinality)));
  return {
    embedding: embedding(factors.map((row) => code(row, noise))),
    factors: { names: ['a', 'b', 'c'], cardinalities: CARDINALITIES, values: Uint8Array.from(factors.flat()) },
  };
}

const pair = (code: Code) => ({ train: embedded(code, 1), test: embedded(code, 2, 800) });

/** The same code with its dimensions in reverse order, mirrored and stretched. */
const transformed =
  (code: Code): Code =>
  (factors, noise) =>
    code(factors, noise)
      .map((value) => 0.5 - 3 * value)
      .reverse();

describe('separated attribute predictability', () => {
  const sap = (code: Code) => {
    const { train, test } = pair(code);
    return separatedAttributePredictability(train, test);
  };

  test('of two values is 1 − chance where one dimension tells them and no other does', () => {
    const binary: Code = ([a], noise) => [20 * a - 10, noise()];
    const { train, test } = pair(binary);
    const onlyA = ({ embedding, factors }: FactoredEmbedding): FactoredEmbedding => ({
      embedding,
      factors: { names: ['a'], cardinalities: [2], values: factors.values.filter((_, at) => at % 3 === 0) },
    });
    expect(separatedAttributePredictability(onlyA(train), onlyA(test))).toBeCloseTo(0.5, 1);
  });

  test('is 0 where every dimension has a double', () => {
    expect(sap(([a, b, c]) => [a, b, c, -a, 2 * b, c + 1])).toBeCloseTo(0, 6);
  });

  test('is near 0 of noise, and larger of a perfect code than of a rotated one', () => {
    expect(sap(random)).toBeLessThan(0.05);
    expect(sap(perfect)).toBeGreaterThan(sap(rotated) + 0.1);
  });

  test('does not depend on the order and the direction of the dimensions', () => {
    const mirrored: Code = (factors, noise) =>
      perfect(factors, noise)
        .map((value) => -value)
        .reverse();
    expect(sap(mirrored)).toBeCloseTo(sap(perfect), 2);
  });

  test('is what a search over thresholds finds for two values', () => {
    // Class 1 lies above 0.3 but for one in five; the other dimension is noise of a tenth of the classes' distance.
    const code: Code = ([a], noise) => [(a - 0.3) * 4 + noise() * 2, noise()];
    const only = (part: FactoredEmbedding): FactoredEmbedding => ({
      embedding: part.embedding,
      factors: { names: ['a'], cardinalities: [2], values: part.factors.values.filter((_, at) => at % 3 === 0) },
    });
    const { train, test } = pair(code);
    const { embedding: e, factors } = only(test);
    const accuracy = (dimension: number): number =>
      Math.max(
        ...Array.from({ length: e.count }, (_, t) => {
          const threshold = e.means[t * e.size + dimension];
          let right = 0;
          for (let i = 0; i < e.count; i++) {
            if (Number(e.means[i * e.size + dimension] >= threshold) === factors.values[i]) right++;
          }
          return Math.max(right, e.count - right) / e.count;
        }),
      );
    // The search sees the test examples, so it is a little better on noise.
    expect(separatedAttributePredictability(only(train), only(test))).toBeCloseTo(accuracy(0) - accuracy(1), 1);
  });
});

describe('disentanglement, completeness and informativeness', () => {
  const scores = (code: Code) => {
    const { train, test } = pair(code);
    return dci(train, test);
  };

  test('are all near 1 of a perfect code, whatever the order, direction and scale of its dimensions', () => {
    for (const code of [perfect, transformed(perfect)]) {
      const { disentanglement, completeness, informativeness } = scores(code);
      expect(disentanglement).toBeGreaterThan(0.98);
      expect(completeness).toBeGreaterThan(0.98);
      expect(informativeness).toBeGreaterThan(0.98);
    }
  });

  test('a rotated code is informative, but neither disentangled nor complete', () => {
    const { disentanglement, completeness, informativeness } = scores(rotated);
    expect(informativeness).toBeGreaterThan(0.98);
    // a keeps a dimension of its own; b and c share two, which is log 2 of the log 3 that entropy can be.
    expect(disentanglement).toBeLessThan(0.75);
    expect(completeness).toBeLessThan(0.75);
  });

  test('noise is as informative as a guess', () => {
    const { informativeness } = scores(random);
    expect(informativeness).toBeCloseTo((1 / 2 + 1 / 3 + 1 / 4) / 3, 1);
  });

  test('a factor that no dimension knows costs informativeness', () => {
    const { informativeness } = scores(oneMissing);
    expect(informativeness).toBeCloseTo((1 + 1 + 1 / 4) / 3, 1);
  });

  test('of an importance matrix are one less the share of the greatest entropy', () => {
    const entropy = (...shares: number[]) => -shares.reduce((sum, share) => sum + share * Math.log(share), 0);
    const { disentanglement, completeness } = importanceScores([
      Float64Array.of(0.5, 0.5, 0),
      Float64Array.of(0, 0, 1),
    ]);
    // Each dimension is of use for one factor; one of two factors is spread over two of three dimensions.
    expect(disentanglement).toBeCloseTo(1, 12);
    expect(completeness).toBeCloseTo((1 - Math.log(2) / Math.log(3) + 1) / 2, 12);
    const mixed = importanceScores([Float64Array.of(0.75, 0.25), Float64Array.of(0.25, 0.75)]);
    expect(mixed.disentanglement).toBeCloseTo(1 - entropy(0.75, 0.25) / Math.log(2), 12);
    expect(importanceScores([Float64Array.of(0, 0)])).toEqual({ disentanglement: 0, completeness: 0 });
  });
});

describe('the metric of FactorVAE', () => {
  const embed = (code: Code) => {
    const source = new RandomSource(9);
    const noise = () => source.fillNormal(new Float32Array(1))[0];
    return async (factors: Uint8Array) =>
      embedding(
        Array.from({ length: factors.length / CARDINALITIES.length }, (_, i) =>
          code(Array.from(factors.subarray(i * CARDINALITIES.length, (i + 1) * CARDINALITIES.length)), noise),
        ),
      );
  };
  const score = (code: Code, cardinalities = CARDINALITIES) => factorVaeScore(embed(code), cardinalities, 5);

  test('is 1 where each factor has a dimension of its own, whatever its scale and direction', async () => {
    expect(await score(perfect)).toBe(1);
    expect(await score(transformed(perfect))).toBe(1);
  });

  test('is near chance of noise, and 0 where no dimension varies', async () => {
    const chance = await score(random);
    expect(chance).toBeGreaterThan(0.2);
    expect(chance).toBeLessThan(0.45);
    expect(await score(() => [1, 2, 3])).toBe(0);
  });

  test('a factor that no dimension knows is told as often as its votes fall to it', async () => {
    // Votes for c go to whichever dimension varies least by chance: those of a and b are right all the same.
    const result = await score(oneMissing);
    expect(result).toBeGreaterThan(0.6);
    expect(result).toBeLessThan(1);
  });

  test('a factor of one value is never fixed', async () => {
    const seen: number[][] = [];
    const inner = embed(([a, b]) => [a, b]);
    const result = await factorVaeScore(
      async (factors) => {
        seen.push(Array.from(factors.filter((_, at) => at % 3 === 2)));
        return inner(factors);
      },
      [2, 3, 1],
      5,
    );
    expect(result).toBe(1);
    expect(new Set(seen.flat())).toEqual(new Set([0]));
  });

  test('the same seed gives the same score', async () => {
    expect(await score(rotated)).toBe(await score(rotated));
  });
});

describe('the mutual information gap', () => {
  test('tells a perfect code from a rotated one', () => {
    const gap = (code: Code) => {
      const { embedding: e, factors } = embedded(code, 3);
      return mutualInformationGap(e, factors);
    };
    expect(gap(perfect)).toBeGreaterThan(0.97);
    expect(gap(rotated)).toBeLessThan(0.5);
  });

  test('data of which no factor varies are refused', () => {
    const { embedding: e } = embedded(random, 1, 20);
    const factors = { names: ['a'], cardinalities: [2], values: new Uint8Array(20) };
    expect(() => mutualInformationGap(e, factors)).toThrow(/no factor varies/);
  });
});
