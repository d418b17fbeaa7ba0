import { type ImageInput, MAX_IMAGE_PIXELS } from '@elbo/models';
import { CodecError } from '@elbo/server/codecs/errors';
import { itemFromImage } from '@elbo/server/codecs/image-input';
import { pngFromErrorMap, pngFromItems } from '@elbo/server/codecs/image-output';
import fc from 'fast-check';
import sharp, { type Sharp } from 'sharp';
import { describe, expect, it } from 'vitest';
import { GREY_INPUT, RGB_INPUT } from './support/fixture-models.js';
import { greyPng, pixelsOf, plainPng } from './support/pictures.js';

const BYTES = Uint8Array.from({ length: 64 }, (_, i) => i * 4);

async function read(image: Uint8Array, input: ImageInput = GREY_INPUT): Promise<number[]> {
  const target = new Float32Array(input.shape[0] * input.shape[1] * input.shape[2]);
  await itemFromImage(image, 'body', input, target);
  return [...target];
}
const levels = async (image: Uint8Array) => (await read(image)).map((value) => Math.round(value * 255));

function picture(channels: 1 | 3): Sharp {
  const bytes = Uint8Array.from({ length: 64 * channels }, (_, i) => BYTES[Math.floor(i / channels)] ?? 0);
  return sharp(bytes, { raw: { width: 8, height: 8, channels } });
}

describe('images in', () => {
  it.each<[string, () => Promise<Buffer>]>([
    ['grey PNG', () => picture(1).toColourspace('b-w').png().toBuffer()],
    ['RGB PNG', () => picture(3).png().toBuffer()],
    ['RGBA PNG', () => picture(3).ensureAlpha().png().toBuffer()],
    ['palette PNG', () => picture(3).png({ palette: true, colours: 256 }).toBuffer()],
    ['16-bit PNG', () => picture(1).toColourspace('grey16').png().toBuffer()],
    ['interlaced PNG', () => picture(1).png({ progressive: true }).toBuffer()],
    ['lossless WebP', () => picture(3).webp({ lossless: true }).toBuffer()],
  ])('give exactly the bytes of a %s of the right size', async (_name, make) => {
    expect(await levels(await make())).toEqual([...BYTES]);
  });

  it('are scaled into the value range', async () => {
    const [first, last] = [
      await read(await plainPng(9, 9, 'black'), RGB_INPUT),
      await read(await plainPng(9, 9, 'white'), RGB_INPUT),
    ];
    expect(new Set(first)).toEqual(new Set([-1]));
    expect(new Set(last)).toEqual(new Set([1]));
  });

  it('give channels first', async () => {
    const red = await read(await plainPng(7, 7, '#ff0000'), RGB_INPUT);
    expect(new Set(red.slice(0, 30))).toEqual(new Set([1]));
    expect(new Set(red.slice(30))).toEqual(new Set([-1]));
  });

  it('are flattened onto the background of the manifest', async () => {
    const clear = await sharp({
      create: { width: 8, height: 8, channels: 4, background: { r: 255, g: 255, b: 255, alpha: 0 } },
    })
      .png()
      .toBuffer();
    expect(new Set(await read(clear))).toEqual(new Set([0]));
  });

  it('of another shape are fitted, with the background around', async () => {
    const wide = await levels(await plainPng(80, 40, 'white'));
    expect(wide.slice(0, 16)).toEqual(Array(16).fill(0));
    expect(wide.slice(24, 40)).toEqual(Array(16).fill(255));
    expect(wide.slice(48)).toEqual(Array(16).fill(0));
  });

  it('are turned as their EXIF tag says', async () => {
    const black = { create: { width: 20, height: 20, channels: 3 as const, background: 'black' } };
    const turned = await sharp({ create: { width: 40, height: 20, channels: 3, background: 'white' } })
      .composite([{ input: black, left: 0, top: 0 }])
      .withMetadata({ orientation: 6 })
      .jpeg({ quality: 100 })
      .toBuffer();
    const rows = await levels(turned);
    expect(Math.max(...rows.slice(2, 6))).toBeLessThan(30);
    expect(Math.min(...rows.slice(58, 62))).toBeGreaterThan(225);
  });

  it('that are animated give their first frame', async () => {
    const frames = Buffer.concat([Buffer.alloc(64 * 3, 0), Buffer.alloc(64 * 3, 255)]);
    const animated = await sharp(frames, { raw: { width: 8, height: 16, channels: 3, pageHeight: 8 } })
      .webp({ lossless: true })
      .toBuffer();
    expect(new Set(await levels(animated))).toEqual(new Set([0]));
  });

  it.each<[string, () => Promise<Uint8Array>]>([
    ['text', async () => Buffer.from('hello, world')],
    ['nothing', async () => Buffer.alloc(0)],
    ['SVG', async () => Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"></svg>')],
    ['GIF', () => picture(3).gif().toBuffer()],
    ['TIFF', () => picture(3).tiff().toBuffer()],
    ['AVIF', () => picture(3).avif().toBuffer()],
  ])('are refused by their first bytes: %s', async (_name, make) => {
    const error = await read(await make()).catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(CodecError);
    expect(String(error)).toContain('body is not a PNG, JPEG or WebP image: it begins with');
  });

  it('are refused when cut short anywhere', async () => {
    const whole = await greyPng(BYTES, 8, 8);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 8, max: whole.length - 13 }), async (length) => {
        await expect(read(whole.subarray(0, length))).rejects.toMatchObject({ code: 'INVALID_IMAGE' });
      }),
      { numRuns: 30 },
    );
  });

  it('never bring the decoder down, whatever bytes follow the signature', async () => {
    const whole = await greyPng(BYTES, 8, 8);
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 60 }), fc.nat(60), async (noise, at) => {
        const bytes = Buffer.from(whole);
        bytes.set(noise, 8 + Math.min(at, bytes.length - 8 - noise.length));
        const result = await read(bytes).catch((error: unknown) => error);
        if (result instanceof Error) expect(result).toBeInstanceOf(CodecError);
      }),
      { numRuns: 100 },
    );
  });

  it('with more pixels than the limit are refused, naming it', async () => {
    const lying = await greyPng(BYTES, 8, 8);
    lying.writeUInt32BE(10_000, 16);
    lying.writeUInt32BE(10_000, 20);
    for (const huge of [await plainPng(10_000, 10_000), lying]) {
      const error = await read(huge).catch((cause: unknown) => cause);
      expect(error).toBeInstanceOf(CodecError);
    }
    await expect(read(await plainPng(10_000, 10_000))).rejects.toMatchObject({
      code: 'IMAGE_TOO_LARGE',
      message: `body has more than the limit of ${MAX_IMAGE_PIXELS} pixels`,
    });
  });
});

describe('images out', () => {
  it('come back as the same bytes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 64, maxLength: 64 }), async (bytes) => {
        const item = await read(await greyPng(bytes, 8, 8));
        const { data, channels } = await pixelsOf(await pngFromItems(Float32Array.from(item), GREY_INPUT));
        expect(channels).toBe(1);
        expect([...data]).toEqual([...bytes]);
      }),
      { numRuns: 20 },
    );
  });

  it('keep the order of the channels and clip what is out of range', async () => {
    const item = new Float32Array(90).fill(-5);
    item.fill(5, 30, 60);
    const { data, channels } = await pixelsOf(await pngFromItems(item, RGB_INPUT));
    expect(channels).toBe(3);
    expect([...data.subarray(0, 3)]).toEqual([0, 255, 0]);
  });

  it.each([
    [1, 8, 8],
    [2, 18, 8],
    [5, 28, 18],
    [64, 78, 78],
  ])('of %i items are a grid of %i x %i pixels', async (count, width, height) => {
    const png = await pixelsOf(await pngFromItems(new Float32Array(count * 64).fill(1), GREY_INPUT));
    expect([png.width, png.height]).toEqual([width, height]);
  });

  it('stand in reading order', async () => {
    const items = Float32Array.from({ length: 5 * 64 }, (_, i) => Math.floor(i / 64) / 5);
    const { data, width } = await pixelsOf(await pngFromItems(items, GREY_INPUT));
    const at = (row: number, column: number) => data[row * 10 * width + column * 10];
    expect([at(0, 0), at(0, 1), at(0, 2), at(1, 0), at(1, 1)]).toEqual([0, 51, 102, 153, 204]);
  });

  it('too large for one image are refused', async () => {
    const large: ImageInput = { ...GREY_INPUT, shape: [1, 4000, 4000] };
    await expect(pngFromItems(new Float32Array(4 * 16_000_000), large)).rejects.toMatchObject({
      code: 'IMAGE_TOO_LARGE',
    });
  });

  it('of errors are grey where there is none and bright where it is large', async () => {
    const items = new Float32Array(128).fill(0.2);
    const errors = new Float32Array(128);
    errors[0] = 10;
    const { data, width, channels } = await pixelsOf(await pngFromErrorMap(items, errors, GREY_INPUT));
    expect(width).toBe(2 * 224 + 2);
    const [r = 0, g = 0, b = 0] = data.subarray(0, 3);
    expect(r).toBeGreaterThan(240);
    expect(g).toBeGreaterThan(240);
    expect(b).toBeLessThan(200);
    const quiet = data.subarray((width - 1) * channels, width * channels);
    expect(new Set(quiet).size).toBe(1);
  });
});
