import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PlaneIndex } from '../../explorer/dist/model/plane-index.js';

const coordinate = fc.integer({ min: -200, max: 200 }).map((value) => value / 8);
const place = fc.tuple(coordinate, coordinate);

describe('the nearest points on a plane', () => {
  test('are those of a look at all of them', () => {
    fc.assert(
      fc.property(
        fc.array(place, { minLength: 1, maxLength: 300 }),
        place,
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 1, max: 4 }),
        (points, [x, y], count, stride) => {
          const index = new PlaneIndex(Float32Array.from(points.flat()));
          const isWanted = (point: number) => point % stride === 0;
          const all = points
            .map(([left, top], point) => ({ point, distance: Math.hypot(left - x, top - y) }))
            .filter(({ point }) => isWanted(point))
            .map(({ distance }) => distance)
            .sort((a, b) => a - b)
            .slice(0, count);
          expect(index.nearest(x, y, count, isWanted).map(({ distance }) => distance)).toEqual(all);
        },
      ),
    );
  });

  test('are none where there are no points', () => {
    expect(new PlaneIndex(new Float32Array()).nearest(0, 0, 3)).toEqual([]);
  });
});
