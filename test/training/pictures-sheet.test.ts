import { RandomSource } from '@elbo/models';
import type { RawImage } from '@elbo/training/pictures/image-grid';
import { encodeWithin } from '@elbo/training/pictures/sheet';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';

/** Smooth waves with a little noise: what a photograph is like. */
function waves(width: number, height: number, channels: 1 | 3): RawImage {
  const random = new RandomSource(1);
  const data = Uint8Array.from({ length: width * height * channels }, (_, i) => {
    const pixel = Math.floor(i / channels);
    const [x, y] = [pixel % width, Math.floor(pixel / width)];
    return 120 + 60 * Math.sin(x / 9 + (i % channels)) + 50 * Math.cos(y / 7) + random.integer(20);
  });
  return { width, height, channels, data };
}

/** [height, width, channels] as bytes. */
async function pixels(webp: Buffer, channels: 1 | 3): Promise<Uint8Array> {
  const { data, info } = await sharp(webp).raw().toBuffer({ resolveWithObject: true });
  // A grey picture has three equal channels as WebP.
  return Uint8Array.from(data).filter((_, i) => i % info.channels < channels);
}

describe.each([1, 3] as const)('a sheet of %i channel(s)', (channels) => {
  const image = waves(120, 80, channels);

  test('loses nothing where that takes few enough bytes', async () => {
    const webp = await encodeWithin(image, 1e6);
    expect(await pixels(webp, channels)).toEqual(image.data);
  });

  test('loses little where it must be smaller, and no more than it must', async () => {
    const exact = await encodeWithin(image, 1e6);
    const budget = Math.floor(exact.length / 2);
    const webp = await encodeWithin(image, budget);
    expect(webp.length).toBeLessThanOrEqual(budget);
    const smaller = await encodeWithin(image, Math.floor(webp.length / 2));
    expect(smaller.length).toBeLessThan(webp.length);
    const errorOf = async (encoded: Buffer) => {
      const decoded = await pixels(encoded, channels);
      const total = image.data.reduce((sum, value, i) => sum + Math.abs(value - decoded[i]), 0);
      return total / image.data.length;
    };
    const error = await errorOf(webp);
    expect(error).toBeGreaterThan(0);
    expect(error).toBeLessThan(8);
    expect(await errorOf(smaller)).toBeGreaterThan(error);
  });

  test('is the smallest there is where nothing is small enough', async () => {
    const least = await encodeWithin(image, 0);
    expect(least.length).toBeLessThan((await encodeWithin(image, 1e6)).length);
    expect((await pixels(least, channels)).length).toBe(image.data.length);
  });
});
