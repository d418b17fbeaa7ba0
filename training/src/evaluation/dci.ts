import { fitBoostedTrees } from './boosted-trees.js';
import { type FactoredEmbedding, factorColumns, varyingFactors } from './factors.js';

/** Examples that the trees learn from at the most, as in `disentanglement_lib`. */
export const TREE_EXAMPLES = 10_000;

/** All from 0 to 1. */
export interface Dci {
  /** Whether each latent dimension that counts is of use for one factor only. */
  readonly disentanglement: number;
  /** Whether each factor is told by one latent dimension only. */
  readonly completeness: number;
  /** The accuracy at which all dimensions together tell the factors, their mean. */
  readonly informativeness: number;
}

/**
 * Disentanglement, completeness and informativeness (Eastwood & Williams, 2018, section 2) over the factors that vary, by
 * the importance of each latent dimension in gradient-boosted trees that predict a factor from all of them.
 * @param train what the trees learn from, and @param test what informativeness is measured on
 */
export function dci(train: FactoredEmbedding, test: FactoredEmbedding): Dci {
  const factors = { train: factorColumns(train.factors), test: factorColumns(test.factors) };
  const accuracies: number[] = [];
  const importance = varyingFactors(test.factors).map((factor) => {
    const { cardinality, values } = factors.train[factor];
    const trees = fitBoostedTrees(train.embedding, values, cardinality);
    const predicted = trees.predict(test.embedding);
    const right = predicted.filter((value, i) => value === factors.test[factor].values[i]);
    accuracies.push(right.length / predicted.length);
    return trees.importance;
  });
  return { ...importanceScores(importance), informativeness: mean(accuracies) };
}

/**
 * Disentanglement and completeness of an importance matrix (Eastwood & Williams, 2018, section 2): one less the entropy,
 * as a share of the greatest possible, of how the importance of a dimension spreads over the factors, weighted by its
 * importance, and of how a factor's spreads over the dimensions.
 * @param importance [factors, dimensions], none negative
 */
export function importanceScores(importance: readonly Float64Array[]): Pick<Dci, 'disentanglement' | 'completeness'> {
  const dimensions = Array.from(importance[0], (_, j) => importance.map((row) => row[j]));
  return { disentanglement: concentration(dimensions), completeness: concentration(importance) };
}

/** Mean over rows of 1 − entropy / log(length), weighted by the sums of the rows; 0 where all are 0. */
function concentration(rows: readonly ArrayLike<number>[]): number {
  const sums = rows.map((row) => sum(row));
  const total = sum(sums);
  if (total === 0) return 0;
  return rows.reduce((score, row, i) => {
    if (sums[i] === 0) return score;
    // Among one there is nothing to spread over.
    const share = row.length === 1 ? 0 : entropy(row, sums[i]) / Math.log(row.length);
    return score + (sums[i] / total) * (1 - share);
  }, 0);
}

function entropy(row: ArrayLike<number>, total: number): number {
  let nats = 0;
  for (let i = 0; i < row.length; i++) if (row[i] > 0) nats -= (row[i] / total) * Math.log(row[i] / total);
  return nats;
}

function sum(values: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i];
  return total;
}

function mean(values: readonly number[]): number {
  return sum(values) / values.length;
}
