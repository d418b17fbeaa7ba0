import sharp, { type WebpOptions } from 'sharp';
import type { RawImage } from './image-grid.js';

/** What WebP loses at first is hard to see; at the last, edges. */
const QUALITIES = [80, 60, 40, 20];

/**
 * Encodes a picture as WebP: exactly where that takes few enough bytes, else in the best quality that does, or in the least
 * where none does. Of all pictures that were tried, drawings and noise too, none was smaller as PNG.
 */
export async function encodeWithin(image: RawImage, bytes: number): Promise<Buffer> {
  let smallest = await encodeWebp(image, { lossless: true });
  for (const quality of QUALITIES) {
    if (smallest.length <= bytes) break;
    const webp = await encodeWebp(image, { quality });
    // Drawings can be smaller without loss.
    if (webp.length < smallest.length) smallest = webp;
  }
  return smallest;
}

/** @param options quality from 1 to 100, which loses a little, too; or lossless */
export function encodeWebp(
  { width, height, channels, data }: RawImage,
  options: Pick<WebpOptions, 'quality' | 'lossless'>,
): Promise<Buffer> {
  return sharp(data, { raw: { width, height, channels } })
    .webp({ ...options, effort: 5 })
    .toBuffer();
}
