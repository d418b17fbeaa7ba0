import sharp from 'sharp';

/** Uncompressed pixels, row by row, channels interleaved. */
export interface RawImage {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
  readonly data: Uint8Array;
}

export interface GridOptions {
  /** Channels (1 grey, 3 RGB), height and width of every item. */
  readonly shape: readonly [number, number, number];
  readonly columns: number;
  /** Pixels between items. */
  readonly gap?: number;
  /** Grey level, 0 … 255, of gaps and of places without an item. */
  readonly background?: number;
  /** Each pixel of an item becomes a square of this many pixels a side. */
  readonly scale?: number;
}

/**
 * Lays images out in rows, from the top left.
 * @param items each [channels, height, width]: bytes, or numbers in [0, 1] (others are clipped, NaN is drawn as 0)
 * @throws {RangeError} where there is no item, or one has another size or channel count than `options.shape` allows
 */
export function imageGrid(items: readonly (Uint8Array | Float32Array)[], options: GridOptions): RawImage {
  const { shape, columns: most, gap = 0, background = 0, scale = 1 } = options;
  const [channels, height, width] = shape;
  if (channels !== 1 && channels !== 3) throw new RangeError(`${channels} channels; expected 1 (grey) or 3 (RGB)`);
  if (items.length === 0) throw new RangeError('no images; expected at least one');
  const columns = Math.min(most, items.length);
  const rows = Math.ceil(items.length / columns);
  const totalWidth = columns * width * scale + (columns - 1) * gap;
  const totalHeight = rows * height * scale + (rows - 1) * gap;
  const data = new Uint8Array(totalWidth * totalHeight * channels).fill(background);
  items.forEach((item, index) => {
    if (item.length !== channels * height * width) {
      throw new RangeError(`image ${index} has ${item.length} values; expected ${shape.join(' x ')}`);
    }
    // A Uint8Array that is assigned to would wrap around; this one rounds and clips.
    const bytes = item instanceof Uint8Array ? item : Uint8ClampedArray.from(item, (value) => value * 255);
    const left = (index % columns) * (width * scale + gap);
    const top = Math.floor(index / columns) * (height * scale + gap);
    for (let y = 0; y < height * scale; y++) {
      for (let x = 0; x < width * scale; x++) {
        const pixel = Math.floor(y / scale) * width + Math.floor(x / scale);
        const target = ((top + y) * totalWidth + left + x) * channels;
        for (let c = 0; c < channels; c++) data[target + c] = bytes[c * height * width + pixel] as number;
      }
    }
  });
  return { width: totalWidth, height: totalHeight, channels, data };
}

/** Encodes as PNG: 8-bit grey or RGB, without metadata; the same pixels give the same bytes. */
export async function encodePng({ width, height, channels, data }: RawImage): Promise<Buffer> {
  return sharp(data, { raw: { width, height, channels } })
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .png({ compressionLevel: 9 })
    .toBuffer();
}
