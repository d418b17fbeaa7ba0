import sharp, { type OverlayOptions } from 'sharp';
import { type Caption, drawCaption } from './caption.js';
import { encodePng, imageGrid, type RawImage } from './image-grid.js';

export interface PreviewImages {
  /** Channels (1 grey, 3 RGB), height and width of every image. */
  readonly shape: readonly [number, number, number];
  /** Images that the model was not trained on; each [channels, height, width], in [0, 1]. */
  readonly originals: readonly Float32Array[];
  /** What the model makes of the originals, in their order. */
  readonly reconstructions: readonly Float32Array[];
  /** Decoded draws from the prior. */
  readonly samples: readonly Float32Array[];
}

interface Band {
  readonly caption: Caption;
  readonly grid: RawImage;
  /** Pixels to the band above. */
  readonly gap: number;
}

const COLUMNS = 16;
const MAX_SCALE = 4;
const TARGET_GRID_WIDTH = 900;
const CAPTION_HEIGHT = 8;
const CAPTION_COLOUR = '#57606a';
const BACKGROUND = 255;
const CAPTION_GAP = 12;
const MARGIN = 16;
const GAP = 4;
const BAND_GAP = 20;

/**
 * The picture of a model version, as PNG: rows of originals, each with its reconstructions below, then rows of samples.
 * Small images are enlarged by a whole factor, so that their pixels stay sharp.
 * @throws {RangeError} where originals and reconstructions differ in number, there is no image at all, or one has another size
 */
export async function previewPng({ shape, originals, reconstructions, samples }: PreviewImages): Promise<Buffer> {
  if (originals.length !== reconstructions.length) {
    throw new RangeError(
      `${reconstructions.length} reconstructions; expected ${originals.length}, one for each original`,
    );
  }
  const columns = Math.min(COLUMNS, Math.max(originals.length, samples.length));
  if (columns === 0) throw new RangeError('no images; expected originals or samples');
  const fitting = Math.round(TARGET_GRID_WIDTH / columns / shape[2]);
  const scale = Math.min(MAX_SCALE, Math.max(1, fitting));
  const grid = (items: readonly Float32Array[]) =>
    imageGrid(items, { shape, columns, gap: GAP, background: BACKGROUND, scale });

  const caption = (text: string) => drawCaption(text, CAPTION_HEIGHT, CAPTION_COLOUR);
  const bands: Band[] = [];
  for (let start = 0; start < originals.length; start += columns) {
    const row = (items: readonly Float32Array[]) => grid(items.slice(start, start + columns));
    bands.push({ caption: caption('original'), grid: row(originals), gap: BAND_GAP });
    bands.push({ caption: caption('reconstruction'), grid: row(reconstructions), gap: GAP });
  }
  if (samples.length > 0) bands.push({ caption: caption('samples'), grid: grid(samples), gap: BAND_GAP });
  return compose(bands, shape[1] * scale);
}

async function compose(bands: readonly Band[], rowHeight: number): Promise<Buffer> {
  const left = MARGIN + Math.ceil(Math.max(...bands.map(({ caption }) => caption.width))) + CAPTION_GAP;
  const width = left + Math.max(...bands.map(({ grid }) => grid.width)) + MARGIN;
  const pictures: OverlayOptions[] = [];
  const captions: string[] = [];
  let top = MARGIN;
  bands.forEach(({ caption, grid, gap }, index) => {
    if (index > 0) top += gap;
    const { data, ...raw } = grid;
    pictures.push({ input: Buffer.from(data.buffer), raw, left, top });
    const baseline = top + (rowHeight + CAPTION_HEIGHT) / 2;
    captions.push(`<g transform="translate(${left - CAPTION_GAP - caption.width} ${baseline})">${caption.svg}</g>`);
    top += grid.height;
  });
  const height = top + MARGIN;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${captions.join('')}</svg>`;
  const data = await sharp({
    create: { width, height, channels: 3, background: { r: BACKGROUND, g: BACKGROUND, b: BACKGROUND } },
  })
    .composite([...pictures, { input: Buffer.from(svg), left: 0, top: 0 }])
    .removeAlpha()
    .raw()
    .toBuffer();
  return encodePng({ width, height, channels: 3, data });
}
