import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DataError } from '@elbo/training/data/data-error';
import { loadDataset } from '@elbo/training/data/datasets';
import { type ImageForm, readImageFolder } from '@elbo/training/data/image-folder';
import { RowStore } from '@elbo/training/data/row-store';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { valuesOf } from '../support/examples.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

/** Pixels that differ from image to image, [height, width, channels]. */
const pixels = (height: number, width: number, channels: number, seed: number) =>
  Uint8Array.from({ length: height * width * channels }, (_, i) => (i * 37 + seed * 101) % 256);

const encode = (data: Uint8Array, height: number, width: number, channels: 1 | 3 | 4, format: 'png' | 'webp' = 'png') =>
  sharp(data, { raw: { width, height, channels } })
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .toFormat(format, { lossless: true })
    .toBuffer();

function put(folder: string, path: string, content: Uint8Array | string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), content);
}

const read = (folder: string, form: ImageForm = {}, memoryBudget = 1e6) =>
  readImageFolder(folder, form, new RowStore({ cacheDir: `${folder}-cache`, memoryBudget }));

async function complaint(folder: string, form?: ImageForm): Promise<string> {
  const outcome = await read(folder, form).catch((error: unknown) => error);
  expect(outcome).toBeInstanceOf(DataError);
  const { message } = outcome as DataError;
  expect(message).not.toContain('\n');
  return message;
}

const planes = (data: Uint8Array, channels: number) =>
  Array.from({ length: channels }, (_, c) => data.filter((__, i) => i % channels === c)).flatMap((plane) =>
    Array.from(plane),
  );

describe('a folder of images', () => {
  test('of one size keeps every pixel, channels first, in the order of the paths, in memory and beyond its budget', async () => {
    const sizes = fc.record({
      height: fc.integer({ min: 1, max: 9 }),
      width: fc.integer({ min: 1, max: 9 }),
      channels: fc.constantFrom(1 as const, 3 as const),
      format: fc.constantFrom('png' as const, 'webp' as const),
      names: fc.uniqueArray(fc.constantFrom('a.x', 'b/1.x', 'b/c/2.x', 'b-1.x', 'Z.x', 'é.x', '10.x', '9.x'), {
        minLength: 1,
      }),
      large: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(sizes, async ({ height, width, channels, format, names, large }) => {
        // WebP has no grey.
        if (format === 'webp' && channels === 1) return;
        const folder = temporaryDirectory();
        const files = names.map((name, i) => ({
          path: name.replace('.x', `.${format}`),
          data: pixels(height, width, channels, i),
        }));
        for (const { path, data } of files) put(folder, path, await encode(data, height, width, channels, format));
        files.sort((a, b) => (a.path < b.path ? -1 : 1));
        for (let again = 0; again < 2; again++) {
          const rows = await read(folder, {}, large ? 0 : 1e6);
          expect(rows).toMatchObject({ count: files.length, shape: [channels, height, width], dtype: 'uint8' });
          expect(rows.paths).toEqual(files.map(({ path }) => path));
          expect(rows.storage.kind).toBe(large ? 'file' : 'memory');
          expect(Array.from(await valuesOf(rows))).toEqual(files.flatMap(({ data }) => planes(data, channels)));
        }
      }),
      { numRuns: 40 },
    );
  });

  test('of several sizes are fitted into 64 x 64, or into what is asked for', async () => {
    const folder = temporaryDirectory();
    put(folder, 'a.png', await encode(new Uint8Array(20 * 10).fill(200), 20, 10, 1));
    put(folder, 'b.png', await encode(new Uint8Array(20 * 20).fill(100), 20, 20, 1));
    expect((await read(folder)).shape).toEqual([1, 64, 64]);
    const rows = await read(folder, { height: 8, width: 8 });
    expect(rows.shape).toEqual([1, 8, 8]);
    const [narrow, square] = [0, 64].map((start) => valuesOf(rows).then((values) => values.slice(start, start + 64)));
    // The narrow one has black at both sides.
    expect(Array.from((await narrow).subarray(24, 32))).toEqual([0, 0, 200, 200, 200, 200, 0, 0]);
    expect(new Set(await square)).toEqual(new Set([100]));
  });

  test('are grey where all are, else RGB, or as asked for; transparent pixels become black', async () => {
    const folder = temporaryDirectory();
    put(folder, '1.png', await encode(pixels(3, 3, 1, 1), 3, 3, 1));
    expect((await read(folder)).shape).toEqual([1, 3, 3]);
    put(
      folder,
      '2.png',
      await encode(
        Uint8Array.from({ length: 36 }, (_, i) => (i % 4 === 3 ? 0 : 255)),
        3,
        3,
        4,
      ),
    );
    const rows = await read(folder);
    expect(rows.shape).toEqual([3, 3, 3]);
    const values = await valuesOf(rows);
    expect(Array.from(values.subarray(0, 27))).toEqual([1, 1, 1].flatMap(() => Array.from(pixels(3, 3, 1, 1))));
    expect(new Set(values.subarray(27))).toEqual(new Set([0]));
    expect((await read(folder, { colour: 'grey' })).shape).toEqual([1, 3, 3]);
  });

  test('JPEGs are turned as their EXIF tag says', async () => {
    const folder = temporaryDirectory();
    const data = Uint8Array.from({ length: 8 * 16 }, (_, i) => (i % 16 < 8 ? 0 : 255));
    const turned = await sharp(data, { raw: { width: 16, height: 8, channels: 1 } })
      .withMetadata({ orientation: 6 })
      .jpeg({ quality: 100 })
      .toBuffer();
    put(folder, 'photo.JPG', turned);
    const rows = await read(folder);
    expect(rows.shape.slice(1)).toEqual([16, 8]);
    const values = await valuesOf(rows);
    expect(values[0]).toBeLessThan(10);
    expect(values[values.length - 1]).toBeGreaterThan(245);
  });

  test('other files, hidden ones and loops of links are passed over', async () => {
    const folder = temporaryDirectory();
    put(folder, 'deep/er/1.png', await encode(pixels(2, 2, 1, 1), 2, 2, 1));
    put(folder, 'deep/notes.txt', 'hello');
    put(folder, '.hidden/2.png', 'no image');
    put(folder, '.3.png', 'no image');
    symlinkSync('..', join(folder, 'deep/er/up'));
    symlinkSync(folder, join(folder, 'again'));
    symlinkSync('nowhere', join(folder, 'dangling'));
    const elsewhere = temporaryDirectory();
    put(elsewhere, '4.png', await encode(pixels(2, 2, 1, 4), 2, 2, 1));
    symlinkSync(elsewhere, join(folder, 'link'));
    symlinkSync(elsewhere, join(folder, 'second-link'));
    symlinkSync('deep', join(folder, 'a-link-to-deep'));
    expect((await read(folder)).paths).toEqual(['deep/er/1.png', 'link/4.png']);
  });

  test('are decoded once: a folder that stays as it is comes from the cache, one that changes does not', async () => {
    const folder = temporaryDirectory();
    put(folder, 'a.png', await encode(pixels(3, 3, 1, 1), 3, 3, 1));
    const first = await read(folder, {}, 0);
    const cached = () => readdirSync(`${folder}-cache`);
    const [name] = cached();
    expect((await read(folder, {}, 0)).storage).toEqual(first.storage);
    put(folder, 'b.png', await encode(pixels(3, 3, 1, 2), 3, 3, 1));
    expect((await read(folder, {}, 0)).count).toBe(2);
    utimesSync(join(folder, 'b.png'), 1, 1);
    await read(folder, {}, 0);
    expect(cached()).toHaveLength(3);
    expect(cached()).toContain(name);
  });
});

describe('a folder that is none gives a DataError that names the file', () => {
  const good = () => encode(pixels(40, 40, 3, 1), 40, 40, 3);
  test.each([
    ['an empty image', Buffer.alloc(0), /bad\.png: the file is empty; expected an image/],
    [
      'text',
      Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'),
      /bad\.png is not a PNG, JPEG or WebP image: it begins with "<svg xmlns=/,
    ],
    ['a PNG without a picture', Buffer.from('89504e470d0a1a0a', 'hex'), /bad\.png is a damaged or unsupported image: /],
  ])('%s', async (_, content, expected) => {
    const folder = temporaryDirectory();
    put(folder, 'good.png', await good());
    put(folder, 'bad.png', content);
    expect(await complaint(folder)).toMatch(expected);
  });

  test('an image cut off anywhere', async () => {
    const bytes = {
      'x.png': await good(),
      'x.jpg': await sharp(await good())
        .jpeg()
        .toBuffer(),
      'x.webp': await sharp(await good())
        .webp()
        .toBuffer(),
    };
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...(['x.png', 'x.jpg', 'x.webp'] as const)), fc.nat(), async (name, cut) => {
        const folder = temporaryDirectory();
        // A PNG's last 12 bytes say nothing but that it ends.
        put(folder, name, bytes[name].subarray(0, cut % (bytes[name].length - 16)));
        expect(await complaint(folder)).toContain(join(folder, name));
      }),
      { numRuns: 60 },
    );
  });

  test('no image, no folder, a pipe, a folder with the name of an image, a dangling link', async () => {
    const folder = temporaryDirectory();
    put(folder, 'notes.txt', 'hello');
    expect(await complaint(folder)).toBe(
      `${folder}: the folder holds no image; expected .png, .jpg, .jpeg or .webp files in it or below`,
    );
    expect(await complaint(join(folder, 'absent'))).toMatch(/absent: cannot be read \(ENOENT/);
    const linked = temporaryDirectory();
    symlinkSync('nowhere.png', join(linked, 'a.png'));
    expect(await complaint(linked)).toMatch(/a\.png: cannot be read \(ENOENT/);
    if (process.platform === 'win32') return;
    const piped = temporaryDirectory();
    execFileSync('mkfifo', [join(piped, 'a.png')]);
    expect(await complaint(piped)).toMatch(/a\.png: not a regular file; expected an image/);
  });

  test('images of more pixels than memory should hold, and sizes beyond a model', async () => {
    const folder = temporaryDirectory();
    // An honest PNG of 60 million black pixels, a few kilobytes.
    put(
      folder,
      'bomb.png',
      await sharp({ create: { width: 10_000, height: 6000, channels: 3, background: 'black' } })
        .png()
        .toBuffer(),
    );
    expect(await complaint(folder)).toMatch(/bomb\.png has more than the limit of 50000000 pixels/);
    const large = temporaryDirectory();
    put(
      large,
      'large.png',
      await sharp({ create: { width: 5000, height: 4000, channels: 3, background: 'black' } })
        .png()
        .toBuffer(),
    );
    expect(await complaint(large)).toMatch(
      /an image is 3 x 4000 x 5000; expected at most 16777216 numbers: bring images to another size by --image-size HxW/,
    );
  });
});

describe('labels of a folder', () => {
  const image = encode(pixels(2, 2, 1, 1), 2, 2, 1);
  const load = async (paths: readonly string[]) => {
    const folder = temporaryDirectory();
    for (const path of paths) put(folder, path, await image);
    return loadDataset(folder, { cacheDir: join(folder, '.cache') });
  };
  const labelsOf = async (paths: readonly string[]) => {
    const { train, test: held } = await load(paths);
    const all = new Array<number | undefined>(paths.length);
    for (const part of [train, held])
      part.rows?.forEach((row, i) => {
        all[row] = part.labels?.[i];
      });
    return all;
  };

  test('are the first folders in their order, where there are several', async () => {
    expect(await labelsOf(['cats/1.png', 'cats/2.png', 'cats-big/3.png', 'dogs/x/4.png'])).toEqual([1, 0, 0, 2]);
    expect(await labelsOf(['cats/1.png', 'cats/2.png'])).toEqual([undefined, undefined]);
    expect(await labelsOf(['cats/1.png', 'dogs/2.png', '3.png'])).toEqual([undefined, undefined, undefined]);
  });

  test('have the names of the folders, whatever their order on the disk', async () => {
    const namesOf = async (paths: readonly string[]) => (await load(paths)).classNames;
    expect(await namesOf(['cats/1.png', 'cats/2.png', 'cats-big/3.png', 'dogs/x/4.png'])).toEqual([
      'cats',
      'cats-big',
      'dogs',
    ]);
    expect(await namesOf(['cats/1.png', 'cats/2.png'])).toBeUndefined();
    expect(await namesOf(['train/b/1.png', 'train/a/2.png', 'test/b/3.png'])).toEqual(['a', 'b']);
  });

  test('folders train and test are the parts, and the classes lie below', async () => {
    const { train, test: held } = await load(['train/a/1.png', 'train/b/2.png', 'train/b/3.png', 'test/b/4.png']);
    expect([train.count, held.count]).toEqual([3, 1]);
    expect(Array.from(train.labels ?? [])).toEqual([0, 1, 1]);
    expect(Array.from(held.labels ?? [])).toEqual([1]);
  });
});
