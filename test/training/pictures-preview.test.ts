import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { previewPng } from '@elbo/training/pictures/preview';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.js';

const flat = (count: number, size: number, level: number) =>
  Array.from({ length: count }, () => new Float32Array(size).fill(level));

/** The grey levels down the last column of images, each counted once where it repeats. */
async function bands(png: Buffer): Promise<number[]> {
  const { data, info } = await sharp(png).greyscale().raw().toBuffer({ resolveWithObject: true });
  const x = info.width - 30;
  const column = Array.from({ length: info.height }, (_, y) => data[y * info.width + x] as number);
  return column.filter((level, i) => level !== column[i - 1]);
}

describe('the preview of a model', () => {
  test('shows rows of originals above their reconstructions, then samples', async () => {
    const png = await previewPng({
      shape: [1, 28, 28],
      originals: flat(32, 784, 0),
      reconstructions: flat(32, 784, 0.4),
      samples: flat(48, 784, 0.8),
    });
    const white = 255;
    expect(await bands(png)).toEqual([
      ...[white, 0, white, 102, white],
      ...[0, white, 102, white],
      ...[204, white, 204, white, 204, white],
    ]);
  });

  test('shows RGB images in colour', async () => {
    const red = Float32Array.from({ length: 3 * 64 * 64 }, (_, i) => (i < 64 * 64 ? 1 : 0));
    const png = await previewPng({ shape: [3, 64, 64], originals: [], reconstructions: [], samples: [red] });
    const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true });
    const middle = (Math.floor(info.height / 2) * info.width + info.width - 30) * info.channels;
    expect(Array.from(data.subarray(middle, middle + 3))).toEqual([255, 0, 0]);
  });

  test('has captions on the left of every band', async () => {
    const images = flat(16, 784, 0);
    const png = await previewPng({ shape: [1, 28, 28], originals: images, reconstructions: images, samples: images });
    const { data, info } = await sharp(png).greyscale().raw().toBuffer({ resolveWithObject: true });
    const inked = (line: number) =>
      data.subarray(line * info.width, line * info.width + 140).some((level) => level < 230);
    let captions = 0;
    for (let line = 1; line < info.height; line++) if (inked(line) && !inked(line - 1)) captions++;
    expect(captions).toBe(3);
    expect(data.subarray(0, info.width * 10).every((level) => level === 255)).toBe(true);
  });

  test('is the same picture on a machine without fonts', async () => {
    const configuration = join(temporaryDirectory(), 'fonts.conf');
    writeFileSync(configuration, '<?xml version="1.0"?><fontconfig></fontconfig>');
    const script = `
      import { createHash } from 'node:crypto';
      import { previewPng } from '@elbo/training/pictures/preview';
      const images = [new Float32Array(16)];
      const png = await previewPng({ shape: [1, 4, 4], originals: images, reconstructions: images, samples: images });
      console.log(createHash('sha256').update(png).digest('hex'));`;
    const elsewhere = execFileSync(process.execPath, ['--input-type=module', '--eval', script], {
      env: { ...process.env, FONTCONFIG_FILE: configuration },
      encoding: 'utf8',
    });
    const images = [new Float32Array(16)];
    const here = await previewPng({ shape: [1, 4, 4], originals: images, reconstructions: images, samples: images });
    expect(elsewhere.trim()).toBe(createHash('sha256').update(here).digest('hex'));
  });

  test('refuses what it cannot pair or show', async () => {
    const shape = [1, 4, 4] as const;
    const one = flat(1, 16, 0);
    await expect(previewPng({ shape, originals: one, reconstructions: [], samples: one })).rejects.toThrow(
      '0 reconstructions; expected 1, one for each original',
    );
    await expect(previewPng({ shape, originals: [], reconstructions: [], samples: [] })).rejects.toThrow('no images');
    await expect(previewPng({ shape, originals: [], reconstructions: [], samples: flat(1, 15, 0) })).rejects.toThrow(
      'image 0 has 15 values; expected 1 x 4 x 4',
    );
  });
});
