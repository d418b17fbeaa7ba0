import { quantileSorted } from 'simple-statistics';
import type { Embedding } from './embedding.js';
import { latentColumn } from './factors.js';

/** As in scikit-learn, whose boosted trees `disentanglement_lib` measures with. */
export const ROUNDS = 100;
export const DEPTH = 3;
const LEARNING_RATE = 0.1;
/** Splits are looked for between this many quantiles of a dimension. */
const BINS = 256;

/** A classifier of embeddings, and how much each latent dimension counts in it. */
export interface BoostedTrees {
  /** Share of the squared error that splits along each dimension removed: [size], sums to 1, or all 0 without splits. */
  readonly importance: Float64Array;
  /** The class of each example: [count]. */
  predict(embedding: Embedding): Uint8Array;
}

/**
 * Gradient-boosted classification trees (Friedman, 2001, algorithm 6): in each round one regression tree a class is fitted
 * to the residuals of its probability.
 * @param labels class of each example, [count], below `classes`
 */
export function fitBoostedTrees(
  embedding: Embedding,
  labels: Uint8Array,
  classes: number,
  { rounds = ROUNDS, depth = DEPTH } = {},
): BoostedTrees {
  const { count, size } = embedding;
  const edges = Array.from({ length: size }, (_, j) => binEdges(latentColumn(embedding, j)));
  const columns = binned(embedding, edges);
  const importance = new Float64Array(size);
  // Starts at how often each class comes; one that never does keeps a finite score.
  const start = Float64Array.from({ length: classes }, (_, c) =>
    Math.log((labels.reduce((sum, label) => sum + (label === c ? 1 : 0), 0) + 1e-6) / count),
  );
  const scores = Array.from(start, (score) => new Float64Array(count).fill(score));
  const trees: Tree[][] = [];
  const residuals = new Float64Array(count);
  for (let round = 0; round < rounds; round++) {
    const probabilities = softmax(scores);
    trees.push(
      probabilities.map((probability, c) => {
        for (let i = 0; i < count; i++) residuals[i] = (labels[i] === c ? 1 : 0) - probability[i];
        const tree = fitTree(columns, residuals, { classes, depth, importance });
        for (let i = 0; i < count; i++) scores[c][i] += tree.values[leafOf(tree, columns, i)];
        return tree;
      }),
    );
  }
  const total = importance.reduce((sum, gain) => sum + gain, 0);
  return {
    importance: total === 0 ? importance : importance.map((gain) => gain / total),
    predict(other) {
      const places = binned(other, edges);
      return Uint8Array.from({ length: other.count }, (_, i) => {
        let best = 0;
        let highest = Number.NEGATIVE_INFINITY;
        for (let c = 0; c < classes; c++) {
          let score = start[c];
          for (const round of trees) score += round[c].values[leafOf(round[c], places, i)];
          if (score > highest) {
            highest = score;
            best = c;
          }
        }
        return best;
      });
    },
  };
}

/** A full binary tree; the children of node n are 2n + 1 and 2n + 2. */
interface Tree {
  /** Dimension that each inner node splits along; −1: it does not, and all go left. */
  readonly dimensions: Int32Array;
  /** Bins up to this one go left. */
  readonly thresholds: Uint8Array;
  /** What each leaf adds to the score, by its number among all nodes. */
  readonly values: Float64Array;
}

/** Grows a level at a time, by the split of each node that removes most of the squared error. */
function fitTree(
  columns: readonly Uint8Array[],
  residuals: Float64Array,
  { classes, depth, importance }: { classes: number; depth: number; importance: Float64Array },
): Tree {
  const count = residuals.length;
  const inner = 2 ** depth - 1;
  const tree: Tree = {
    dimensions: new Int32Array(inner).fill(-1),
    thresholds: new Uint8Array(inner),
    values: new Float64Array(2 * inner + 1),
  };
  const node = new Uint16Array(count);
  for (let level = 0; level < depth; level++) {
    const first = 2 ** level - 1;
    const nodes = 2 ** level;
    const bestGain = new Float64Array(nodes);
    for (const [j, column] of columns.entries()) {
      const sums = new Float64Array(nodes * BINS);
      const counts = new Int32Array(nodes * BINS);
      for (let i = 0; i < count; i++) {
        const at = (node[i] - first) * BINS + column[i];
        sums[at] += residuals[i];
        counts[at]++;
      }
      for (let n = 0; n < nodes; n++) {
        const { gain, threshold } = bestSplit(sums, counts, n * BINS);
        // Rounding alone must not choose a dimension.
        if (gain <= bestGain[n] + 1e-9) continue;
        bestGain[n] = gain;
        tree.dimensions[first + n] = j;
        tree.thresholds[first + n] = threshold;
      }
    }
    for (let n = 0; n < nodes; n++) {
      const dimension = tree.dimensions[first + n];
      if (dimension !== -1) importance[dimension] += bestGain[n];
    }
    for (let i = 0; i < count; i++) node[i] = child(tree, columns, i, node[i]);
  }
  // One Newton step for each leaf (Friedman, 2001, eq. 36), shrunk by the learning rate.
  const numerators = new Float64Array(tree.values.length);
  const denominators = new Float64Array(tree.values.length);
  for (let i = 0; i < count; i++) {
    const size = Math.abs(residuals[i]);
    numerators[node[i]] += residuals[i];
    denominators[node[i]] += size * (1 - size);
  }
  for (let leaf = inner; leaf < tree.values.length; leaf++) {
    if (denominators[leaf] < 1e-12) continue;
    tree.values[leaf] = (LEARNING_RATE * ((classes - 1) / classes) * numerators[leaf]) / denominators[leaf];
  }
  return tree;
}

/** Of the bins of one node, the last that goes left, and by how much splitting there lowers the squared error. */
function bestSplit(sums: Float64Array, counts: Int32Array, at: number): { gain: number; threshold: number } {
  let sum = 0;
  let count = 0;
  for (let bin = 0; bin < BINS; bin++) {
    sum += sums[at + bin];
    count += counts[at + bin];
  }
  let gain = 0;
  let threshold = 0;
  let left = 0;
  let leftCount = 0;
  for (let bin = 0; bin < BINS - 1; bin++) {
    left += sums[at + bin];
    leftCount += counts[at + bin];
    if (leftCount === 0) continue;
    if (leftCount === count) break;
    const removed = left ** 2 / leftCount + (sum - left) ** 2 / (count - leftCount) - sum ** 2 / count;
    if (removed > gain) {
      gain = removed;
      threshold = bin;
    }
  }
  return { gain, threshold };
}

function child({ dimensions, thresholds }: Tree, columns: readonly Uint8Array[], row: number, node: number): number {
  const dimension = dimensions[node];
  return dimension === -1 || columns[dimension][row] <= thresholds[node] ? 2 * node + 1 : 2 * node + 2;
}

function leafOf(tree: Tree, columns: readonly Uint8Array[], row: number): number {
  let node = 0;
  while (node < tree.dimensions.length) node = child(tree, columns, row, node);
  return node;
}

/** [classes] of [count] scores → as many of probabilities. */
function softmax(scores: readonly Float64Array[]): Float64Array[] {
  const result = scores.map((column) => new Float64Array(column.length));
  for (let i = 0; i < scores[0].length; i++) {
    let highest = Number.NEGATIVE_INFINITY;
    for (const column of scores) highest = Math.max(highest, column[i]);
    let total = 0;
    for (const column of scores) total += Math.exp(column[i] - highest);
    for (const [c, column] of scores.entries()) result[c][i] = Math.exp(column[i] - highest) / total;
  }
  return result;
}

/** Upper edges of all bins but the last, ascending: quantiles without repetition. */
function binEdges(values: Float64Array): Float64Array {
  const sorted = Array.from(values.sort());
  const quantiles = Array.from({ length: BINS - 1 }, (_, i) => quantileSorted(sorted, (i + 1) / BINS));
  return Float64Array.from(new Set(quantiles));
}

/** The bin of each example along each dimension: the number of edges below it. */
function binned({ count, size, means }: Embedding, edges: readonly Float64Array[]): Uint8Array[] {
  return edges.map((bounds, j) =>
    Uint8Array.from({ length: count }, (_, i) => {
      const value = means[i * size + j];
      let low = 0;
      let high = bounds.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (bounds[middle] < value) low = middle + 1;
        else high = middle;
      }
      return low;
    }),
  );
}
