import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { DataError } from '@elbo/training/data/data-error';
import { type DatasetOptions, datasetNames, loadDataset } from '@elbo/training/data/datasets';
import { describe, expect, test } from 'vitest';
import { dataDirectory } from '../support/data-directory.js';
import { bytesOf, valuesOf } from '../support/examples.js';
import { encodeIdx } from '../support/idx.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const bytes = (length: number, step: number) => Uint8Array.from({ length }, (_, i) => (i * step) % 256);
const trainValues = bytes(6 * 784, 7);
const testValues = bytes(3 * 784, 11);

/** A data directory with a small data set in MNIST's files. */
function smallMnist(name: string, side = 28): string {
  const directory = temporaryDirectory();
  mkdirSync(join(directory, name));
  const files: [string, Buffer][] = [
    ['train-images-idx3-ubyte.gz', gzipSync(encodeIdx([(6 * 784) / side ** 2, side, side], trainValues))],
    ['train-labels-idx1-ubyte', encodeIdx([(6 * 784) / side ** 2], bytes((6 * 784) / side ** 2, 1))],
    ['t10k-images-idx3-ubyte', encodeIdx([3, 28, 28], testValues)],
    ['t10k-labels-idx1-ubyte.gz', gzipSync(encodeIdx([3], bytes(3, 2)))],
  ];
  for (const [file, content] of files) writeFileSync(join(directory, name, file), content);
  return directory;
}

const complaint = async (name: string, options?: DatasetOptions): Promise<string> => {
  const outcome = await loadDataset(name, options).catch((error: unknown) => error);
  expect(outcome).toBeInstanceOf(DataError);
  const { message } = outcome as DataError;
  expect(message).not.toContain('\n');
  return message;
};

describe('loading a data set by name', () => {
  test.each(['mnist', 'fashion-mnist'])('reads the four files of %s, each compressed or not', async (name) => {
    const dataset = await loadDataset(name, { dataDir: smallMnist(name) });
    const { train, test: held, classNames, ...rest } = dataset;
    // Digits are called by their numbers.
    expect(classNames?.slice(6, 8)).toEqual(name === 'mnist' ? undefined : ['Shirt', 'Sneaker']);
    expect(rest).toEqual({
      name,
      input: {
        kind: 'image',
        shape: [1, 28, 28],
        channel_order: 'CHW',
        colour: 'grey',
        value_range: [0, 1],
        resize: { fit: 'contain', background: 0 },
      },
      sha256: createHash('sha256').update(trainValues).digest('hex'),
      description: expect.stringContaining('28 x 28 grey, ten classes'),
    });
    expect(train).toMatchObject({
      count: 6,
      shape: [1, 28, 28],
      dtype: 'uint8',
      labels: Uint8Array.of(0, 1, 2, 3, 4, 5),
    });
    expect(held).toMatchObject({ count: 3, shape: [1, 28, 28], dtype: 'uint8', labels: Uint8Array.of(0, 2, 4) });
    expect(await bytesOf(train)).toEqual(trainValues);
    expect(await bytesOf(held)).toEqual(testValues);
  });

  test('a limit keeps the first examples of each part, and the hash is of what was kept', async () => {
    const { train, test: held, sha256 } = await loadDataset('mnist', { dataDir: smallMnist('mnist'), limit: 4 });
    expect(train).toMatchObject({ count: 4, labels: Uint8Array.of(0, 1, 2, 3) });
    const values = await bytesOf(train);
    expect(values).toEqual(trainValues.slice(0, 4 * 784));
    expect(held.count).toBe(3);
    expect(sha256).toBe(createHash('sha256').update(values).digest('hex'));
  });

  test('the generated one needs no directory and follows the seed', async () => {
    const hash = async (seed?: number) => (await loadDataset('shapes', { seed, limit: 50 })).sha256;
    expect(await hash()).toBe(await hash());
    expect(await hash(1)).not.toBe(await hash(2));
  });
});

describe('a data set that cannot be loaded is refused in one line', () => {
  test('unknown name: the known ones and the nearest', async () => {
    expect(await complaint('mnits')).toBe(
      'dataset is "mnits"; expected one of mnist, fashion-mnist, shapes, or the path of a file or an image folder; did you mean mnist?',
    );
    expect(await complaint('fashion_mnist')).toMatch(/did you mean fashion-mnist\?$/);
    expect(await complaint('shape')).toMatch(/did you mean shapes\?$/);
    expect(await complaint('xyzzy\n')).toMatch(
      /expected one of mnist, fashion-mnist, shapes, or the path of a file or an image folder$/,
    );
    expect(await complaint('toString')).toContain(datasetNames.join(', '));
  });

  test('no data directory, or not the right one: the option and the file that was looked for', async () => {
    expect(await complaint('mnist')).toMatch(/no data directory given; .*--data-dir DIR/);
    const directory = temporaryDirectory();
    const message = await complaint('mnist', { dataDir: directory });
    expect(message).toContain('train-images-idx3-ubyte.gz');
    expect(message).toContain(join(directory, 'mnist'));
    expect(message).toContain('--data-dir');
  });

  test('images of another size', async () => {
    const message = await complaint('mnist', { dataDir: smallMnist('mnist', 14) });
    expect(message).toMatch(/train-images-idx3-ubyte\.gz: dimensions are 24 x 14 x 14; expected count x 28 x 28$/);
  });

  test.each([0, -5, 2.5, Number.NaN])('limit %d', async (limit) => {
    expect(await complaint('shapes', { limit })).toBe(`limit is ${limit}; expected an integer of at least 1`);
  });
});

const dataDir = dataDirectory();

describe('the published files (needs a data directory)', () => {
  // Means of the training images as the data sets' users know them: 0.1307 and 0.2860.
  test.skipIf(dataDir === undefined).each([
    ['mnist', 0.1307, [5, 0, 4, 1, 9]],
    ['fashion-mnist', 0.286, [9, 0, 0, 3, 0]],
  ] as const)('%s: 60,000 and 10,000 images with ten balanced classes', async (name, mean, firstLabels) => {
    const { train, test: held } = await loadDataset(name, { dataDir });
    expect([train.count, held.count]).toEqual([60_000, 10_000]);
    let sum = 0;
    const values = await bytesOf(train);
    for (const value of values) sum += value;
    expect(sum / 255 / values.length).toBeCloseTo(mean, 4);
    expect(Array.from(train.labels?.subarray(0, 5) ?? [])).toEqual(firstLabels);
    expect(new Set(train.labels).size).toBe(10);
  });

  test.skipIf(dataDir === undefined)(
    'scrna/pbmc68k_reduced.npz: counts of 765 genes in 700 cells of ten types',
    async () => {
      const { train, test: held, input, description } = await loadDataset('scrna/pbmc68k_reduced.npz', { dataDir });
      expect([train.count, held.count]).toEqual([630, 70]);
      expect(input).toMatchObject({ kind: 'vector', shape: [765] });
      expect(description).toContain('array counts with labels labels');
      expect(new Set(train.labels).size).toBe(10);
      const values = await valuesOf(train);
      expect(values.every((value) => Number.isInteger(value) && value >= 0)).toBe(true);
    },
  );
});
