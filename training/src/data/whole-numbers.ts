import type { Column } from '@elbo/models';
import { DataError } from './data-error.js';
import { chunksOf, type Examples, exampleSize } from './dataset.js';

/** The largest count, up to which float32 holds every whole number. */
export const LARGEST_COUNT = 2 ** 24;

/** What the numbers of a column must be, for messages, and the largest of them; undefined: every number will do. */
export interface WholeNumbers {
  readonly expected: string;
  readonly largest: number;
}

/**
 * Checks that columns of a table hold whole numbers from 0 to a largest one.
 * @param rule of a column, by its place
 * @returns the largest number of each column, where it is checked: [columns]
 * @throws {DataError} naming the first row and column that do not, and how many more
 */
export async function checkWholeNumbers(
  name: string,
  examples: Examples,
  rule: (column: number) => WholeNumbers | undefined,
  columns?: readonly Column[],
): Promise<Float64Array> {
  const size = exampleSize(examples);
  const rules = Array.from({ length: size }, (_, column) => rule(column));
  const found = new Float64Array(size);
  if (rules.every((wanted) => wanted === undefined)) return found;
  let first: string | undefined;
  let bad = 0;
  for await (const { start, values } of chunksOf(examples)) {
    for (let i = 0; i < values.length; i++) {
      const column = i % size;
      const { [column]: wanted } = rules;
      if (wanted === undefined) continue;
      const value = values[i];
      if (Number.isNaN(value) && columns?.[column]?.missing) continue;
      if (Number.isInteger(value) && value >= 0 && value <= wanted.largest) {
        if (value > found[column]) found[column] = value;
        continue;
      }
      bad++;
      const row = start + Math.floor(i / size);
      first ??= `row ${examples.rows?.[row] ?? row}, column ${JSON.stringify(columns?.[column]?.name ?? column)} is ${value}; expected ${wanted.expected}`;
    }
  }
  if (first === undefined) return found;
  throw new DataError(`${name}: ${first}${bad === 1 ? '' : ` (and so ${bad - 1} more)`}`);
}

/** Moments of log(1 + x) of every feature over the examples, and the median of the examples' sums. */
export async function countMoments(
  examples: Examples,
): Promise<{ logMean: Float64Array; logVariance: Float64Array; medianTotal: number }> {
  const { count } = examples;
  const size = exampleSize(examples);
  const sum = new Float64Array(size);
  const squares = new Float64Array(size);
  const totals = new Float64Array(count);
  for await (const { start, values } of chunksOf(examples)) {
    for (let i = 0; i < values.length; i++) {
      // Logarithms of counts are from 0 to 17: their squares do not cancel in float64.
      const logarithm = Math.log1p(values[i]);
      sum[i % size] += logarithm;
      squares[i % size] += logarithm * logarithm;
      totals[start + Math.floor(i / size)] += values[i];
    }
  }
  const logMean = sum.map((total) => total / count);
  totals.sort();
  return {
    logMean,
    logVariance: squares.map((total, i) => Math.max(0, total / count - logMean[i] ** 2)),
    medianTotal: 0.5 * (totals[Math.floor((count - 1) / 2)] + totals[Math.floor(count / 2)]),
  };
}
