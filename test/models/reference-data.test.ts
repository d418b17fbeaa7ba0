import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  addReference,
  decodeCodes,
  decodeUint16,
  encodeCalibration,
  encodeCodes,
  encodeMap,
  encodeUint16,
  type ManifestDraft,
  parseManifest,
  type Reference,
  readManifest,
  readModel,
  writeModel,
} from '@elbo/models';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { draft } from './support/manifest-draft.js';

const COUNT = 3;

const reference: Reference = {
  count: COUNT,
  codes: { file: 'reference-codes.u8', minimum: [-1, 0], maximum: [1, 0] },
  map: { file: 'reference-map.u16' },
  principal_components: {
    mean: [0, 0],
    axes: [
      [1, 0],
      [0, 1],
    ],
    explained: [1, 0],
  },
  labels: { file: 'reference-labels.u16', names: ['cat', 'dog'] },
  items: { kind: 'sprites', file: 'reference-items.webp', columns: 2 },
};

const picture = await sharp({ create: { width: 4, height: 4, channels: 3, background: '#fff' } })
  .webp()
  .toBuffer();

function referenceContents(): Map<string, Uint8Array> {
  return new Map<string, Uint8Array>([
    ['reference-codes.u8', Uint8Array.of(0, 0, 128, 0, 255, 0)],
    ['reference-map.u16', encodeUint16(new Uint16Array(2 * COUNT))],
    ['reference-labels.u16', encodeUint16(Uint16Array.of(0, 1, 1))],
    ['reference-items.webp', picture],
  ]);
}

const graphs = () =>
  new Map<string, Uint8Array>([
    ['encoder.onnx', Buffer.from('the encoder')],
    ['decoder.onnx', Buffer.from('the decoder')],
    ['scorer.onnx', Buffer.from('the scorer')],
    ['calibration.f32', encodeCalibration(Float32Array.of(1, 2, 3))],
  ]);

const allFiles = () => new Map([...graphs(), ...referenceContents()]);

const TABLE: ManifestDraft['input'] = { kind: 'vector', shape: [2], value_range: [-1, 1] };

describe('reference data of a version', () => {
  test('come back as they were written', async () => {
    const { directory } = await writeModel(temporaryDirectory(), draft({ reference }), allFiles());
    const { manifest, files } = await readModel(directory);
    expect(manifest.reference).toEqual(reference);
    for (const [file, content] of referenceContents()) {
      expect(Buffer.from(files.get(file) ?? []).equals(content), file).toBe(true);
    }
  });

  test('are not needed', async () => {
    const { directory } = await writeModel(temporaryDirectory(), draft(), graphs());
    expect((await readModel(directory)).manifest).not.toHaveProperty('reference');
  });

  test.each<[string, Partial<Reference>, RegExp]>([
    ['no example', { count: 0 }, /reference.count must be >= 1/],
    ['more than 20,000', { count: 20_001 }, /reference.count must be <= 20000/],
    [
      'another number than the files hold',
      { count: 4 },
      /reference-codes.u8 has 6 bytes; expected 8 of reference.count/,
    ],
    [
      'bounds of another number of dimensions',
      { codes: { ...reference.codes, minimum: [0] } },
      /reference.codes.minimum has 1 numbers; expected latent.size = 2/,
    ],
    [
      'bounds the wrong way round',
      { codes: { ...reference.codes, maximum: [-2, 0] } },
      /reference.codes.minimum.0 is above the maximum/,
    ],
    [
      'an axis of another number of dimensions',
      { principal_components: { ...reference.principal_components, axes: [[1, 0], [1]] } },
      /reference.principal_components.axes.1 has 1 numbers/,
    ],
    [
      'more than the whole variance',
      { principal_components: { ...reference.principal_components, explained: [1.5, 0] } },
      /reference.principal_components.explained.0 must be <= 1/,
    ],
    [
      'a name of two classes',
      { labels: { file: 'reference-labels.u16', names: ['cat', 'cat'] } },
      /reference.labels.names has a name twice/,
    ],
    [
      'tiles without a size',
      { items: { kind: 'sprites', file: 'reference-items.webp', columns: 2, tile: [0, 2] } },
      /manifest: reference.items/,
    ],
    ['a file elsewhere', { map: { file: '../../etc/passwd' as 'reference-map.u16' } }, /manifest: reference.map.file/],
  ])('with %s are refused by name', async (_name, change, message) => {
    const changed = draft({ reference: { ...reference, ...change } });
    await expect(writeModel(temporaryDirectory(), changed, allFiles())).rejects.toThrow(message);
  });

  test.each(['reference-codes.u8', 'reference-map.u16', 'reference-labels.u16', 'reference-items.webp'])(
    'need %s among the files, and are needed for it to be there',
    async (file) => {
      const without = allFiles();
      without.delete(file);
      await expect(writeModel(temporaryDirectory(), draft({ reference }), without)).rejects.toThrow(
        `files must list ${file}`,
      );
      const alone = graphs().set(file, Buffer.from('x'));
      await expect(writeModel(temporaryDirectory(), draft(), alone)).rejects.toThrow(`files lists ${file}`);
    },
  );

  test.each(['reference-map.u16', 'reference-labels.u16'])('of another size in %s are refused', async (file) => {
    const short = allFiles().set(file, Buffer.alloc(2));
    await expect(writeModel(temporaryDirectory(), draft({ reference }), short)).rejects.toThrow(
      new RegExp(`files says that ${file} has 2 bytes; expected`),
    );
  });

  test('with a class that has no name, or a picture that is none, are refused', async () => {
    const write = async (file: string, content: Uint8Array) =>
      readModel(
        (await writeModel(temporaryDirectory(), draft({ reference }), allFiles().set(file, content))).directory,
      );
    await expect(write('reference-labels.u16', encodeUint16(Uint16Array.of(0, 2, 1)))).rejects.toThrow(
      /reference-labels.u16: entry 1 is 2; expected below 2/,
    );
    await expect(write('reference-items.webp', Buffer.from('no picture at all'))).rejects.toThrow(
      /reference-items.webp: it is no such picture/,
    );
  });

  test.each([
    ['lossy', { quality: 80 }],
    ['lossless', { lossless: true }],
  ])('with a %s picture of another size than its tiles take are refused', async (_, options) => {
    const read = async (
      width: number,
      height: number,
      background: string | { r: number; g: number; b: number; alpha: number },
    ) => {
      const channels = typeof background === 'string' ? 3 : 4;
      const sheet = await sharp({ create: { width, height, channels, background } }).webp(options).toBuffer();
      const files = allFiles().set('reference-items.webp', sheet);
      return readModel((await writeModel(temporaryDirectory(), draft({ reference }), files)).directory);
    };
    const clear = { r: 9, g: 9, b: 9, alpha: 0.5 };
    for (const background of ['#fff', clear]) {
      await read(4, 4, background);
      await expect(read(1234, 4, background)).rejects.toThrow(
        'reference-items.webp: it has 1234 x 4 pixels; expected 4 x 4, 3 tiles of 2 x 2 in 2 columns',
      );
      await expect(read(4, 2, background)).rejects.toThrow(/4 x 2 pixels; expected 4 x 4/);
    }
  });

  test('of a table are its rows, with missing values but no infinite ones', async () => {
    const rows = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
    const ofTable = { ...reference, items: { kind: 'rows' as const, file: 'reference-items.f32' as const } };
    const write = async (content: Uint8Array, changes: Partial<ManifestDraft> = {}) => {
      const files = allFiles().set('reference-items.f32', content);
      files.delete('reference-items.webp');
      const { directory } = await writeModel(
        temporaryDirectory(),
        draft({ input: TABLE, reference: ofTable, ...changes }),
        files,
      );
      return readModel(directory);
    };
    const { files } = await write(rows(1, Number.NaN, 2, 3, 4, 5));
    expect(Buffer.from(files.get('reference-items.f32') ?? []).readFloatLE(4)).toBeNaN();
    await expect(write(rows(1, 2, 3, Number.POSITIVE_INFINITY, 5, 6))).rejects.toThrow(/entry 3 is infinite/);
    await expect(write(rows(1, 2, 3, 4))).rejects.toThrow(/reference-items.f32 has 16 bytes; expected 24/);
    await expect(write(new Uint8Array(COUNT * 65 * 4), { input: { ...TABLE, shape: [65] } })).rejects.toThrow(
      /rows of 65 columns; expected at most 64/,
    );
    await expect(writeModel(temporaryDirectory(), draft({ input: TABLE, reference }), allFiles())).rejects.toThrow(
      /expected sprites for images and rows for tables/,
    );
    const asImage = allFiles().set('reference-items.f32', rows(1, 2, 3, 4, 5, 6));
    asImage.delete('reference-items.webp');
    await expect(writeModel(temporaryDirectory(), draft({ reference: ofTable }), asImage)).rejects.toThrow(
      /reference.items.kind is rows; expected sprites for images/,
    );
  });

  test('one flipped bit in any of the files is refused, and the file named', async () => {
    const { directory } = await writeModel(temporaryDirectory(), draft({ reference }), allFiles());
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...referenceContents().keys()),
        fc.nat(),
        fc.integer({ min: 0, max: 7 }),
        async (file, at, bit) => {
          const path = join(directory, file);
          const whole = readFileSync(path);
          const altered = Buffer.from(whole);
          altered[at % altered.length] ^= 1 << bit;
          writeFileSync(path, altered);
          await expect(readModel(directory)).rejects.toThrow(`${path}: SHA-256 is`);
          writeFileSync(path, whole);
        },
      ),
      { numRuns: 30 },
    );
    await expect(readModel(directory)).resolves.toBeDefined();
  });

  test('can be added to a version without, whose other files and fields stay as they are', async () => {
    const { directory, manifest } = await writeModel(temporaryDirectory(), draft(), graphs());
    const before = new Map(readdirSync(directory).map((file) => [file, readFileSync(join(directory, file))]));
    await addReference(directory, reference, referenceContents(), { reference_points: COUNT });
    const { manifest: after } = await readModel(directory);
    expect(after).toEqual({
      ...manifest,
      reference,
      files: {
        ...manifest.files,
        ...Object.fromEntries([...referenceContents().keys()].map((f) => [f, after.files[f]])),
      },
      training: { ...manifest.training, configuration: { seed: 1, reference_points: COUNT } },
    });
    for (const [file, content] of before) {
      if (file !== 'manifest.json') expect(readFileSync(join(directory, file)).equals(content), file).toBe(true);
    }
    expect(readdirSync(directory).sort()).toEqual([...before.keys(), ...referenceContents().keys()].sort());
    await expect(addReference(directory, reference, referenceContents())).rejects.toThrow(/it has reference data/);
  });

  test('that contradict the version are not added, and nothing is written', async () => {
    const { directory, manifest } = await writeModel(temporaryDirectory(), draft(), graphs());
    const before = readdirSync(directory);
    const wrong = referenceContents().set('reference-codes.u8', Buffer.alloc(5));
    await expect(addReference(directory, reference, wrong)).rejects.toThrow(/has 5 bytes; expected 6/);
    const unnamed = referenceContents().set('reference-labels.u16', encodeUint16(Uint16Array.of(0, 1, 9)));
    await expect(addReference(directory, reference, unnamed)).rejects.toThrow(/entry 2 is 9/);
    expect(readdirSync(directory)).toEqual(before);
    expect(await readManifest(directory)).toEqual(manifest);
    expect(parseManifest(manifest)).toEqual(manifest);
  });
});

describe('codes as bytes', () => {
  test('are off by half a step of their dimension at the most', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.float({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 5, maxLength: 60 }),
        (size, numbers) => {
          const codes = Float32Array.from(numbers.slice(0, numbers.length - (numbers.length % size)));
          const { bytes, minimum, maximum } = encodeCodes(codes, size);
          const decoded = decodeCodes(bytes, { minimum, maximum });
          expect(decoded).toHaveLength(codes.length);
          for (const [i, code] of codes.entries()) {
            const [low = 0, high = 0] = [minimum[i % size], maximum[i % size]];
            // A float32 is as near as it can be to the number that the formula gives.
            const rounding = 2 ** -23 * Math.max(Math.abs(low), Math.abs(high));
            expect(Math.abs((decoded[i] ?? Number.NaN) - code)).toBeLessThanOrEqual((high - low) / 510 + rounding);
          }
        },
      ),
    );
  });

  test('that are all the same come back as they were', () => {
    const { bytes, minimum, maximum } = encodeCodes(Float32Array.of(0.3, 0.3, 0.3), 1);
    expect(decodeCodes(bytes, { minimum, maximum })).toEqual(Float32Array.of(0.3, 0.3, 0.3));
  });
});

describe('the map', () => {
  test('fills its longer side, has the shorter one in the middle, and keeps distances in proportion', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.double({ min: -50, max: 50, noNaN: true }), fc.double({ min: -5, max: 5, noNaN: true })), {
          minLength: 2,
          maxLength: 40,
        }),
        (points) => {
          const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
          const longest = Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys));
          fc.pre(longest > 1e-6);
          const map = decodeUint16(Buffer.from(encodeMap(Float64Array.from(points.flat()))));
          const values = Array.from(map);
          expect(Math.max(...values)).toBe(65_535);
          expect(Math.min(...values)).toBe(0);
          const scale = 65_535 / longest;
          for (const axis of [0, 1]) {
            const own = values.filter((_, i) => i % 2 === axis);
            expect(Math.abs(Math.min(...own) + Math.max(...own) - 65_535)).toBeLessThanOrEqual(1);
            const original = axis === 0 ? xs : ys;
            for (const [i, value] of own.entries()) {
              const expected = scale * ((original[i] ?? Number.NaN) - (original[0] ?? Number.NaN));
              expect(Math.abs(value - (own[0] ?? Number.NaN) - expected)).toBeLessThanOrEqual(1.001);
            }
          }
        },
      ),
    );
  });

  test('of points that are all the same is its middle', () => {
    expect(decodeUint16(Buffer.from(encodeMap(Float64Array.of(7, -3, 7, -3))))).toEqual(
      Uint16Array.of(32_768, 32_768, 32_768, 32_768),
    );
  });
});
