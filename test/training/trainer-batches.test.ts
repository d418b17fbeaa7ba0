import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Examples, inMemory, subset } from '@elbo/training/data/dataset';
import { type ExampleReader, openExamples } from '@elbo/training/data/example-reader';
import { BatchLoader, buffersOf } from '@elbo/training/trainer/batch-loader';
import { type Batches, type BatchPlan, BatchSource } from '@elbo/training/trainer/batches';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';

const COUNT = 50;
const SIZE = 4;
/** Every example says which one it is. */
const values = Uint8Array.from({ length: COUNT * SIZE }, (_, i) => Math.floor(i / SIZE));
const examples = inMemory(values, [1, 2, 2]);
const plan = (changes: Partial<BatchPlan> = {}): BatchPlan => ({
  seed: 3,
  batchSize: 8,
  count: COUNT,
  exampleSize: SIZE,
  dtype: 'uint8',
  binarise: true,
  noise: { z: 3, extra: 5 },
  ...changes,
});

const open: ExampleReader[] = [];
afterEach(async () => {
  for (const reader of open.splice(0)) await reader.close();
});

async function sourceOf(data: Examples, changes: Partial<BatchPlan> = {}): Promise<BatchSource> {
  const reader = await openExamples(data);
  open.push(reader);
  return new BatchSource(reader, plan({ count: data.count, ...changes }));
}

function joined(parts: readonly Batches[]): Batches {
  const all = <T extends Uint8Array | Float32Array>(pick: (part: Batches) => T): number[] =>
    parts.flatMap((part) => [...pick(part)]);
  return {
    examples: Uint8Array.from(all(({ examples }) => examples)),
    thresholds: Uint8Array.from(all(({ thresholds }) => thresholds as Uint8Array)),
    noise: {
      z: Float32Array.from(all(({ noise }) => noise.z)),
      extra: Float32Array.from(all(({ noise }) => noise.extra)),
    },
  };
}

describe('minibatches', () => {
  test('an epoch is examples without repetition, shuffled, and another epoch is shuffled otherwise', async () => {
    const source = await sourceOf(examples);
    const orders = await Promise.all(
      [0, 6].map(async (step) => {
        const batches = await source.draw(step, 6);
        return Array.from({ length: 48 }, (_, row) => batches.examples[row * SIZE]);
      }),
    );
    for (const order of orders) expect(new Set(order).size).toBe(48);
    expect(orders[0]).not.toEqual(orders[1]);
    expect(orders[0]).not.toEqual(orders[0].toSorted((a, b) => a - b));
  });

  test('labels stay with their examples, from the source and from its thread', async () => {
    const labelled = inMemory(values, [1, 2, 2], { labels: Uint8Array.from({ length: COUNT }, (_, i) => 3 * i) });
    const shuffled = subset(labelled, [...Array(COUNT).keys()].reverse());
    const reader = await openExamples(shuffled);
    open.push(reader);
    const source = new BatchSource(reader, plan({ labels: true }), shuffled.labels);
    const loader = new BatchLoader(shuffled, plan({ labels: true }));
    for (const batches of [await source.draw(2, 3), await loader.load(2, 3)]) {
      const firsts = Array.from({ length: 24 }, (_, row) => batches.examples[row * SIZE]);
      expect([...(batches.labels ?? [])]).toEqual(firsts.map((number) => 3 * number));
    }
    await loader.close();
    expect((await (await sourceOf(shuffled)).draw(0, 1)).labels).toBeUndefined();
  });

  test('what a step draws does not depend on the steps that were asked for before it or with it', async () => {
    const whole = await (await sourceOf(examples)).draw(6, 6);
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.integer({ min: 1, max: 5 }), { maxLength: 4 }), async (cuts) => {
        const source = await sourceOf(examples);
        const ends = [...cuts.toSorted((a, b) => a - b), 6];
        const parts = await Promise.all(
          ends.map((end, i) => source.draw(6 + (ends[i - 1] ?? 0), end - (ends[i - 1] ?? 0))),
        );
        expect(joined(parts)).toEqual(whole);
      }),
      { numRuns: 20 },
    );
  });

  test('another seed draws otherwise', async () => {
    const [one, other] = [await sourceOf(examples), await sourceOf(examples, { seed: 4 })];
    const [a, b] = [await one.draw(0, 6), await other.draw(0, 6)];
    expect(a.examples).not.toEqual(b.examples);
    expect(a.thresholds).not.toEqual(b.thresholds);
    expect(a.noise.z).not.toEqual(b.noise.z);
  });

  test('noise is standard normal, and each use of it its own', async () => {
    const source = await sourceOf(examples, { noise: { z: 400, extra: 400 } });
    const { noise } = await source.draw(0, 6);
    for (const values of [noise.z, noise.extra]) {
      const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
      const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length;
      expect(Math.abs(mean)).toBeLessThan(0.03);
      expect(Math.abs(variance - 1)).toBeLessThan(0.05);
    }
    const product = noise.z.reduce((sum, v, i) => sum + v * noise.extra[i], 0) / noise.z.length;
    expect(Math.abs(product)).toBeLessThan(0.03);
  });
});

test.each(['uint8', 'float32'] as const)(
  'batches of %s take the memory of spent ones where it suffices',
  async (dtype) => {
    const data = dtype === 'uint8' ? examples : inMemory(Float32Array.from(values), [1, 2, 2]);
    const source = await sourceOf(data, { dtype, binarise: dtype === 'uint8' });
    const expected = [await source.draw(1, 2), await source.draw(0, 5)];
    const spent = await source.draw(2, 3);
    const smaller = await source.draw(1, 2, spent);
    expect(smaller).toEqual(expected[0]);
    const larger = await source.draw(0, 5, smaller);
    expect(larger).toEqual(expected[1]);
    for (const [i, buffer] of buffersOf(smaller).entries()) {
      expect(buffer).toBe(buffersOf(spent)[i]);
      expect(buffer).not.toBe(buffersOf(larger)[i]);
    }
  },
);

describe('the thread that loads minibatches', () => {
  test('draws the same into the memory of batches that were given back, which are empty from then on', async () => {
    const source = await sourceOf(examples);
    const loader = new BatchLoader(examples, plan());
    for (const [step, steps] of [
      [0, 3],
      [3, 1],
      [4, 2],
    ] as const) {
      const batches = await loader.load(step, steps);
      expect(batches).toEqual(await source.draw(step, steps));
      loader.recycle(batches);
      for (const buffer of buffersOf(batches)) expect(buffer.byteLength).toBe(0);
    }
    await loader.close();
  });

  test('answers what the source draws, from memory and from a file, in the order of the requests', async () => {
    const path = join(temporaryDirectory(), 'examples.u8');
    writeFileSync(path, values);
    const inFile: Examples = { ...examples, storage: { kind: 'file', path, offset: 0 } };
    const some = subset(
      inFile,
      Int32Array.from({ length: 30 }, (_, i) => 49 - i),
    );
    for (const data of [examples, inFile, some]) {
      const source = await sourceOf(data);
      const loader = new BatchLoader(data, plan({ count: data.count }));
      const asked = [
        [0, 2],
        [2, 1],
        [3, 3],
      ] as const;
      const loaded = await Promise.all(asked.map(([step, steps]) => loader.load(step, steps)));
      for (const [i, [step, steps]] of asked.entries()) expect(loaded[i]).toEqual(await source.draw(step, steps));
      await loader.close();
    }
  });

  test('keeps nothing of the batches that it answered with', async () => {
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    const loader = new BatchLoader(examples, plan());
    const answered: WeakRef<Batches>[] = [];
    for (let step = 0; step < 5; step++) answered.push(new WeakRef(await loader.load(step, 1)));
    // The last may still be on its way through a promise.
    const kept = () => answered.slice(0, -1).filter((batches) => batches.deref() !== undefined).length;
    for (let tries = 0; tries < 10 && kept() > 0; tries++) {
      // A WeakRef holds on until the present job ends.
      await new Promise((resolve) => setImmediate(resolve));
      collectGarbage();
    }
    expect(kept()).toBe(0);
    await loader.close();
    await expect(loader.load(0, 1)).rejects.toThrow('the thread that loads minibatches ended');
  });

  test('tells of a file that is not there by a DataError, for every request, and closes all the same', async () => {
    const missing: Examples = { ...examples, storage: { kind: 'file', path: '/nowhere/examples.u8', offset: 0 } };
    const loader = new BatchLoader(missing, plan());
    for (const step of [0, 1]) {
      await expect(loader.load(step, 1)).rejects.toMatchObject({
        name: 'DataError',
        message: expect.stringContaining('/nowhere/examples.u8'),
      });
    }
    await loader.close();
  });
});
