import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '@elbo/training/data/data-error';
import { readNpz } from '@elbo/training/data/npz';
import { RowStore } from '@elbo/training/data/row-store';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dataDirectory } from '../support/data-directory.js';
import { valuesOf } from '../support/examples.js';
import { encodeNpy, NPY_TYPES, type NpyType, npyHeader } from '../support/npy.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { encodeZip, type ZipEntry } from '../support/zip.js';

const small = (type: NpyType) => (type === 'b1' ? fc.integer({ min: 0, max: 1 }) : fc.integer({ min: 0, max: 100 }));

const tables = fc
  .record({
    type: fc.constantFrom(...NPY_TYPES),
    labelType: fc.constantFrom('i4' as const, 'i8' as const, 'u1' as const, 'f8' as const, 'b1' as const),
    shape: fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 5 })),
    fortranOrder: fc.boolean(),
    stored: fc.boolean(),
    large: fc.boolean(),
  })
  .chain((options) =>
    fc.record({
      options: fc.constant(options),
      values: fc.array(small(options.type), {
        minLength: options.shape[0] * options.shape[1],
        maxLength: options.shape[0] * options.shape[1],
      }),
      labels: fc.array(small(options.labelType), { minLength: options.shape[0], maxLength: options.shape[0] }),
    }),
  );

const x = encodeNpy({ type: 'f8', shape: [3, 2], values: [1, 2, 3, 4, 5, 6], fortranOrder: true });
const y = encodeNpy({ type: 'i4', shape: [3], values: [0, 1, 255] });

function read(bytes: Uint8Array, directory: string, memoryBudget = 1e6) {
  const path = join(directory, 'table.npz');
  writeFileSync(path, bytes);
  return readNpz(path, new RowStore({ cacheDir: join(directory, 'cache'), memoryBudget }));
}

async function complaint(bytes: Uint8Array, directory: string): Promise<string> {
  const outcome = await read(bytes, directory).catch((error: unknown) => error);
  expect(outcome).toBeInstanceOf(DataError);
  const { message } = outcome as DataError;
  expect(message).toContain('table.npz: ');
  expect(message).not.toContain('\n');
  return message;
}

describe('a valid .npz file', () => {
  test('gives rows and labels, compressed or not, of every type and order, in memory and beyond its budget', async () => {
    const directory = temporaryDirectory();
    await fc.assert(
      fc.asyncProperty(tables, async ({ options, values, labels }) => {
        const { type, labelType, shape, fortranOrder, stored, large } = options;
        const bytes = encodeZip([
          { name: 'X.npy', content: encodeNpy({ type, shape, values, fortranOrder }), stored },
          { name: 'y.npy', content: encodeNpy({ type: labelType, shape: [shape[0]], values: labels }), stored },
        ]);
        // Another directory each time, since files of the same size may be written within one tick of the clock.
        const { train } = await read(bytes, temporaryDirectoryIn(directory), large ? 0 : 1e6);
        expect(train).toMatchObject({ count: shape[0], shape: [shape[1]], dtype: 'float32' });
        expect(Array.from(await valuesOf(train))).toEqual(values.map((value) => (type === 'b1' ? 255 * value : value)));
        expect(Array.from(train.labels ?? [])).toEqual(labels);
        if (large && stored && type === 'f4' && !fortranOrder) expect(train.storage).toMatchObject({ kind: 'file' });
      }),
      { numRuns: 200 },
    );
  });

  test.each([
    [['a', 'x', 'X'], 'X'],
    [['a', 'x', 'data'], 'x'],
    [['a', 'data', 'b'], 'data'],
    [['y', 'b', 'a'], 'b'],
    [['labels', 'only'], 'only'],
  ])('of arrays %j, %s holds the examples', async (names, chosen) => {
    const entries = names.map((name, i): ZipEntry => {
      const isLabels = name === 'y' || name === 'labels';
      return {
        name: `${name}.npy`,
        content: isLabels ? y : encodeNpy({ type: 'u1', shape: [3, 1], values: [i, i, 9] }),
      };
    });
    const { train, description } = await read(encodeZip(entries), temporaryDirectory());
    expect((await valuesOf(train))[0]).toBe(names.indexOf(chosen));
    expect(description).toContain(`array ${chosen}`);
  });

  test.each([
    ['counts beside values of the same shape are taken', [3, 2], 'counts'],
    ['counts of another shape are left alone', [3, 1], 'X'],
  ] as const)('%s', async (_, shape, chosen) => {
    const counts = encodeNpy({ type: 'u2', shape, values: new Array(shape[0] * shape[1]).fill(7) });
    for (const stored of [false, true]) {
      const entries = [
        { name: 'X.npy', content: x, stored },
        { name: 'counts.npy', content: counts, stored },
        { name: 'labels.npy', content: y, stored },
      ];
      const { train, description } = await read(encodeZip(entries), temporaryDirectory());
      expect(description).toContain(`array ${chosen} with labels labels`);
      expect((await valuesOf(train))[0]).toBe(chosen === 'X' ? 1 : 7);
      expect(train).toMatchObject({ shape: [2], labels: Uint8Array.of(0, 1, 255) });
    }
  });

  test('that elbo sample wrote gives the samples, not their latents', async () => {
    const latent = encodeNpy({ type: 'f4', shape: [3, 1], values: [7, 8, 9] });
    const bytes = encodeZip([
      { name: 'latent.npy', content: latent },
      { name: 'x_mean.npy', content: x },
    ]);
    const { train } = await read(bytes, temporaryDirectory());
    expect(Array.from(await valuesOf(train))).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('with x_train and x_test has both parts', async () => {
    const images = (count: number) =>
      encodeNpy({ type: 'u1', shape: [count, 2, 2], values: new Array(4 * count).fill(count) });
    const { train, test: held } = await read(
      encodeZip([
        { name: 'x_test.npy', content: images(2) },
        { name: 'x_train.npy', content: images(3) },
        { name: 'y_train.npy', content: y },
        { name: 'y_test.npy', content: encodeNpy({ type: 'u1', shape: [2, 1], values: [7, 8] }) },
      ]),
      temporaryDirectory(),
    );
    expect(train).toMatchObject({ count: 3, shape: [1, 2, 2], dtype: 'uint8', labels: Uint8Array.of(0, 1, 255) });
    expect(held).toMatchObject({ count: 2, labels: Uint8Array.of(7, 8) });
  });

  test.each([
    [
      'fractions',
      encodeNpy({ type: 'f8', shape: [3], values: [0, 0.5, 1] }),
      /y left out: it has 0\.5, and labels are whole/,
    ],
    ['negative', encodeNpy({ type: 'i2', shape: [3], values: [0, -1, 1] }), /y left out: it has -1/],
    [
      'text',
      Buffer.concat([npyHeader(`{'descr': '<U1', 'fortran_order': False, 'shape': (3,), }`), Buffer.alloc(12)]),
      /y left out: it has no numbers/,
    ],
  ])('labels that are none (%s) are left out, and the description says why', async (_, labels, expected) => {
    const bytes = encodeZip([
      { name: 'X.npy', content: x },
      { name: 'y.npy', content: labels },
    ]);
    const { train, description } = await read(bytes, temporaryDirectory());
    expect(train.labels).toBeUndefined();
    expect(description).toMatch(expected);
  });
});

describe('a damaged .npz file gives a DataError', () => {
  const valid = (stored: boolean) =>
    encodeZip([
      { name: 'X.npy', content: x, stored },
      { name: 'y.npy', content: y, stored },
    ]);

  test('cut off anywhere', async () => {
    const directory = temporaryDirectory();
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.nat(), async (stored, cut) => {
        const bytes = valid(stored);
        await complaint(bytes.subarray(0, cut % bytes.length), directory);
      }),
    );
  });

  test('or the numbers that were written, with any byte changed', async () => {
    const directory = temporaryDirectory();
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.nat(), fc.integer({ min: 1, max: 255 }), async (stored, at, change) => {
        const bytes = valid(stored);
        const position = at % bytes.length;
        bytes.writeUInt8(bytes.readUInt8(position) ^ change, position);
        const result = await read(bytes, directory).catch((error: unknown) => error);
        if (result instanceof DataError) return;
        const { train } = result as Awaited<ReturnType<typeof read>>;
        expect(Array.from(await valuesOf(train))).toEqual([1, 2, 3, 4, 5, 6]);
      }),
      { numRuns: 400 },
    );
  });

  const zeros = (bytes: number) =>
    Buffer.concat([
      npyHeader(`{'descr': '|u1', 'fortran_order': False, 'shape': (${bytes / 1024}, 1024), }`),
      Buffer.alloc(bytes),
    ]);
  const cases: [string, Uint8Array, RegExp][] = [
    ['an empty file', Buffer.alloc(0), /the file is empty; expected a .npz file/],
    ['a .npy file', x, /begins with 0x934e554d; expected 0x504b0304/],
    ['no array', encodeZip([]), /the arrays are none; expected one named X, x, data/],
    ['labels alone', encodeZip([{ name: 'y.npy', content: y }]), /the arrays are y; expected one named X, x, data/],
    [
      'a wrong checksum',
      encodeZip([{ name: 'X.npy', content: x, lie: { crc: 5 } }]),
      /X: the checksum is 0x[0-9a-f]{8}; expected 0x00000005/,
    ],
    [
      'a wrong checksum, stored',
      encodeZip([{ name: 'X.npy', content: x, stored: true, lie: { crc: 5 } }]),
      /X: the checksum is/,
    ],
    [
      'fewer bytes than it says',
      encodeZip([{ name: 'X.npy', content: x, lie: { size: x.length + 48 } }]),
      /there are 96 bytes of values; expected 48/,
    ],
    [
      'more bytes than it says',
      encodeZip([{ name: 'X.npy', content: Buffer.concat([x, x]), lie: { size: x.length } }]),
      /X: there are more bytes/,
    ],
    [
      'an impossible size',
      encodeZip([{ name: 'X.npy', content: x, lie: { size: 4e9 } }]),
      /X: an array, 4000000000 bytes, more than \d+ compressed bytes can hold/,
    ],
    ['an encrypted array', encodeZip([{ name: 'X.npy', content: x, lie: { flags: 1 } }]), /X: the array is encrypted/],
    [
      'another compression',
      encodeZip([{ name: 'X.npy', content: x, lie: { method: 14 } }]),
      /X: the compression method is 14; expected 0 \(stored\) or 8/,
    ],
    [
      'an array that lies elsewhere',
      encodeZip([{ name: 'X.npy', content: x, lie: { offset: 50 } }]),
      /the zip archive is damaged \(invalid local file header/,
    ],
    [
      'an array beyond the end',
      encodeZip([{ name: 'X.npy', content: x, lie: { compressedSize: 1e6, size: 1e6 } }]),
      /damaged \(file data overflows file bounds/,
    ],
    [
      'a name that leads out',
      encodeZip([{ name: '../X.npy', content: x }]),
      /damaged \(invalid relative path: \.\.\/X\.npy\)/,
    ],
    ['an absolute name', encodeZip([{ name: '/etc/X.npy', content: x }]), /damaged \(absolute path/],
    [
      'two of a name',
      encodeZip([
        { name: 'X.npy', content: x },
        { name: 'X.npy', content: x },
      ]),
      /there are two arrays "X"/,
    ],
    [
      'an array that is none',
      encodeZip([{ name: 'X', content: Buffer.from('hello world') }]),
      /X: it begins with 0x68656c6c6f20/,
    ],
    [
      'an empty array',
      encodeZip([{ name: 'X.npy', content: Buffer.alloc(0), stored: true }]),
      /X: it begins with nothing/,
    ],
    [
      'labels of another number',
      encodeZip([
        { name: 'X.npy', content: x },
        { name: 'y.npy', content: encodeNpy({ type: 'u1', shape: [2], values: [1, 2] }) },
      ]),
      /y: dimensions are 2; expected 3, a label for each row of X/,
    ],
    [
      'a bomb',
      encodeZip([{ name: 'X.npy', content: zeros(160 << 20) }]),
      /X: an array, 167772288 bytes, in \d+ compressed ones; expected at most 100 times as many above 128 MiB/,
    ],
  ];
  test.each(cases)('%s', async (_, bytes, expected) => {
    expect(await complaint(bytes, temporaryDirectory())).toMatch(expected);
  });
});

const dataDir = dataDirectory();

describe('published files (needs a data directory)', () => {
  // Rows, columns and anomalies as the ODDS library and ADBench's table state them.
  test.skipIf(dataDir === undefined).each([
    ['odds/38_thyroid.npz', 3772, 6, 93],
    ['odds/32_shuttle.npz', 49097, 9, 3511],
    ['odds/30_satellite.npz', 6435, 36, 2036],
    ['odds/6_cardio.npz', 1831, 21, 176],
  ] as const)('%s: %d rows of %d numbers, %d anomalies', async (file, rows, columns, anomalies) => {
    const { train } = await readNpz(join(dataDir ?? '', file), new RowStore());
    expect([train.count, ...train.shape]).toEqual([rows, columns]);
    expect(train.labels?.reduce((sum, label) => sum + label, 0)).toBe(anomalies);
  });

  test.skipIf(dataDir === undefined)('scrna/pbmc68k_reduced.npz: its counts and cell types', async () => {
    const { train, description } = await readNpz(join(dataDir ?? '', 'scrna/pbmc68k_reduced.npz'), new RowStore());
    expect([train.count, ...train.shape]).toEqual([700, 765]);
    expect(new Set(train.labels).size).toBe(10);
    expect(description).toBe('array counts with labels labels');
  });
});

let numbered = 0;
function temporaryDirectoryIn(directory: string): string {
  const path = join(directory, `${numbered++}`);
  mkdirSync(path);
  return path;
}
