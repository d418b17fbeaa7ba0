import type { ImageInput } from '@elbo/models';
import pLimit from 'p-limit';
import sharp from 'sharp';
import { availableCpus } from '../cpu-quota.js';
import { CodecError } from './errors.js';

/** Pixels of one image at most: the largest phone cameras have 50 million. */
export const MAX_IMAGE_PIXELS = 50_000_000;

// A cache of decoded images only grows a service that sees each image once; one thread an image, since requests come in numbers.
sharp.cache(false);
sharp.concurrency(1);
// libvips has loaders for dozens of formats, each a parser for hostile bytes.
sharp.block({ operation: ['VipsForeignLoad'] });
sharp.unblock({
  operation: ['VipsForeignLoadPngBuffer', 'VipsForeignLoadJpegBuffer', 'VipsForeignLoadWebpBuffer'],
});

// More decoders than CPUs finish no sooner, and take the CPU from the thread that answers everybody else.
const decoders = pLimit(availableCpus());

/**
 * Decodes a PNG, JPEG or WebP image (the first frame of an animated one) into what a model reads: turned as its EXIF
 * tag says, flattened onto the manifest's background, grey or RGB, resized by the manifest's rule.
 * @param field how the caller wrote it, for messages
 * @param target one item, channels x height x width, in the manifest's value range
 * @throws {CodecError} INVALID_IMAGE, IMAGE_TOO_LARGE
 */
export async function itemFromImage(
  bytes: Uint8Array,
  field: string,
  input: ImageInput,
  target: Float32Array,
): Promise<void> {
  checkSignature(bytes, field);
  const [channels, height, width] = input.shape;
  const { background: level, fit } = input.resize;
  const background = { r: level, g: level, b: level };
  let pixels: Uint8Array;
  try {
    const pipeline = sharp(bytes, { failOn: 'warning', limitInputPixels: MAX_IMAGE_PIXELS, pages: 1 })
      .timeout({ seconds: 10 })
      .autoOrient()
      .flatten({ background })
      .resize(width, height, { fit, background });
    const grey = input.colour === 'grey';
    const decoder = (grey ? pipeline.greyscale() : pipeline)
      .toColourspace(grey ? 'b-w' : 'srgb')
      .raw({ depth: 'uchar' });
    const { data, info } = await decoders(() => decoder.toBuffer({ resolveWithObject: true }));
    if (info.channels !== channels) throw new Error(`decoded to ${info.channels} channels`);
    pixels = data;
  } catch (error) {
    throw imageError(error as Error, field);
  }
  const [low, high] = input.value_range;
  const scale = (high - low) / 255;
  const area = height * width;
  for (let channel = 0; channel < channels; channel++) {
    for (let i = 0; i < area; i++) target[channel * area + i] = low + (pixels[i * channels + channel] ?? 0) * scale;
  }
}

const PNG = Buffer.from('89504e470d0a1a0a', 'hex');
const JPEG = Buffer.from('ffd8ff', 'hex');

function checkSignature(bytes: Uint8Array, field: string): void {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, 12));
  const webp = head.toString('latin1', 0, 4) === 'RIFF' && head.toString('latin1', 8, 12) === 'WEBP';
  if (webp || head.subarray(0, 8).equals(PNG) || head.subarray(0, 3).equals(JPEG)) return;
  const start = /^[\x20-\x7e]+$/.test(head.toString('latin1'))
    ? JSON.stringify(head.toString('latin1'))
    : head.toString('hex') || 'nothing';
  throw new CodecError('INVALID_IMAGE', `${field} is not a PNG, JPEG or WebP image: it begins with ${start}`);
}

function imageError(error: Error, field: string): CodecError {
  if (error.message.includes('pixel limit')) {
    return new CodecError('IMAGE_TOO_LARGE', `${field} has more than the limit of ${MAX_IMAGE_PIXELS} pixels`, {
      cause: error,
    });
  }
  const [reason = 'unknown'] = error.message.split('\n');
  return new CodecError('INVALID_IMAGE', `${field} is a damaged or unsupported image: ${reason.trim()}`, {
    cause: error,
  });
}
