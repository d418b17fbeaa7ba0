import type { RandomSource } from '@elbo/models';
import { add, cast, exp, gather, gatherElements, greater, mul, reduceSum } from '../onnx/ops.js';
import { float32, type Tensor } from '../onnx/tensor.js';

/**
 * Trees that cut rows off at random places (Liu, Ting & Zhou, "Isolation forest", 2008): what few cuts set apart is unusual.
 * Node i of tree t stands at [i, t] of the tables, [nodes, trees] row-major; node 0 is the root. They hold places between rows,
 * and no row.
 */
export interface IsolationForest {
  readonly trees: number;
  /** Number that a node looks at, and where it cuts. */
  readonly column: Int32Array;
  readonly threshold: Float32Array;
  /** Node of what does not lie above the threshold; the next one is that of what does. A leaf has itself, and nothing lies above. */
  readonly below: Int32Array;
  /** Cuts that isolate a row which ends in a leaf, those that the tree left out included; 0 where there is no leaf. */
  readonly pathLength: Float32Array;
  /** Cuts from a root to a leaf, at most. */
  readonly depth: number;
  /** Cuts that isolate a row of a sample without any structure, on average. */
  readonly usualLength: number;
}

/** As the paper has it; more trees and larger samples change little. */
const TREES = 100;
const SAMPLE = 256;
/** Path lengths are multiples of this, so that a sum of them is exact, in whatever order a runtime adds. */
const LENGTH_STEP = 2 ** -10;
/** Columns whose numbers are closer than this are not cut: they may differ by rounding alone. */
const LEAST_RANGE = 1e-3;
/** Of a leaf: nothing lies above it, not even what overflowed. */
const ABOVE_ALL = Number.POSITIVE_INFINITY;

/**
 * @param values [n, size] with n of at least 2, row-major, each column's deviation near 1
 * @param random draws samples, columns and thresholds
 */
export function fitIsolationForest(values: ArrayLike<number>, size: number, random: RandomSource): IsolationForest {
  const count = values.length / size;
  const sample = Math.min(SAMPLE, count);
  const depth = Math.ceil(Math.log2(sample));
  const order = Int32Array.from({ length: count }, (_, row) => row);
  const trees = Array.from({ length: TREES }, () => {
    for (let i = 0; i < sample; i++) swapRandom(order, i, random);
    const nodes: Nodes = { column: [], threshold: [], below: [], pathLength: [] };
    const root = addLeaf(nodes);
    grow({ values, size, random, nodes, depth }, { node: root, rows: order.slice(0, sample), level: 0 });
    return nodes;
  });
  const nodes = Math.max(...trees.map(({ column }) => column.length));
  const table = (name: keyof Nodes) =>
    Array.from({ length: nodes * TREES }, (_, at) => trees[at % TREES][name][Math.floor(at / TREES)] ?? 0);
  return {
    trees: TREES,
    column: Int32Array.from(table('column')),
    threshold: Float32Array.from(table('threshold')),
    below: Int32Array.from(table('below')),
    pathLength: Float32Array.from(table('pathLength')),
    depth,
    usualLength: usualPathLength(sample),
  };
}

type Nodes = Record<'column' | 'threshold' | 'below' | 'pathLength', number[]>;

interface Growth {
  readonly values: ArrayLike<number>;
  readonly size: number;
  readonly random: RandomSource;
  readonly nodes: Nodes;
  readonly depth: number;
}

/** Makes a leaf that some rows end in a node with two children, and so on until rows are alone, alike or deep. */
function grow(
  growth: Growth,
  { node, rows, level }: { readonly node: number; readonly rows: Int32Array; readonly level: number },
): void {
  const { values, size, random, nodes, depth } = growth;
  const drawn = rows.length > 1 && level < depth ? drawColumn(growth, rows) : undefined;
  if (drawn === undefined) {
    nodes.pathLength[node] = LENGTH_STEP * Math.round((level + usualPathLength(rows.length)) / LENGTH_STEP);
    return;
  }
  const { column, low, high } = drawn;
  // As the graph has it, so that both send a row the same way.
  const threshold = Math.fround(low + random.uniform() * (high - low));
  const below = addLeaf(nodes);
  const others = addLeaf(nodes);
  nodes.column[node] = column;
  nodes.threshold[node] = threshold;
  nodes.below[node] = below;
  const isBelow = (row: number) => values[row * size + column] <= threshold;
  grow(growth, { node: below, rows: rows.filter(isBelow), level: level + 1 });
  grow(growth, { node: others, rows: rows.filter((row) => !isBelow(row)), level: level + 1 });
}

/** The first column in a random order that the rows differ in, with the least and the largest number there. */
function drawColumn(
  { values, size, random }: Growth,
  rows: Int32Array,
): { column: number; low: number; high: number } | undefined {
  const columns = Int32Array.from({ length: size }, (_, column) => column);
  for (let i = 0; i < size; i++) {
    const column = swapRandom(columns, i, random);
    let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const row of rows) {
      const value = values[row * size + column];
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (high - low >= LEAST_RANGE) return { column, low, high };
  }
  return undefined;
}

function addLeaf({ column, threshold, below, pathLength }: Nodes): number {
  const node = column.push(0) - 1;
  threshold.push(ABOVE_ALL);
  below.push(node);
  pathLength.push(0);
  return node;
}

/**
 * The paper's anomaly score of each row, 2^(−cuts / usual cuts), from 0 to 1: [N, size] → [N].
 * All trees go down at once, a level at a time, by operators that every runtime has; GatherElements takes a
 * quarter of the time of Gather.
 */
export function isolation(
  values: Tensor,
  { trees, column, threshold, below, pathLength, depth, usualLength }: IsolationForest,
): Tensor {
  const { graph } = values;
  const integers = (data: Int32Array, shape = [data.length / trees, trees]) =>
    graph.constant({ dtype: 'int32', shape, data });
  const floats = (data: Float32Array, shape = [data.length / trees, trees]) => graph.constant(float32(data, shape));
  const tables = {
    column: integers(column),
    threshold: floats(threshold),
    below: integers(below),
    pathLength: floats(pathLength),
  };
  const next = (seen: Tensor, cut: Tensor, first: Tensor) => add(first, cast(greater(seen, cut), 'int32'));
  const roots = [trees];
  let node = next(
    gather(values, integers(column.slice(0, trees), roots), 1),
    floats(threshold.slice(0, trees), roots),
    integers(below.slice(0, trees), roots),
  );
  for (let level = 1; level < depth; level++) {
    const at = (table: Tensor) => gatherElements(table, node, 0);
    node = next(gatherElements(values, at(tables.column), 1), at(tables.threshold), at(tables.below));
  }
  const cuts = reduceSum(gatherElements(tables.pathLength, node, 0), [1]);
  return exp(mul(cuts, -Math.LN2 / (trees * usualLength)));
}

/** Cuts of an unsuccessful search in a binary search tree of n numbers: 2 H(n − 1) − 2 (n − 1) / n (equation 1 of the paper). */
export function usualPathLength(count: number): number {
  if (count < 2) return 0;
  let harmonic = 0;
  for (let i = 1; i < count; i++) harmonic += 1 / i;
  return 2 * harmonic - (2 * (count - 1)) / count;
}

/** Puts one of the numbers from `at` on there, each as likely as the others, and gives it. */
function swapRandom(numbers: Int32Array, at: number, random: RandomSource): number {
  const from = at + random.integer(numbers.length - at);
  const drawn = numbers[from];
  numbers[from] = numbers[at];
  numbers[at] = drawn;
  return drawn;
}
