import type { ImageForm } from '../pictures/image-form.js';
import { encodePng, imageGrid, type RawImage } from '../pictures/image-grid.js';
import { encodeWebp, encodeWithin } from '../pictures/sheet.js';

/** A picture inside the page: a data URL with the size in pixels. */
export interface InlineImage {
  readonly url: string;
  readonly width: number;
  readonly height: number;
}

/** Longer sides are shrunk to it at the most: a page that shows hundreds of images has to stay small. */
export const LARGEST_SIDE = 128;

/** Pictures of more pixels are photographs or sheets, which WebP encodes in a fraction of PNG's bytes. */
const LOSSLESS_PIXELS = 64 * 64;

/** Bytes of a sheet of thumbnails that are worth a better picture. */
const SHEET_BYTES = 900_000;

/** Images side by side, or in rows of `columns`. */
export async function picture(
  form: ImageForm,
  items: readonly Float32Array[],
  columns = items.length,
): Promise<InlineImage> {
  const image = grid(form, items, columns);
  const png = await encodePng(image);
  if (image.width * image.height <= LOSSLESS_PIXELS && image.channels === 1) return inline(image, 'png', png);
  const webp = await encodeWebp(image, { quality: 85 });
  return webp.length < png.length ? inline(image, 'webp', webp) : inline(image, 'png', png);
}

/** Many small images without gaps, in the best quality that keeps the page small. */
export async function sheet(form: ImageForm, items: readonly Float32Array[], columns: number): Promise<InlineImage> {
  const image = grid(form, items, columns);
  return inline(image, 'webp', await encodeWithin(image, SHEET_BYTES));
}

function grid(form: ImageForm, items: readonly Float32Array[], columns: number): RawImage {
  return imageGrid(
    items.map((item) => form.shown(item)),
    { shape: form.shape, columns },
  );
}

function inline({ width, height }: RawImage, kind: 'png' | 'webp', bytes: Buffer): InlineImage {
  return { url: `data:image/${kind};base64,${bytes.toString('base64')}`, width, height };
}
