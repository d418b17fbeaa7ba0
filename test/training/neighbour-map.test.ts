import { RandomSource } from '@elbo/models';
import { neighbourMap } from '@elbo/training/evaluation/neighbour-map';
import { describe, expect, test } from 'vitest';
import { sameClassNeighbours } from '../support/same-class-neighbours.js';

const SIZE = 10;

/** Points around `centres` far from each other, in turn. */
function clusters(count: number, centres: number, seed: number): Float32Array {
  const random = new RandomSource(seed);
  const middles = random.fillNormal(new Float32Array(centres * SIZE)).map((value) => 4 * value);
  const noise = random.fillNormal(new Float32Array(count * SIZE));
  return noise.map((value, i) => value + middles[(Math.floor(i / SIZE) % centres) * SIZE + (i % SIZE)]);
}

const mapOf = async (rows: Float32Array, size = SIZE, seed = 1) => {
  const map = await neighbourMap(rows, size, new RandomSource(seed));
  if (map === undefined) throw new Error('no map');
  return map;
};

describe('the map of neighbours', () => {
  test('keeps points of a cluster beside each other', async () => {
    const count = 300;
    const labels = Array.from({ length: count }, (_, i) => i % 5);
    const map = await mapOf(clusters(count, 5, 1));
    expect(map).toHaveLength(2 * count);
    // By chance a fifth.
    expect(sameClassNeighbours(map, labels, 10)).toBeGreaterThan(0.95);
  });

  test('has each point near some of its own neighbours, where there are no clusters', async () => {
    const count = 200;
    // On a circle in three dimensions, in order: neighbours in the order are neighbours on the circle.
    const rows = Float32Array.from({ length: 3 * count }, (_, i) => {
      const angle = (2 * Math.PI * Math.floor(i / 3)) / count;
      return [Math.cos(angle), Math.sin(angle), Math.sin(angle)][i % 3];
    });
    const map = await mapOf(rows, 3);
    let kept = 0;
    for (let i = 0; i < count; i++) {
      const nearest = Array.from({ length: count }, (_, j) => j)
        .filter((j) => j !== i)
        .sort((a, b) => squaredDistance(map, i, a) - squaredDistance(map, i, b))
        .slice(0, 10);
      kept += nearest.filter((j) => Math.min(Math.abs(i - j), count - Math.abs(i - j)) <= 10).length / 10;
    }
    // By chance a tenth.
    expect(kept / count).toBeGreaterThan(0.7);
  });

  test('is the same for the same numbers, and another for others', async () => {
    const rows = clusters(60, 3, 2);
    const map = await mapOf(rows);
    expect(await mapOf(rows)).toEqual(map);
    expect(await mapOf(rows, SIZE, 2)).not.toEqual(map);
  });

  test.each([1, 2, 15, 16, 19])('is left out for %i points', async (count) => {
    expect(await neighbourMap(clusters(count, 1, 3), SIZE, new RandomSource(1))).toBeUndefined();
  });

  test.each([20, 21, 40])('is there for %i points, and finite', async (count) => {
    const map = await mapOf(clusters(count, 1, 4));
    expect(map).toHaveLength(2 * count);
    expect(map.every(Number.isFinite)).toBe(true);
  });

  test('is left out where all points are the same, or few differ', async () => {
    const same = new Float32Array(500 * SIZE).fill(0.25);
    expect(await neighbourMap(same, SIZE, new RandomSource(1))).toBeUndefined();
    const few = Float32Array.from({ length: 500 }, (_, i) => i % 19);
    expect(await neighbourMap(few, 1, new RandomSource(1))).toBeUndefined();
  });

  test('puts equal points in one place, however many there are', async () => {
    const different = clusters(40, 4, 5);
    const rows = Float32Array.from({ length: 2000 * SIZE }, (_, i) =>
      i < different.length ? different[i] : different[i % SIZE],
    );
    const map = await mapOf(rows);
    for (let i = 40; i < 2000; i++) expect([map[2 * i], map[2 * i + 1]]).toEqual([map[0], map[1]]);
    expect(new Set(Array.from({ length: 40 }, (_, i) => map[2 * i])).size).toBe(40);
  });

  test('tells how far it is', async () => {
    const seen: [number, number][] = [];
    await neighbourMap(clusters(30, 1, 6), SIZE, new RandomSource(1), (done, total) => seen.push([done, total]));
    expect(seen.length).toBeGreaterThan(10);
    expect(seen.at(-1)?.[0]).toBe(seen.at(-1)?.[1]);
    expect(seen.map(([done]) => done)).toEqual(seen.map(([done]) => done).sort((a, b) => a - b));
  });
});

function squaredDistance(points: Float64Array, i: number, j: number): number {
  return (points[2 * i] - points[2 * j]) ** 2 + (points[2 * i + 1] - points[2 * j + 1]) ** 2;
}
