import { RandomSource } from '@elbo/models';
import { fitBoostedTrees } from '@elbo/training/evaluation/boosted-trees';
import type { Embedding } from '@elbo/training/evaluation/embedding';
import { describe, expect, test } from 'vitest';

const random = new RandomSource(8);
const COUNT = 60;
const SIZE = 3;
const embedding: Embedding = { count: COUNT, size: SIZE, means: random.fillNormal(new Float32Array(COUNT * SIZE)) };
const value = (row: number, dimension: number) => embedding.means[row * SIZE + dimension];
/** Told by the second dimension, but for some, and a little by the third. */
const labels = Uint8Array.from({ length: COUNT }, (_, i) =>
  value(i, 1) + 0.5 * value(i, 2) + (i % 7 === 0 ? 2 : 0) > 0 ? 1 : 0,
);

/** By how much the best single split along a dimension lowers the squared error of the residuals, over all splits. */
function bestGain(residuals: readonly number[], dimension: number): number {
  const squares = (rows: readonly number[]) => {
    const mean = rows.reduce((sum, i) => sum + residuals[i], 0) / Math.max(1, rows.length);
    return rows.reduce((sum, i) => sum + (residuals[i] - mean) ** 2, 0);
  };
  const rows = Array.from(residuals.keys());
  const gains = rows.map((at) => {
    const left = rows.filter((i) => value(i, dimension) <= value(at, dimension));
    const right = rows.filter((i) => value(i, dimension) > value(at, dimension));
    return squares(rows) - squares(left) - squares(right);
  });
  return Math.max(...gains);
}

describe('boosted trees', () => {
  test('one tree of one split chooses the dimension and the threshold that a search over all splits finds', () => {
    const { importance, predict } = fitBoostedTrees(embedding, labels, 2, { rounds: 1, depth: 1 });
    const share = labels.reduce((sum, label) => sum + label, 0) / COUNT;
    const gains = [0, 1, 2].map((dimension) =>
      bestGain(
        Array.from(labels, (label) => label - share),
        dimension,
      ),
    );
    const best = gains.indexOf(Math.max(...gains));
    expect(Array.from(importance)).toEqual([0, 1, 2].map((dimension) => (dimension === best ? 1 : 0)));
    // One round moves the scores too little to change a class far from even; that of the majority on each side is no worse.
    const right = predict(embedding).filter((label, i) => label === labels[i]).length;
    expect(right / COUNT).toBeGreaterThanOrEqual(Math.max(share, 1 - share));
  });

  test('many trees learn a rule that no line tells: whether two signs agree', () => {
    const draw = (count: number, seed: number) => {
      const source = new RandomSource(seed);
      const means = source.fillNormal(new Float32Array(count * 2));
      const agree = Uint8Array.from({ length: count }, (_, i) => (means[2 * i] * means[2 * i + 1] > 0 ? 1 : 0));
      return { embedding: { count, size: 2, means }, agree };
    };
    const train = draw(1000, 1);
    const held = draw(500, 2);
    const { predict, importance } = fitBoostedTrees(train.embedding, train.agree, 2);
    const right = predict(held.embedding).filter((label, i) => label === held.agree[i]).length;
    expect(right / 500).toBeGreaterThan(0.93);
    // Either is of no use without the other.
    expect(Math.min(...importance)).toBeGreaterThan(0.3);
  });

  test('without anything to split by, the most common class is named, and no dimension counts', () => {
    const constant = { count: 5, size: 2, means: new Float32Array(10).fill(3) };
    const { predict, importance } = fitBoostedTrees(constant, Uint8Array.of(0, 1, 1, 1, 2), 4);
    expect(Array.from(predict(constant))).toEqual([1, 1, 1, 1, 1]);
    expect(Array.from(importance)).toEqual([0, 0]);
  });
});
