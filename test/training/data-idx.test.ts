import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { DataError } from '@elbo/training/data/data-error';
import { type IdxArray, readIdx, readIdxExamples } from '@elbo/training/data/idx';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesOf } from '../support/examples.js';
import { encodeIdx } from '../support/idx.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const array: fc.Arbitrary<{ shape: number[]; values: Uint8Array }> = fc
  .array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 })
  .chain((shape) => {
    const length = shape.reduce((product, dimension) => product * dimension, 1);
    return fc.record({ shape: fc.constant(shape), values: fc.uint8Array({ minLength: length, maxLength: length }) });
  });

async function read(bytes: Uint8Array, directory: string): Promise<IdxArray> {
  const path = join(directory, 'values-idx-ubyte');
  writeFileSync(path, bytes);
  return readIdx(path);
}

/** The message of the DataError that reading ends with; anything else fails the test. */
async function complaint(bytes: Uint8Array, directory: string): Promise<string> {
  const outcome = await read(bytes, directory).catch((error: unknown) => error);
  expect(outcome).toBeInstanceOf(DataError);
  const { message } = outcome as DataError;
  expect(message).toContain('values-idx-ubyte: ');
  expect(message).not.toContain('\n');
  return message;
}

describe('a valid IDX file', () => {
  test('reads back exactly, gzip-compressed or not, whatever its name', async () => {
    const directory = temporaryDirectory();
    await fc.assert(
      fc.asyncProperty(array, fc.boolean(), async ({ shape, values }, compressed) => {
        const bytes = encodeIdx(shape, values);
        const result = await read(compressed ? gzipSync(bytes) : bytes, directory);
        expect(result.shape).toEqual(shape);
        expect(result.values).toEqual(values);
      }),
    );
  });

  test('reads back exactly when it spans many chunks', async () => {
    const values = Uint8Array.from({ length: 3_000_001 }, (_, i) => (i * 7919) % 251);
    const directory = temporaryDirectory();
    for (const bytes of [encodeIdx([3_000_001], values), gzipSync(encodeIdx([3_000_001], values))]) {
      expect(Buffer.compare((await read(bytes, directory)).values, values)).toBe(0);
    }
  });
});

describe('a damaged IDX file gives a DataError', () => {
  test('cut off anywhere', async () => {
    const directory = temporaryDirectory();
    await fc.assert(
      fc.asyncProperty(array, fc.boolean(), fc.nat(), async ({ shape, values }, compressed, cut) => {
        const plain = encodeIdx(shape, values);
        const bytes = compressed ? gzipSync(plain) : plain;
        await complaint(bytes.subarray(0, cut % bytes.length), directory);
      }),
    );
  });

  test('with any byte of its header changed', async () => {
    const directory = temporaryDirectory();
    await fc.assert(
      fc.asyncProperty(
        array,
        fc.boolean(),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        async ({ shape, values }, compressed, at, change) => {
          const bytes = encodeIdx(shape, values);
          const position = at % (4 + 4 * shape.length);
          bytes.writeUInt8(bytes.readUInt8(position) ^ change, position);
          await complaint(compressed ? gzipSync(bytes) : bytes, directory);
        },
      ),
    );
  });

  test('with anything after its end', async () => {
    const directory = temporaryDirectory();
    const extra = fc.uint8Array({ minLength: 1, maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(array, extra, async ({ shape, values }, garbage) => {
        const bytes = encodeIdx(shape, values);
        await complaint(Buffer.concat([bytes, garbage]), directory);
        await complaint(gzipSync(Buffer.concat([bytes, garbage])), directory);
        await complaint(Buffer.concat([gzipSync(bytes), garbage]), directory);
      }),
    );
  });

  test('or is read as it was written, with any byte of its gzip stream changed', async () => {
    const directory = temporaryDirectory();
    await fc.assert(
      fc.asyncProperty(array, fc.nat(), fc.integer({ min: 1, max: 255 }), async ({ shape, values }, at, change) => {
        const bytes = gzipSync(encodeIdx(shape, values));
        const position = at % bytes.length;
        bytes.writeUInt8(bytes.readUInt8(position) ^ change, position);
        const result = await read(bytes, directory).catch((error: unknown) => error);
        if (result instanceof DataError) return;
        expect(result).toEqual({ shape, values });
      }),
    );
  });

  test('or an array as large as its shape, for any bytes at all', async () => {
    const directory = temporaryDirectory();
    const start = fc.constantFrom([], [0, 0], [0, 0, 8], [0, 0, 8, 1, 0, 0, 0], [0x1f, 0x8b], [0x1f, 0x8b, 8, 0]);
    await fc.assert(
      fc.asyncProperty(start, fc.uint8Array({ maxLength: 60 }), async (prefix, rest) => {
        const result = await read(Buffer.from([...prefix, ...rest]), directory).catch((error: unknown) => error);
        if (result instanceof DataError) return;
        const { shape, values } = result as IdxArray;
        expect(values.length).toBe(shape.reduce((product, dimension) => product * dimension, 1));
      }),
    );
  });
});

describe('the error names what was found and what was expected', () => {
  const valid = encodeIdx([2, 3], Uint8Array.of(1, 2, 3, 4, 5, 6));
  const changed = (position: number, byte: number) => {
    const bytes = Buffer.from(valid);
    bytes.writeUInt8(byte, position);
    return bytes;
  };
  const cases: [string, Uint8Array, RegExp][] = [
    ['an empty file', Buffer.alloc(0), /the file is empty; expected an IDX file/],
    ['a PNG', Buffer.from('89504e470d0a1a0a', 'hex'), /magic number starts with 0x8950; expected 0x0000/],
    ['a type that is not uint8', changed(2, 0x0d), /type code is 0x0d \(float32\); expected 0x08 \(uint8\)/],
    ['a type that does not exist', changed(2, 0x33), /type code is 0x33 \(unknown\); expected 0x08 \(uint8\)/],
    ['no dimensions', changed(3, 0), /number of dimensions is 0; expected 1 to 4/],
    ['too many dimensions', changed(3, 200), /number of dimensions is 200; expected 1 to 4/],
    ['a header cut off', valid.subarray(0, 9), /header is cut off after 9 bytes/],
    ['an empty dimension', encodeIdx([3, 0], new Uint8Array(0)), /dimension 1 is 0; expected at least 1/],
    [
      'dimensions that overflow',
      encodeIdx([4294967295, 4294967295], Uint8Array.of(1)),
      /dimensions are 4294967295 x 4294967295; expected a product below 2\^53/,
    ],
    ['too few values', valid.subarray(0, -1), /there are 5 bytes of values; expected 6 \(2 x 3\)/],
    ['too many values', Buffer.concat([valid, valid]), /there are 24 bytes of values; expected 6 \(2 x 3\)/],
    ['too few compressed values', gzipSync(valid.subarray(0, -1)), /there are 5 bytes of values; expected 6 \(2 x 3\)/],
    ['a gzip stream cut off', gzipSync(valid).subarray(0, -3), /gzip stream is cut off/],
    [
      'a gzip stream with a wrong checksum',
      Buffer.concat([gzipSync(valid).subarray(0, -8), Buffer.alloc(8)]),
      /gzip stream is corrupt/,
    ],
    [
      'garbage after the gzip stream',
      Buffer.concat([gzipSync(valid), Buffer.alloc(5)]),
      /5 bytes follow the gzip stream/,
    ],
    [
      'a header that promises more than any compression could hold',
      gzipSync(encodeIdx([2147483648], Uint8Array.of(1))),
      /dimensions are 2147483648, 2147483648 bytes, more than \d+ compressed bytes can hold/,
    ],
    [
      'a gzip bomb',
      gzipSync(encodeIdx([10, 28, 28], new Uint8Array(1 << 27))),
      /more bytes than the header says; expected 7840 \(10 x 28 x 28\)/,
    ],
  ];
  test.each(cases)('%s', async (_, bytes, expected) => {
    expect(await complaint(bytes, temporaryDirectory())).toMatch(expected);
  });

  test('a file that is not there, a directory, a pipe without a writer', async () => {
    const directory = temporaryDirectory();
    await expect(readIdx(join(directory, 'absent'))).rejects.toThrow(DataError);
    await expect(readIdx(directory)).rejects.toThrow(/not a regular file/);
    if (process.platform === 'win32') return;
    execFileSync('mkfifo', [join(directory, 'pipe')]);
    await expect(readIdx(join(directory, 'pipe'))).rejects.toThrow(/not a regular file/);
  });
});

describe('images and their labels', () => {
  const pair = (images: Buffer, labels: Buffer) => {
    const directory = temporaryDirectory();
    const paths = [join(directory, 'images'), join(directory, 'labels')] as const;
    writeFileSync(paths[0], images);
    writeFileSync(paths[1], labels);
    return readIdxExamples(...paths, { height: 2, width: 3 });
  };
  const pixels = Uint8Array.from({ length: 12 }, (_, i) => i * 20);

  test('become examples; a label may be any byte', async () => {
    const examples = await pair(encodeIdx([2, 2, 3], pixels), encodeIdx([2], Uint8Array.of(0, 255)));
    expect(examples).toMatchObject({ count: 2, shape: [1, 2, 3], dtype: 'uint8', labels: Uint8Array.of(0, 255) });
    expect(await bytesOf(examples)).toEqual(pixels);
  });

  test('must be equally many', async () => {
    const read = pair(encodeIdx([2, 2, 3], pixels), encodeIdx([3], Uint8Array.of(1, 2, 3)));
    await expect(read).rejects.toThrow(/labels: dimensions are 3; expected 2, a label for each image of .*images/);
  });

  test('must have the expected dimensions', async () => {
    await expect(pair(encodeIdx([2, 3, 2], pixels), encodeIdx([2], Uint8Array.of(1, 2)))).rejects.toThrow(
      /images: dimensions are 2 x 3 x 2; expected count x 2 x 3/,
    );
    await expect(pair(encodeIdx([12], pixels), encodeIdx([12], pixels))).rejects.toThrow(/expected count x 2 x 3/);
    await expect(pair(encodeIdx([2, 2, 3], pixels), encodeIdx([2, 1], Uint8Array.of(1, 2)))).rejects.toThrow(
      /labels: dimensions are 2 x 1; expected 2,/,
    );
  });
});
