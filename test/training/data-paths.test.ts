import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { DataError } from '@elbo/training/data/data-error';
import { type Examples, meanPerFeature } from '@elbo/training/data/dataset';
import { type DatasetOptions, loadDataset } from '@elbo/training/data/datasets';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { valuesOf } from '../support/examples.js';
import { encodeIdx } from '../support/idx.js';
import { encodeNpy } from '../support/npy.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { encodeZip } from '../support/zip.js';

/** Rows that carry their number: [count, 2], values n and n + 0.5. */
const numbered = (count: number) => Array.from({ length: 2 * count }, (_, i) => i / 2);
const floats = (count: number) => encodeNpy({ type: 'f4', shape: [count, 2], values: numbered(count) });

function put(content: Uint8Array | string, name: string): string {
  const path = join(temporaryDirectory(), name);
  writeFileSync(path, content);
  return path;
}

const load = (path: string, options: DatasetOptions = {}) =>
  loadDataset(path, { cacheDir: join(path, '..', 'cache'), ...options });

const firstValues = async (examples: Examples) => Array.from(await valuesOf(examples)).filter((_, i) => i % 2 === 0);

async function complaint(path: string, options: DatasetOptions = {}): Promise<string> {
  const outcome = await load(path, options).catch((error: unknown) => error);
  expect(outcome).toBeInstanceOf(DataError);
  const { message } = outcome as DataError;
  expect(message).not.toContain('\n');
  return message;
}

describe('a data set by path', () => {
  test('is split: a tenth of the shuffled examples, at least one, is the test part, by the seed', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 2, max: 200 }), fc.nat(), async (count, seed) => {
        const path = put(floats(count), 'table.npy');
        const { train, test: held, description } = await load(path, { seed });
        const testCount = Math.max(1, Math.floor(count / 10));
        expect([train.count, held.count]).toEqual([count - testCount, testCount]);
        const all = [...(await firstValues(train)), ...(await firstValues(held))].sort((a, b) => a - b);
        expect(all).toEqual(Array.from({ length: count }, (_, i) => i));
        expect(description).toContain(
          `the last ${testCount} of ${count} examples, shuffled by seed ${seed}, are the test part`,
        );
      }),
      { numRuns: 30 },
    );
    const path = put(floats(100), 'table.npy');
    const held = async (seed: number) => firstValues((await load(path, { seed })).test);
    expect(await held(1)).toEqual(await held(1));
    expect(await held(1)).not.toEqual(await held(2));
  });

  test('of vectors takes its range from the training part, whatever the type; its hash is of the training values', async () => {
    for (const [bytes, name] of [
      [floats(50), 'a.npy'],
      [encodeNpy({ type: 'f8', shape: [50, 2], values: numbered(50), fortranOrder: true }), 'b.npy'],
      [encodeZip([{ name: 'X.npy', content: floats(50) }]), 'c.npz'],
      [`a,b\n${Array.from({ length: 50 }, (_, i) => `${i},${i + 0.5}`).join('\n')}`, 'd.csv'],
    ] as const) {
      const directory = put(bytes, name);
      for (const memoryBudget of [0, 1e6]) {
        const { input, train, sha256 } = await load(directory, { memoryBudget });
        const values = await valuesOf(train);
        const columns = ['a', 'b'].map((column) => ({ name: column, kind: 'numeric' }));
        expect(input).toEqual({
          kind: 'vector',
          shape: [2],
          value_range: [-1e12, 1e12],
          ...(name === 'd.csv' && { columns }),
        });
        expect(sha256).toBe(createHash('sha256').update(values).digest('hex'));
        expect(train.storage.kind).toBe(memoryBudget === 0 ? 'file' : 'memory');
        const { mean } = await meanPerFeature(train);
        expect(mean[1] - mean[0]).toBeCloseTo(0.5, 6);
      }
    }
  });

  test('of bytes is of images, of float32 between 0 and 1 as well', async () => {
    const bytes = encodeNpy({ type: 'u1', shape: [5, 2, 3], values: new Array(30).fill(9) });
    expect((await load(put(bytes, 'a.npy'))).input).toMatchObject({
      kind: 'image',
      shape: [1, 2, 3],
      colour: 'grey',
      value_range: [0, 1],
    });
    const colour = encodeNpy({
      type: 'f2',
      shape: [5, 2, 2, 3],
      values: Array.from({ length: 60 }, (_, i) => (i % 9) / 8),
    });
    const { input, train } = await load(put(colour, 'b.npy'));
    expect(input).toMatchObject({ kind: 'image', shape: [3, 2, 2], colour: 'rgb', value_range: [0, 1] });
    expect(train.dtype).toBe('float32');
    const idx = encodeIdx([5, 2, 3], new Uint8Array(30));
    for (const [content, name] of [
      [idx, 'images-idx3-ubyte'],
      [gzipSync(idx), 'images.gz'],
      [idx, 'images.idx'],
    ] as const) {
      expect((await load(put(content, name))).input).toMatchObject({ kind: 'image', shape: [1, 2, 3] });
    }
  });

  test('is found here or in the data directory', async () => {
    const path = put(floats(5), 'table.npy');
    expect((await loadDataset('table.npy', { dataDir: join(path, '..') })).name).toBe('table.npy');
    expect((await loadDataset(path, { dataDir: '/nowhere' })).train.count).toBe(4);
    expect(await complaint('absent/table.npy', { dataDir: '/data' })).toMatch(
      /^dataset is "absent\/table\.npy"; expected a name \(mnist, fashion-mnist, shapes\) or an existing path: there is no .* and no \/data\/absent\/table\.npy$/,
    );
  });

  test('a folder with the four files of MNIST is read as such, of any size', async () => {
    const folder = join(temporaryDirectory(), 'tiny');
    mkdirSync(folder);
    for (const [name, shape] of [
      ['train-images-idx3-ubyte', [4, 2, 2]],
      ['train-labels-idx1-ubyte', [4]],
      ['t10k-images-idx3-ubyte', [2, 2, 2]],
      ['t10k-labels-idx1-ubyte', [2]],
    ] as const) {
      writeFileSync(join(folder, name), encodeIdx(shape, new Uint8Array(shape.reduce((a: number, b) => a * b, 1))));
    }
    const { train, test: held, name } = await load(folder);
    expect([name, train.count, held.count, train.shape, train.labels?.length]).toEqual(['tiny', 4, 2, [1, 2, 2], 4]);
  });

  test('what was found out about a large file is kept beside the cache and not looked for again', async () => {
    const path = put(floats(1000), 'table.npy');
    const passes: string[] = [];
    const options = { memoryBudget: 0, onProgress: (_: number, __: number, text: string) => passes.push(text) };
    const first = await load(path, options);
    expect(passes).toContain('checking the data');
    passes.length = 0;
    expect(await load(path, options)).toEqual(first);
    expect(passes).toEqual([]);
    for (const name of readdirSync(join(path, '..', 'cache')))
      writeFileSync(join(path, '..', 'cache', name), '{"low": 1}');
    expect(await load(path, options)).toEqual(first);
    expect(passes).toContain('checking the data');
  });
});

describe('a path that is no data set is refused in one line', () => {
  test.each([
    ['a.txt', 'hello', /a\.txt: the name ends with \.txt; expected \.npy, \.npz, \.csv/],
    ['README', 'hello', /README: the name ends with no extension; expected/],
    ['a.npy', floats(1), /there is 1 example; expected at least 2, one of them to test with/],
    [
      'b.npy',
      encodeNpy({ type: 'f4', shape: [5, 2], values: new Array(10).fill(3) }),
      /every training value is 3; expected values that differ/,
    ],
    [
      'c.npy',
      encodeNpy({ type: 'f4', shape: [2, 1, 2], values: [0, 0.5, -0.25, 255] }),
      /the images' values are from -0\.25 to 255; expected 0 to 1, or bytes \(uint8\)/,
    ],
    [
      'd.npy',
      encodeNpy({ type: 'i2', shape: [2, 1, 2], values: [0, 5, 7, 255] }),
      /the images' values are from 0 to 255; expected 0 to 1, or bytes/,
    ],
  ])('%s', async (name, content, expected) => {
    expect(await complaint(put(content, name))).toMatch(expected);
  });

  test('infinity in a large file that is used in place', async () => {
    const values = numbered(50);
    values[31] = Number.POSITIVE_INFINITY;
    const path = put(encodeNpy({ type: 'f4', shape: [50, 2], values }), 'table.npy');
    expect(await complaint(path, { memoryBudget: 0 })).toBe(
      `${path}: the value of row 15, feature 1 (from 0) is infinity, or beyond float32; expected finite numbers`,
    );
  });

  test('names with control characters reach no terminal', async () => {
    expect(await complaint('a\u001b[2J\n/b.npy')).toMatch(/^dataset is "a\\u001b\[2J\\n\/b\.npy"/);
    expect(await complaint(put('x', 'a\u0007.npy'))).toContain('a\\u0007.npy: it begins with 0x78');
    expect(await complaint('a\0.npy')).toContain('expected a name');
  });
});
