import { RandomSource } from '@elbo/models';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { Manifolds } from '@elbo/training/sample-quality/manifolds';
import { describe, expect, onTestFinished, test } from 'vitest';
import { featuresFrom } from './support/features.js';

type Rows = readonly (readonly number[])[];

const engine = new OnnxRuntimeEngine(1);
const random = new RandomSource(11);
const cloud = (count: number, size: number, shift = 0, scale = 1): number[][] =>
  Array.from({ length: count }, () =>
    Array.from(random.fillNormal(new Float32Array(size)), (value) => scale * value + shift),
  );

async function measured(real: Rows, generated: Rows, neighbours = 3): Promise<{ precision: number; recall: number }> {
  const manifolds = await Manifolds.create(engine, real[0]?.length ?? 0, neighbours);
  onTestFinished(() => manifolds.release());
  return manifolds.precisionAndRecall(
    await manifolds.of(featuresFrom(real)),
    await manifolds.of(featuresFrom(generated)),
  );
}

const distance = (x: readonly number[], y: readonly number[]) =>
  Math.hypot(...x.map((value, i) => value - (y[i] as number)));

/** Share of the points in a ball around one of the others that reaches to its k-th nearest neighbour. */
function bruteForce(points: Rows, others: Rows, neighbours: number): number {
  const radii = others.map(
    (other, i) =>
      others
        .filter((_, j) => j !== i)
        .map((each) => distance(each, other))
        .sort((a, b) => a - b)[neighbours - 1] as number,
  );
  const inside = points.filter((point) => others.some((other, i) => distance(point, other) <= (radii[i] as number)));
  return inside.length / points.length;
}

describe('precision and recall', () => {
  test('of points on a line, worked out by hand', async () => {
    // Balls of the real points reach to the second neighbour: [-2, 2], [0, 2], [0, 4] and [1, 11].
    const real = [[0], [1], [2], [6]];
    expect(await measured(real, [[-1.9], [2.1], [10.9], [11.1]], 2)).toEqual({ precision: 0.75, recall: 1 });
    // Those of generated ones: [1.8, 4], [2.9, 4.1], [2.9, 5.1], [38, 42], [40, 42] and [40, 44].
    const generated = [[2.9], [3.5], [4], [40], [41], [42]];
    expect(await measured(real, generated, 2)).toEqual({ precision: 0.5, recall: 0.25 });
  });

  test('are what a search over all pairs finds, across blocks of distances', async () => {
    for (const [count, neighbours] of [
      [1100, 3],
      [60, 1],
      [60, 5],
    ] as const) {
      const [real, generated] = [cloud(count, 3), cloud(count - 7, 3, 0.8, 0.6)];
      const { precision, recall } = await measured(real, generated, neighbours);
      expect(precision).toBeCloseTo(bruteForce(generated, real, neighbours), 10);
      expect(recall).toBeCloseTo(bruteForce(real, generated, neighbours), 10);
      expect(precision).not.toBeCloseTo(recall, 2);
    }
  });

  test('are 1 of identical sets, far from the origin too, and 0 of sets apart', async () => {
    const set = cloud(100, 4, 50);
    expect(await measured(set, set)).toEqual({ precision: 1, recall: 1 });
    expect(await measured(set, cloud(100, 4, 80))).toEqual({ precision: 0, recall: 0 });
  });

  test('tell samples of one kind only from samples of everything and more', async () => {
    const [left, right, elsewhere] = [cloud(100, 2, -20), cloud(100, 2, 20), cloud(100, 2, 60)];
    const oneKind = await measured([...left, ...right], cloud(200, 2, -20));
    expect(oneKind.precision).toBeGreaterThan(0.9);
    expect(oneKind.recall).toBeGreaterThan(0.4);
    expect(oneKind.recall).toBeLessThanOrEqual(0.5);
    const more = await measured(left, [...cloud(100, 2, -20), ...elsewhere]);
    expect(more.precision).toBeLessThanOrEqual(0.5);
    expect(more.recall).toBeGreaterThan(0.9);
  });

  test('of a collapsed model: its one image is right, and is all that it covers', async () => {
    const real = cloud(50, 8, 10);
    const [first] = real as [number[]];
    const { precision, recall } = await measured(
      real,
      Array.from({ length: 50 }, () => first),
    );
    expect(precision).toBe(1);
    expect(recall).toBe(1 / 50);
  });
});
