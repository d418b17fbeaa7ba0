import { ImageError, type ImageInput, imagePixels } from '@elbo/models';
import pLimit from 'p-limit';
import sharp from 'sharp';
import { availableCpus } from '../cpu-quota.js';
import { CodecError } from './errors.js';

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
 * Decodes an image into what a model reads.
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
  const pixels = await decoders(() => imagePixels(bytes, input)).catch((error: unknown) => {
    if (!(error instanceof ImageError)) throw error;
    const code = error.code === 'TOO_MANY_PIXELS' ? 'IMAGE_TOO_LARGE' : 'INVALID_IMAGE';
    throw new CodecError(code, `${field} ${error.message}`, { cause: error });
  });
  const [low, high] = input.value_range;
  const scale = (high - low) / 255;
  for (let i = 0; i < target.length; i++) target[i] = low + (pixels[i] ?? 0) * scale;
}
