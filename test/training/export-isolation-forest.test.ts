import { RandomSource } from '@elbo/models';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import {
  fitIsolationForest,
  type IsolationForest,
  isolation,
  usualPathLength,
} from '@elbo/training/export/isolation-forest';
import { Graph } from '@elbo/training/onnx/graph';
import { float32 } from '@elbo/training/onnx/tensor';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

const engine = new OnnxRuntimeEngine(1);

async function scoresOf(forest: IsolationForest, values: ArrayLike<number>, size: number): Promise<number[]> {
  const graph = new Graph('isolation');
  graph.output(isolation(graph.input('x', 'float32', ['N', size]), forest), 'isolation');
  const program = await engine.compile(graph);
  const outputs = await program.run({ x: float32(Float32Array.from(values), [values.length / size, size]) });
  await program.release();
  return Array.from(outputs.isolation.data as Float32Array);
}

/** Mean cuts over all trees, one node after the other. */
function cutsOf({ trees, column, threshold, below, pathLength }: IsolationForest, row: readonly number[]): number {
  let sum = 0;
  for (let tree = 0; tree < trees; tree++) {
    let node = 0;
    for (;;) {
      const at = node * trees + tree;
      if (below[at] === node) {
        sum += pathLength[at];
        break;
      }
      node = below[at] + (Math.fround(row[column[at]]) > threshold[at] ? 1 : 0);
    }
  }
  return sum / trees;
}

/** Cuts of a score, the definition the other way round. */
const cutsOfScore = (score: number, sample: number) => -Math.log2(score) * usualPathLength(sample);

/** Mean depth of the leaves of a search tree, over all orders in which its numbers may come. */
function meanLeafDepth(numbers: number): number {
  // A first number splits the others in every way alike; [leaves] of each side go one down.
  const total: number[] = [0];
  for (let n = 1; n <= numbers; n++) {
    let sum = 0;
    for (let left = 0; left < n; left++) sum += total[left] + total[n - 1 - left];
    total.push(n + 1 + sum / n);
  }
  return total[numbers] / (numbers + 1);
}

describe('the usual number of cuts', () => {
  test.each([2, 3, 4, 10, 100, 256])('of %i rows is the mean depth of the leaves of a random search tree', (count) => {
    expect(usualPathLength(count)).toBeCloseTo(meanLeafDepth(count - 1), 10);
  });

  test('of one row is none', () => {
    expect(usualPathLength(1)).toBe(0);
  });
});

describe('an isolation forest', () => {
  test('needs as many cuts on average as probability says: three numbers, of which one is far away', async () => {
    const forest = fitIsolationForest([0, 1, 10], 1, new RandomSource(5));
    const cuts = (await scoresOf(forest, [0, 1, 10], 1)).map((score) => cutsOfScore(score, 3));
    // The first cut is above 1 in nine of ten trees; the deviation of a mean over 100 trees is 0.03.
    for (const [i, expected] of [1.9, 2, 1.1].entries()) expect(Math.abs(cuts[i] - expected)).toBeLessThan(0.1);
  });

  test('counts the cuts that it leaves out: rows that are all alike have the score 0.5', async () => {
    const alike = new Float32Array(60).fill(3);
    const scores = await scoresOf(fitIsolationForest(alike, 2, new RandomSource(5)), [3, 3, 100, -100], 2);
    for (const score of scores) expect(score).toBeCloseTo(0.5, 4);
  });

  test('does not cut numbers that differ by rounding alone', async () => {
    const random = new RandomSource(2);
    const values = Float32Array.from({ length: 200 }, () => 1e-6 * random.uniform());
    const forest = fitIsolationForest(values, 1, random);
    for (const score of await scoresOf(forest, values.slice(0, 8), 1)) expect(score).toBeCloseTo(0.5, 4);
  });

  test('gives in the graph what its trees give one node after the other, on any rows', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5 }).chain((size) => {
          const row = fc.array(fc.float({ min: -4, max: 4, noNaN: true }), { minLength: size, maxLength: size });
          return fc.record({
            size: fc.constant(size),
            rows: fc.array(row, { minLength: 2, maxLength: 40 }),
            others: fc.array(row, { minLength: 1, maxLength: 5 }),
            seed: fc.nat(),
          });
        }),
        async ({ size, rows, others, seed }) => {
          const forest = fitIsolationForest(rows.flat(), size, new RandomSource(seed));
          const asked = [...rows, ...others];
          const scores = await scoresOf(forest, asked.flat(), size);
          for (const [i, row] of asked.entries()) {
            expect(cutsOfScore(scores[i], rows.length)).toBeCloseTo(cutsOf(forest, row), 4);
          }
        },
      ),
      { numRuns: 25 },
    );
  });

  test('tells rows far away, up to the largest that a model takes, from those in the middle', async () => {
    const values = new RandomSource(1).fillNormal(new Float32Array(3000));
    const forest = fitIsolationForest(values, 3, new RandomSource(1));
    const [middle, far, farthest, overflowed] = await scoresOf(
      forest,
      [0, 0, 0, 5, 5, 5, 1e30, -1e30, 1e30, Infinity, -Infinity, Infinity],
      3,
    );
    expect(middle).toBeLessThan(0.5);
    expect(far).toBeGreaterThan(0.7);
    expect(farthest).toBeGreaterThan(0.7);
    expect(overflowed).toBe(farthest);
  });

  test('follows from its seed, and holds none of the rows', () => {
    const values = new RandomSource(1).fillNormal(new Float32Array(1000));
    const forest = fitIsolationForest(values, 2, new RandomSource(4));
    expect(fitIsolationForest(values, 2, new RandomSource(4))).toEqual(forest);
    expect(fitIsolationForest(values, 2, new RandomSource(5))).not.toEqual(forest);
    const held = new Set(values);
    expect(Array.from(forest.threshold).filter((threshold) => held.has(threshold))).toEqual([]);
  });
});
