import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '@elbo/training/data/data-error';
import { readNpy } from '@elbo/training/data/npy';
import { RowStore } from '@elbo/training/data/row-store';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { valuesOf } from '../support/examples.js';
import { encodeNpy, NPY_TYPES, type NpyOptions, type NpyType, npyHeader } from '../support/npy.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

/** Numbers that the type and float32 hold exactly. */
function numbersOf(type: NpyType): fc.Arbitrary<number> {
  const bits = 8 * Number(type[1]);
  if (type === 'b1') return fc.integer({ min: 0, max: 1 });
  if (type === 'f2') return fc.integer({ min: -2048, max: 2048 }).map((n) => n / 16);
  if (type === 'f4') return fc.float({ noNaN: true, noDefaultInfinity: true });
  if (type === 'f8') return fc.float({ noNaN: true, noDefaultInfinity: true });
  const high = Math.min(2 ** (type[0] === 'u' ? bits : bits - 1) - 1, 2 ** 24);
  return fc.oneof(
    fc.integer({ min: type[0] === 'u' ? 0 : -Math.min(2 ** (bits - 1), 2 ** 24), max: high }),
    // Large ones, of which float32 holds the powers of two.
    fc.constant(type === 'i8' ? -(2 ** 62) : type === 'u8' ? 2 ** 63 : high),
  );
}

const arrays: fc.Arbitrary<NpyOptions> = fc
  .record({
    type: fc.constantFrom(...NPY_TYPES),
    shape: fc.oneof(
      fc.tuple(fc.integer({ min: 1, max: 7 }), fc.integer({ min: 1, max: 7 })),
      fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 })),
      fc.tuple(
        fc.integer({ min: 1, max: 4 }),
        fc.constantFrom(1, 3),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 4 }),
      ),
      fc.tuple(
        fc.integer({ min: 1, max: 4 }),
        fc.constantFrom(2, 4, 5),
        fc.integer({ min: 1, max: 4 }),
        fc.constantFrom(1, 3),
      ),
    ),
    bigEndian: fc.boolean(),
    fortranOrder: fc.boolean(),
    version: fc.constantFrom(1, 2, 3),
  })
  .chain(({ type, shape, ...rest }) => {
    const length = shape.reduce((product, dimension) => product * dimension, 1);
    return fc.record({
      type: fc.constant(type),
      shape: fc.constant(shape),
      values: fc.array(numbersOf(type), { minLength: length, maxLength: length }),
      bigEndian: fc.constant(rest.bigEndian),
      fortranOrder: fc.constant(rest.fortranOrder),
      version: fc.constant(rest.version as 1 | 2 | 3),
    });
  });

/** What must come out: the rows' shape, their type and the values in order. */
function expectedRows({ type, shape, values }: NpyOptions) {
  const [, ...item] = shape;
  const isImage = item.length > 1;
  const isByte = isImage && (type === 'u1' || type === 'b1');
  const scale = type === 'b1' ? 255 : 1;
  const numbers = Array.from(values, (value) => (isByte || type === 'b1' ? value * scale : Math.fround(value)));
  const dtype = isByte ? 'uint8' : 'float32';
  if (item.length === 1) return { shape: item, dtype, numbers };
  if (item.length === 2) return { shape: [1, ...item], dtype, numbers };
  const channelsFirst = item[0] === 1 || item[0] === 3;
  if (channelsFirst) return { shape: item, dtype, numbers };
  const [height, width, channels] = item;
  const moved: number[] = [];
  for (let n = 0; n < shape[0]; n++)
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < height * width; i++) moved.push(numbers[(n * height * width + i) * channels + c]);
  return { shape: [channels, height, width], dtype, numbers: moved };
}

const sameNumbers = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  // −0 and 0 are told apart by toEqual, and integers have no −0.
  expect(Array.from(a, (n) => n + 0)).toEqual(Array.from(b, (n) => n + 0));
};

async function complaint(bytes: Uint8Array, directory: string): Promise<string> {
  const path = join(directory, 'array.npy');
  writeFileSync(path, bytes);
  const outcome = await readNpy(path, new RowStore({ cacheDir: join(directory, 'cache') })).catch(
    (error: unknown) => error,
  );
  expect(outcome).toBeInstanceOf(DataError);
  const { message } = outcome as DataError;
  expect(message).toContain('array.npy: ');
  expect(message).not.toContain('\n');
  return message;
}

describe('a valid .npy file', () => {
  test('gives its rows, of every type, order, byte order and version, in memory and beyond its budget', async () => {
    const directory = temporaryDirectory();
    const path = join(directory, 'array.npy');
    let number = 0;
    await fc.assert(
      fc.asyncProperty(arrays, fc.boolean(), async (options, large) => {
        writeFileSync(path, encodeNpy(options));
        const store = new RowStore({ cacheDir: join(directory, `cache-${number++}`), memoryBudget: large ? 0 : 1e6 });
        const rows = await readNpy(path, store);
        const expected = expectedRows(options);
        expect(rows).toMatchObject({ count: options.shape[0], shape: expected.shape, dtype: expected.dtype });
        expect(rows.storage.kind).toBe(large ? 'file' : 'memory');
        sameNumbers(await valuesOf(rows), expected.numbers);
      }),
      { numRuns: 300 },
    );
  });

  test('that is large and lies as rows do is used where it is; another becomes a cache file once', async () => {
    const directory = temporaryDirectory();
    const cacheDir = join(directory, 'cache');
    const store = new RowStore({ cacheDir, memoryBudget: 0 });
    const values = Array.from({ length: 4 * 6 }, (_, i) => i);
    const write = (name: string, options: Omit<NpyOptions, 'values'>) => {
      const path = join(directory, name);
      writeFileSync(path, encodeNpy({ ...options, values }));
      return path;
    };
    const inPlace: [string, Omit<NpyOptions, 'values'>][] = [
      ['floats.npy', { type: 'f4', shape: [4, 6] }],
      ['pixels.npy', { type: 'u1', shape: [4, 2, 3] }],
      ['grey.npy', { type: 'u1', shape: [4, 2, 3, 1] }],
    ];
    for (const [name, options] of inPlace) {
      const path = write(name, options);
      const rows = await readNpy(path, store);
      expect(rows.storage).toMatchObject({ kind: 'file', path, offset: 128 });
      sameNumbers(await valuesOf(rows), values);
    }
    expect(existsSync(cacheDir)).toBe(false);
    const path = write('doubles.npy', { type: 'f8', shape: [4, 6], fortranOrder: true });
    for (let i = 0; i < 2; i++) {
      const rows = await readNpy(path, store);
      expect(rows.storage.kind === 'file' && rows.storage.path.startsWith(cacheDir)).toBe(true);
      sameNumbers(await valuesOf(rows), values);
      expect(readdirSync(cacheDir)).toHaveLength(1);
    }
  });

  test('many tiles of a column-major array come out in order', async () => {
    const directory = temporaryDirectory();
    const path = join(directory, 'tall.npy');
    // 9000 x 1000 float32 numbers are more than a tile of 32 MiB.
    const shape = [9000, 1000];
    const header = npyHeader(`{'descr': '<u2', 'fortran_order': True, 'shape': (9000, 1000), }`);
    const data = new Uint16Array(9_000_000);
    for (let column = 0; column < 1000; column++)
      for (let row = 0; row < 9000; row++) data[column * 9000 + row] = (row * 31 + column) % 65_536;
    writeFileSync(path, Buffer.concat([header, new Uint8Array(data.buffer)]));
    const rows = await readNpy(path, new RowStore({ cacheDir: join(directory, 'cache'), memoryBudget: 0 }));
    expect([rows.count, ...rows.shape]).toEqual(shape);
    const values = await valuesOf(rows);
    let wrong = 0;
    for (let row = 0; row < 9000; row++)
      for (let column = 0; column < 1000; column++)
        if (values[row * 1000 + column] !== (row * 31 + column) % 65_536) wrong++;
    expect(wrong).toBe(0);
  });
});

describe('a damaged .npy file gives a DataError', () => {
  test('cut off anywhere, or with anything after its end', async () => {
    const directory = temporaryDirectory();
    await fc.assert(
      fc.asyncProperty(
        arrays,
        fc.nat(),
        fc.uint8Array({ minLength: 1, maxLength: 40 }),
        async (options, cut, extra) => {
          const bytes = encodeNpy(options);
          await complaint(bytes.subarray(0, cut % bytes.length), directory);
          await complaint(Buffer.concat([bytes, extra]), directory);
        },
      ),
    );
  });

  test('or rows as large as their shape, with any byte changed', async () => {
    const directory = temporaryDirectory();
    const path = join(directory, 'array.npy');
    const store = new RowStore({ cacheDir: join(directory, 'cache') });
    await fc.assert(
      fc.asyncProperty(arrays, fc.nat(), fc.integer({ min: 1, max: 255 }), async (options, at, change) => {
        const bytes = encodeNpy(options);
        const position = at % bytes.length;
        bytes.writeUInt8(bytes.readUInt8(position) ^ change, position);
        writeFileSync(path, bytes);
        const result = await readNpy(path, store).catch((error: unknown) => error);
        if (result instanceof DataError) return;
        const rows = result as Awaited<ReturnType<typeof readNpy>>;
        expect((await valuesOf(rows)).length).toBe(
          rows.shape.reduce((product, dimension) => product * dimension, rows.count),
        );
      }),
      { numRuns: 300 },
    );
  });

  const withHeader = (dictionary: string, bytes = 24) => Buffer.concat([npyHeader(dictionary), Buffer.alloc(bytes)]);
  const shaped = (shape: string) => withHeader(`{'descr': '<f4', 'fortran_order': False, 'shape': ${shape}, }`);
  const typed = (descr: string) => withHeader(`{'descr': ${descr}, 'fortran_order': False, 'shape': (2, 3), }`);
  const floats = (...values: number[]) => encodeNpy({ type: 'f8', shape: [2, 2], values });
  const cases: [string, Uint8Array, RegExp][] = [
    ['an empty file', Buffer.alloc(0), /the file is empty; expected a .npy file/],
    ['a PNG', Buffer.from('89504e470d0a1a0a0000', 'hex'), /begins with 0x89504e470d0a; expected 0x934e554d5059/],
    [
      'version 9',
      Buffer.from('\x93NUMPY\x09\x00\x10\x00', 'latin1'),
      /format version is 9\.0; expected 1\.0, 2\.0 or 3\.0/,
    ],
    [
      'a header of 4 GiB',
      Buffer.from('\x93NUMPY\x02\x00\xff\xff\xff\xff', 'latin1'),
      /the header is 4294967295 bytes long/,
    ],
    ['a header cut off', npyHeader('{}').subarray(0, 20), /the header is cut off after 20 bytes/],
    ['no dictionary', withHeader('import os'), /the header is "import os"; expected \{'descr'/],
    ['an entry missing', withHeader(`{'descr': '<f4', 'shape': (2, 3)}`), /expected \{'descr'/],
    [
      'an entry twice',
      withHeader(`{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}`),
      /expected \{'descr'/,
    ],
    ['Python objects', typed(`'|O'`), /the type is "\|O" \(Python objects, which are never unpickled\)/],
    ['complex numbers', typed(`'<c8'`), /the type is "<c8"; expected bool, int8/],
    ['text', typed(`'<U10'`), /the type is "<U10"; expected bool/],
    ['records', typed(`[('a', '<f4'), ('b', '<i4')]`), /the type is a record of fields/],
    ['a negative dimension', shaped('(2, -3)'), /the shape is \(2, -3\); expected up to 32 whole numbers/],
    ['an empty dimension', shaped('(0, 3)'), /dimension 0 is 0; expected at least 1/],
    [
      'no dimension',
      encodeNpy({ type: 'f4', shape: [], values: [1] }),
      /dimensions are none; expected examples x features/,
    ],
    ['one dimension', shaped('(6,)'), /dimensions are 6; expected examples x features/],
    ['five dimensions', shaped('(1, 1, 1, 2, 3)'), /dimensions are 1 x 1 x 1 x 2 x 3; expected examples/],
    ['two channels', shaped('(1, 2, 3, 1, 1)'), /expected examples/],
    [
      'channels of no kind',
      encodeNpy({ type: 'u1', shape: [1, 2, 2, 2], values: new Array(8).fill(0) }),
      /with 1 or 3 channels/,
    ],
    ['dimensions that overflow', shaped('(4294967296, 4294967296)'), /expected a product below 2\^53/],
    [
      'a lying shape',
      shaped('(1000000, 1000000)'),
      /there are 24 bytes of values; expected 4000000000000 \(1000000 x 1000000 x float32\)/,
    ],
    [
      'NaN in an image',
      encodeNpy({ type: 'f4', shape: [2, 1, 2], values: [0, 1, Number.NaN, 1] }),
      /the value of row 1, feature 0 \(from 0\) is NaN; expected finite numbers/,
    ],
    ['infinity', floats(1, Number.NEGATIVE_INFINITY, 3, 4), /row 0, feature 1 \(from 0\) is -infinity/],
    ['a number beyond float32', floats(1, 2, 3, 1e300), /row 1, feature 1 \(from 0\) is infinity, or beyond float32/],
  ];
  test.each(cases)('%s', async (_, bytes, expected) => {
    expect(await complaint(bytes, temporaryDirectory())).toMatch(expected);
  });

  test('a large file leaves nothing in the cache where it is refused', async () => {
    const directory = temporaryDirectory();
    const path = join(directory, 'array.npy');
    writeFileSync(path, floats(1, 2, 3, Number.POSITIVE_INFINITY));
    const store = new RowStore({ cacheDir: join(directory, 'cache'), memoryBudget: 0 });
    await expect(readNpy(path, store)).rejects.toThrow(DataError);
    expect(readdirSync(store.directory)).toEqual([]);
  });
});
