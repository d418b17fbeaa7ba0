import sharp from 'sharp';
import { encodePng, type RawImage } from './image-grid.js';

/** What WebP loses at first is hard to see; at the last, edges. */
const QUALITIES = [80, 60, 40, 20];

export interface EncodedImage {
  readonly kind: 'png' | 'webp';
  readonly bytes: Buffer;
}

/**
 * Encodes a picture exactly where that takes few enough bytes, as WebP or PNG, whichever is smaller; else as WebP, in the best
 * quality that does, or in the least where none does.
 */
export async function encodeWithin(image: RawImage, bytes: number): Promise<EncodedImage> {
  const exact = await encodeExactly(image);
  let smallest = exact;
  for (const quality of QUALITIES) {
    if (smallest.bytes.length <= bytes) break;
    const webp = await encodeWebp(image, quality);
    // Drawings and noise can be smaller without loss.
    if (webp.length < smallest.bytes.length) smallest = { kind: 'webp', bytes: webp };
  }
  return smallest;
}

/** @param quality from 1 to 100, which loses a little, too */
export function encodeWebp({ width, height, channels, data }: RawImage, quality: number): Promise<Buffer> {
  return sharp(data, { raw: { width, height, channels } }).webp({ quality, effort: 5 }).toBuffer();
}

async function encodeExactly(image: RawImage): Promise<EncodedImage> {
  const { width, height, channels, data } = image;
  const webp = await sharp(data, { raw: { width, height, channels } }).webp({ lossless: true, effort: 5 }).toBuffer();
  const png = await encodePng(image);
  return png.length < webp.length ? { kind: 'png', bytes: png } : { kind: 'webp', bytes: webp };
}
