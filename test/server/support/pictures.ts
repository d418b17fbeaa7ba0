import sharp from 'sharp';

/** A grey PNG of these bytes. */
export function greyPng(bytes: Uint8Array, width: number, height: number): Promise<Buffer> {
  return sharp(bytes, { raw: { width, height, channels: 1 } })
    .toColourspace('b-w')
    .png()
    .toBuffer();
}

/** A one-coloured PNG. */
export function plainPng(width: number, height: number, background = 'red'): Promise<Buffer> {
  return sharp({ create: { width, height, channels: 3, background } })
    .png()
    .toBuffer();
}

/** Pixels of an encoded image, channels last. */
export async function pixelsOf(
  image: Buffer,
): Promise<{ data: Buffer; width: number; height: number; channels: number }> {
  const { space = 'srgb' } = await sharp(image).metadata();
  const { data, info } = await sharp(image).toColourspace(space).raw().toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height, channels: info.channels };
}
