import type { ImageInput } from '@elbo/models';
import sharp from 'sharp';
import { encodePng, imageGrid, type RawImage } from '../pictures/image-grid.js';

/** A picture inside the page: a data URL with the size in pixels. */
export interface InlineImage {
  readonly url: string;
  readonly width: number;
  readonly height: number;
}

/** Longer sides are shrunk to it at the most: a page that shows hundreds of images has to stay small. */
const LARGEST_SIDE = 128;

/** Pictures of more pixels are photographs or sheets, which WebP encodes in a fraction of PNG's bytes. */
const LOSSLESS_PIXELS = 64 * 64;

/** Bytes of a sheet of thumbnails that are worth a better picture. */
const SHEET_BYTES = 900_000;

/** One form of a model's images for the page: numbers of the input's range as [0, 1], and no side too long. */
export class ImageForm {
  /** Channels, height, width of an image as it is shown. */
  readonly shape: readonly [number, number, number];
  readonly #input: ImageInput;
  readonly #factor: number;

  constructor(input: ImageInput, largestSide = LARGEST_SIDE) {
    const [channels, height, width] = input.shape;
    this.#input = input;
    this.#factor = Math.ceil(Math.max(height, width) / largestSide);
    this.shape = [
      channels,
      Math.max(1, Math.floor(height / this.#factor)),
      Math.max(1, Math.floor(width / this.#factor)),
    ];
  }

  /** Means over squares of `factor` pixels a side; edges that fill none are left out. */
  shown(item: Float32Array): Float32Array {
    const [low, high] = this.#input.value_range;
    const [, fullHeight, fullWidth] = this.#input.shape;
    const [channels, height, width] = this.shape;
    const factor = this.#factor;
    // A side shorter than a square has one all the same.
    const [rows, columns] = [Math.min(factor, fullHeight), Math.min(factor, fullWidth)];
    const shown = new Float32Array(channels * height * width);
    for (let at = 0; at < shown.length; at++) {
      const x = at % width;
      const y = Math.floor(at / width) % height;
      const channel = Math.floor(at / (width * height));
      let sum = 0;
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          sum += item[(channel * fullHeight + y * factor + row) * fullWidth + x * factor + column];
        }
      }
      shown[at] = (sum / (rows * columns) - low) / (high - low);
    }
    return shown;
  }

  /** Images side by side, or in rows of `columns`. */
  async picture(items: readonly Float32Array[], columns = items.length): Promise<InlineImage> {
    return inlineImage(
      imageGrid(
        items.map((item) => this.shown(item)),
        { shape: this.shape, columns },
      ),
    );
  }

  /** Many small images without gaps, in the best quality that keeps the page small. */
  async sheet(items: readonly Float32Array[], columns: number): Promise<InlineImage> {
    const grid = imageGrid(
      items.map((item) => this.shown(item)),
      { shape: this.shape, columns },
    );
    let bytes = await encodeWebp(grid, 80);
    for (const quality of [60, 40, 20]) {
      if (bytes.length <= SHEET_BYTES) break;
      bytes = await encodeWebp(grid, quality);
    }
    return inline(grid, 'webp', bytes);
  }
}

async function inlineImage(image: RawImage): Promise<InlineImage> {
  const png = await encodePng(image);
  if (image.width * image.height <= LOSSLESS_PIXELS && image.channels === 1) return inline(image, 'png', png);
  const webp = await encodeWebp(image, 85);
  return webp.length < png.length ? inline(image, 'webp', webp) : inline(image, 'png', png);
}

function encodeWebp({ width, height, channels, data }: RawImage, quality: number): Promise<Buffer> {
  return sharp(data, { raw: { width, height, channels } }).webp({ quality, effort: 5 }).toBuffer();
}

function inline({ width, height }: RawImage, kind: 'png' | 'webp', bytes: Buffer): InlineImage {
  return { url: `data:image/${kind};base64,${bytes.toString('base64')}`, width, height };
}
