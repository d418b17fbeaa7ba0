import { largestContributions } from '@elbo/models';
import fc from 'fast-check';
import { expect, test } from 'vitest';

test('the columns that contribute most come first, equal ones in their order, as sorting all of them finds', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 30 }), fc.nat({ max: 35 }), (nats, count) => {
      const errors = Float32Array.from(nats);
      const found = largestContributions({ observed: errors, expected: errors, errors }, undefined, count);
      const sorted = nats
        .map((value, place) => ({ value, place }))
        .sort((a, b) => b.value - a.value || a.place - b.place);
      expect(found.map(({ column, nats: own }) => [Number(column), own])).toEqual(
        sorted.slice(0, count).map(({ place, value }) => [place, value]),
      );
    }),
  );
});
