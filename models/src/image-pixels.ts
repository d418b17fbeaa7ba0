import sharp from 'sharp';
import type { ImageInput } from './manifest.js';
import { smallPngPixels } from './small-png.js';

/** Pixels of one image at most: the largest phone cameras have 50 million. */
export const MAX_IMAGE_PIXELS = 50_000_000;

/** Why bytes are not an image that is read. */
export type ImageErrorCode = 'NOT_AN_IMAGE' | 'TOO_MANY_PIXELS' | 'DAMAGED';

/** Bytes that are no image; the message goes on after what the caller calls them: "… is a damaged image". */
export class ImageError extends Error {
  override readonly name = 'ImageError';
  readonly code: ImageErrorCode;

  constructor(code: ImageErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

const PNG = Buffer.from('89504e470d0a1a0a', 'hex');
const JPEG = Buffer.from('ffd8ff', 'hex');

/**
 * Only these three: sharp knows many more formats, whose parsers need not see what calls itself an image.
 * @param bytes the first twelve at least
 * @throws {ImageError} NOT_AN_IMAGE
 */
export function checkImageSignature(bytes: Uint8Array): void {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, 12));
  const webp = head.toString('latin1', 0, 4) === 'RIFF' && head.toString('latin1', 8, 12) === 'WEBP';
  if (webp || head.subarray(0, 8).equals(PNG) || head.subarray(0, 3).equals(JPEG)) return;
  const start = /^[\x20-\x7e]+$/.test(head.toString('latin1'))
    ? JSON.stringify(head.toString('latin1'))
    : head.length === 0
      ? 'nothing'
      : `0x${head.toString('hex')}`;
  throw new ImageError('NOT_AN_IMAGE', `is not a PNG, JPEG or WebP image: it begins with ${start}`);
}

/**
 * What a model reads of a PNG, JPEG or WebP image (the first frame of an animated one): turned as its EXIF tag says,
 * flattened onto the manifest's background, grey or RGB, resized by the manifest's rule. The one way for training data and
 * requests alike, so that the same file is the same numbers to both.
 * @returns [channels, height, width] bytes
 * @throws {ImageError} where the bytes are no such image, or one with more than MAX_IMAGE_PIXELS
 */
export async function imagePixels(
  bytes: Uint8Array,
  { shape, colour, resize }: Pick<ImageInput, 'shape' | 'colour' | 'resize'>,
): Promise<Uint8Array> {
  checkImageSignature(bytes);
  const plain = smallPngPixels(bytes, shape);
  if (plain !== undefined) return plain;
  const [channels, height, width] = shape;
  const background = { r: resize.background, g: resize.background, b: resize.background };
  const isGrey = colour === 'grey';
  try {
    const pipeline = sharp(bytes, { failOn: 'warning', limitInputPixels: MAX_IMAGE_PIXELS, pages: 1 })
      .timeout({ seconds: 10 })
      .autoOrient()
      .flatten({ background })
      .resize(width, height, { fit: resize.fit, background });
    const { data, info } = await (isGrey ? pipeline.greyscale() : pipeline)
      .toColourspace(isGrey ? 'b-w' : 'srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    if (info.channels !== channels) throw new Error(`decoded to ${info.channels} channels`);
    return channels === 1 ? data : planes(data, channels);
  } catch (error) {
    throw imageError(error as Error);
  }
}

/** What sharp's error says of an image's bytes. */
export function imageError(error: Error): ImageError {
  if (error.message.includes('pixel limit')) {
    return new ImageError('TOO_MANY_PIXELS', `has more than the limit of ${MAX_IMAGE_PIXELS} pixels`, { cause: error });
  }
  const [reason = 'unknown'] = error.message.split('\n');
  return new ImageError('DAMAGED', `is a damaged or unsupported image: ${reason.trim().replace(/:$/, '')}`, {
    cause: error,
  });
}

/** [pixels, channels] as [channels, pixels]. */
function planes(data: Uint8Array, channels: number): Uint8Array {
  const target = new Uint8Array(data.length);
  for (let channel = 0, at = 0; channel < channels; channel++) {
    for (let i = channel; i < data.length; i += channels) target[at++] = data[i] ?? 0;
  }
  return target;
}
