import { crc32, deflateSync } from 'node:zlib';
import { imagePixels, smallPngPixels } from '@elbo/models';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';

const RESIZE = { fit: 'fill', background: 0 } as const;

/** One chunk of a PNG. */
function chunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE(data.length, 0);
  frame.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
}

interface Picture {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
  readonly pixels: Uint8Array;
}

/** A PNG whose rows have filter 0, with what a test wants changed. */
function png(
  { width, height, channels, pixels }: Picture,
  { extra = [], header = {}, packed }: { extra?: Buffer[]; header?: Record<number, number>; packed?: Buffer } = {},
): Buffer {
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, channels === 1 ? 0 : 2, 0, 0, 0], 8);
  for (const [at, value] of Object.entries(header)) head[Number(at)] = value;
  const rows = Buffer.alloc(height * (1 + width * channels));
  for (let y = 0; y < height; y++) {
    rows.set(pixels.subarray(y * width * channels, (y + 1) * width * channels), y * (1 + width * channels) + 1);
  }
  return Buffer.concat([
    Buffer.from('89504e470d0a1a0a', 'hex'),
    chunk('IHDR', head),
    ...extra,
    chunk('IDAT', packed ?? deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

const picture = (channels: 1 | 3): fc.Arbitrary<Picture> =>
  fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 12 })).chain(([width, height]) => {
    const length = width * height * channels;
    return fc
      .uint8Array({ minLength: length, maxLength: length })
      .map((pixels) => ({ width, height, channels, pixels: Uint8Array.from(pixels) }));
  });

/** What sharp alone gives: a chunk that it ignores keeps the other decoder away. */
function bySharp(image: Picture, shape: [1 | 3, number, number]): Promise<Uint8Array> {
  const colour = shape[0] === 1 ? 'grey' : 'rgb';
  const bytes = png(image, { extra: [chunk('teSt', Buffer.alloc(1))] });
  expect(smallPngPixels(bytes, shape)).toBeUndefined();
  return imagePixels(bytes, { shape, colour, resize: RESIZE });
}

describe('a small plain PNG of a model’s size', () => {
  it.each([
    [1, 1],
    [1, 3],
    [3, 3],
  ] as const)('of %i channels for a model of %i is read as sharp reads it', async (from, to) => {
    await fc.assert(
      fc.asyncProperty(picture(from), async (image) => {
        const shape: [1 | 3, number, number] = [to, image.height, image.width];
        const direct = smallPngPixels(png(image), shape);
        expect(direct).toBeDefined();
        expect(Buffer.from(direct ?? [])).toEqual(Buffer.from(await bySharp(image, shape)));
      }),
      { numRuns: 60 },
    );
  });

  it('of grey written as RGB is read as sharp reads it, at every level', async () => {
    const pixels = Uint8Array.from({ length: 256 * 3 }, (_, i) => Math.floor(i / 3));
    const image: Picture = { width: 16, height: 16, channels: 3, pixels };
    const direct = smallPngPixels(png(image), [1, 16, 16]);
    expect(Buffer.from(direct ?? [])).toEqual(Buffer.from(await bySharp(image, [1, 16, 16])));
  });

  it('may have any filter, as sharp writes them', async () => {
    const pixels = Uint8Array.from({ length: 784 }, (_, i) => (i * i) % 251);
    const bytes = await sharp(pixels, { raw: { width: 28, height: 28, channels: 1 } })
      .png({ adaptiveFiltering: true })
      .toBuffer();
    expect(Buffer.from(smallPngPixels(bytes, [1, 28, 28]) ?? [])).toEqual(Buffer.from(pixels));
  });
});

describe('what is left to sharp', () => {
  const image: Picture = { width: 4, height: 3, channels: 1, pixels: Uint8Array.from({ length: 12 }, (_, i) => i) };
  const colours: Picture = { ...image, channels: 3, pixels: Uint8Array.from({ length: 36 }, (_, i) => i * 7) };

  it.each([
    ['another size', png(image), [1, 4, 4]],
    ['colours for a grey model', png(colours), [1, 3, 4]],
    ['transparency', png(image, { extra: [chunk('tRNS', Buffer.from([0, 5]))] }), [1, 3, 4]],
    ['an orientation', png(image, { extra: [chunk('eXIf', Buffer.alloc(8))] }), [1, 3, 4]],
    ['another depth', png(image, { header: { 8: 16 } }), [1, 3, 4]],
    ['interlacing', png(image, { header: { 12: 1 } }), [1, 3, 4]],
    ['too few rows', png(image, { packed: deflateSync(Buffer.alloc(5)) }), [1, 3, 4]],
    ['a file that is cut off', png(image).subarray(0, 50), [1, 3, 4]],
    ['bytes after the end', Buffer.concat([png(image), Buffer.alloc(20)]), [1, 3, 4]],
    [
      'a long file, which could unpack to anything',
      png(image, { packed: deflateSync(Buffer.alloc(1 << 20)) }),
      [1, 3, 4],
    ],
  ] as const)('%s', (_what, bytes, shape) => {
    expect(smallPngPixels(bytes, shape)).toBeUndefined();
  });

  it('a wrong check sum', () => {
    const bytes = png(image);
    bytes[45] = (bytes[45] ?? 0) ^ 1;
    expect(smallPngPixels(bytes, [1, 3, 4])).toBeUndefined();
  });

  it('any bytes at all, without a crash', () => {
    const good = png(image);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 0, max: 255 })), { maxLength: 4 }),
        (spots) => {
          const bytes = Buffer.from(good);
          for (const [at, value] of spots) bytes[at] = value;
          const pixels = smallPngPixels(bytes, [1, 3, 4]);
          if (pixels !== undefined) expect(pixels).toHaveLength(12);
        },
      ),
    );
  });
});
