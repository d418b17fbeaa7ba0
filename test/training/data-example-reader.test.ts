import { once } from 'node:events';
import { appendFileSync, readdirSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { DataError } from '@elbo/training/data/data-error';
import { type Examples, inMemory, slice, subset } from '@elbo/training/data/dataset';
import { openExamples } from '@elbo/training/data/example-reader';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { valuesOf } from '../support/examples.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

/** The same rows in memory and in a file, after some bytes of something else. */
function bothPlaces(values: Uint8Array | Float32Array, shape: readonly number[], directory: string): Examples[] {
  const memory = inMemory(values, shape);
  const path = join(directory, 'rows');
  writeFileSync(path, Buffer.concat([Buffer.alloc(13, 0xee), new Uint8Array(values.buffer)]));
  return [memory, { ...memory, storage: { kind: 'file', path, offset: 13 } }];
}

const rows = fc
  .record({
    count: fc.integer({ min: 1, max: 60 }),
    // From rows of which hundreds are read together to ones that are read alone.
    size: fc.constantFrom(1, 3, 200, 5000),
    float: fc.boolean(),
  })
  .chain(({ count, size, float }) =>
    fc.record({
      size: fc.constant(size),
      values: fc.constant(
        new (float ? Float32Array : Uint8Array)(Array.from({ length: count * size }, (_, i) => (i * 7919) % 251)),
      ),
      picked: fc.array(fc.nat({ max: count - 1 }), { maxLength: 80 }),
      again: fc.array(fc.nat({ max: 1000 }), { maxLength: 80 }),
    }),
  );

describe('reading examples', () => {
  test('gives the rows that were asked for, in any order, from memory as from a file, through subsets and slices', async () => {
    const directory = temporaryDirectory();
    await fc.assert(
      fc.asyncProperty(rows, async ({ size, values, picked, again }) => {
        const expected = (indices: readonly number[]) =>
          indices.flatMap((index) => Array.from(values.subarray(index * size, (index + 1) * size)));
        for (const examples of bothPlaces(values, [size], directory)) {
          const reader = await openExamples(examples);
          expect(Array.from(await reader.read(picked))).toEqual(expected(picked));
          const end = picked.length > 0 ? picked[0] : 0;
          const range = await reader.range(Math.floor(end / 2), end);
          expect(Array.from(range)).toEqual(
            expected(Array.from({ length: examples.count }, (_, i) => i).slice(Math.floor(end / 2), end)),
          );
          await reader.close();

          if (picked.length === 0) continue;
          const part = subset(examples, picked);
          const indices = again.map((index) => index % picked.length);
          const partReader = await openExamples(part);
          const target =
            values instanceof Float32Array ? new Float32Array(size * 80 + 1) : new Uint8Array(size * 80 + 1);
          await partReader.read(indices, target);
          await partReader.close();
          expect(Array.from(target.subarray(0, indices.length * size))).toEqual(
            expected(indices.map((i) => picked[i])),
          );
          const half = Math.floor(examples.count / 2);
          expect(Array.from(await valuesOf(slice(examples, half, examples.count)))).toEqual(
            Array.from(values.subarray(half * size)),
          );
        }
      }),
      { numRuns: 60 },
    );
  });

  test('reads that overlap in time do not disturb each other', async () => {
    const values = Uint8Array.from({ length: 40_000 }, (_, i) => (i * 31) % 251);
    const [, examples] = bothPlaces(values, [40], temporaryDirectory());
    const reader = await openExamples(examples);
    const orders = [3, 7, 11, 13].map((step) => Int32Array.from({ length: 900 }, (_, i) => (i * step) % 1000));
    const results = await Promise.all(orders.map((order) => reader.read(order)));
    await reader.close();
    for (const [which, order] of orders.entries()) {
      for (const [i, row] of order.entries()) expect(results[which][i * 40]).toBe(values[row * 40]);
    }
  });

  test('into shared memory works, so that another thread can hand the values on', async () => {
    const values = Float32Array.from({ length: 200_000 }, (_, i) => i);
    for (const examples of bothPlaces(values, [100_000], temporaryDirectory())) {
      const reader = await openExamples(examples);
      const target = new Float32Array(new SharedArrayBuffer(800_000));
      await reader.read([1, 0], target);
      await reader.close();
      expect([target[0], target[99_999], target[100_000], target[199_999]]).toEqual([100_000, 199_999, 0, 99_999]);
    }
  });

  test('an index or a target that does not fit is refused', async () => {
    for (const examples of bothPlaces(new Uint8Array(12), [3], temporaryDirectory())) {
      const reader = await openExamples(examples);
      for (const index of [-1, 4, 0.5, Number.NaN]) {
        await expect(reader.read([index])).rejects.toThrow(`example ${index} of 4; expected an index from 0 to 3`);
      }
      await expect(reader.range(2, 5)).rejects.toThrow(RangeError);
      await expect(reader.read([0], new Float32Array(3))).rejects.toThrow('expected an array of uint8');
      await expect(reader.read([0, 1], new Uint8Array(5))).rejects.toThrow('expected at least 6');
      await reader.close();
    }
  });
});

test('a worker thread reads the examples that it is sent', async () => {
  const module = import.meta.resolve('@elbo/training/data/example-reader');
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(workerData.module).then(async ({ openExamples }) => {
      for (const examples of workerData.all) {
        const reader = await openExamples(examples);
        parentPort.postMessage(await reader.read([3, 0]));
        await reader.close();
      }
    });`;
  const all = bothPlaces(Float32Array.of(0, 1, 2, 3, 4), [1], temporaryDirectory()).map((examples) =>
    subset(examples, [4, 3, 2, 1]),
  );
  const worker = new Worker(code, { eval: true, workerData: { module, all } });
  const received: unknown[] = [];
  worker.on('message', (values) => received.push(values));
  await once(worker, 'exit');
  expect(received).toEqual([Float32Array.of(1, 4), Float32Array.of(1, 4)]);
});

describe('a file that changed is refused', () => {
  const values = new Uint8Array(1000);
  const stamped = (directory: string): { examples: Examples; path: string } => {
    const path = join(directory, 'rows');
    writeFileSync(path, values);
    utimesSync(path, 1000, 1000);
    const storage = { kind: 'file', path, offset: 0, stamp: { size: 1000, mtimeMs: 1_000_000 } } as const;
    return { examples: { count: 100, shape: [10], dtype: 'uint8', storage }, path };
  };

  test('when it is opened, by its size and by its time', async () => {
    const { examples, path } = stamped(temporaryDirectory());
    expect((await valuesOf(examples)).length).toBe(1000);
    utimesSync(path, 1000, 1001);
    await expect(valuesOf(examples)).rejects.toThrow(
      `${path}: the file has changed since it was read first: modified 1970-01-01T00:16:41.000Z, 1970-01-01T00:16:40.000Z before`,
    );
    appendFileSync(path, 'x');
    await expect(valuesOf(examples)).rejects.toThrow('1001 bytes, 1000 before');
    await expect(valuesOf({ ...examples, storage: { kind: 'file', path: `${path}-gone`, offset: 0 } })).rejects.toThrow(
      DataError,
    );
  });

  test('while it is being read', async () => {
    const { examples, path } = stamped(temporaryDirectory());
    const reader = await openExamples(examples);
    await reader.range(0, 10);
    truncateSync(path, 500);
    await expect(reader.read([0])).rejects.toThrow(/rows: the file has changed .* 500 bytes, 1000 before/);
    await reader.close();
  });

  test('and nothing stays open, whatever happened', async () => {
    const open = () => readdirSync('/proc/self/fd').length;
    const { examples, path } = stamped(temporaryDirectory());
    const before = open();
    for (let i = 0; i < 20; i++) await valuesOf(examples);
    truncateSync(path, 10);
    for (let i = 0; i < 20; i++) await expect(valuesOf(examples)).rejects.toThrow(DataError);
    expect(open()).toBe(before);
  });
});
