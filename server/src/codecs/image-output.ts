import { type ImageInput, MAX_IMAGE_PIXELS } from '@elbo/models';
import { heatOpacity, heatOver } from '@elbo/models/heat-map';
import sharp from 'sharp';
import { CodecError } from './errors.js';

/** Pixels between the cells of a grid, and their grey level. */
const GAP = 2;
const GAP_LEVEL = 96;

/** 8-bit pixels of one picture, channels last. */
interface Cell {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
  /** Writes picture `index` into `target`, whose rows are `stride` bytes apart, from byte `start` on. */
  readonly draw: (index: number, target: Uint8Array, start: number, stride: number) => void;
}

/**
 * A PNG of one item, or of a near-square grid of all of them in reading order.
 * @param data N x channels x height x width in the manifest's value range; what lies outside is clipped
 * @throws {CodecError} IMAGE_TOO_LARGE where the grid would be larger than an image that this server reads
 */
export function pngFromItems(data: Float32Array, input: ImageInput): Promise<Buffer> {
  const [channels, height, width] = input.shape;
  const toByte = quantiser(input);
  return encodeGrid(data.length / (channels * height * width), {
    width,
    height,
    channels,
    draw: (index, target, start, stride) => {
      const area = height * width;
      const offset = index * area * channels;
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          for (let channel = 0; channel < channels; channel++) {
            target[start + y * stride + x * channels + channel] = toByte(data[offset + channel * area + y * width + x]);
          }
        }
      }
    },
  });
}

/** Side in pixels that a heat map is enlarged to, so that single input pixels can be seen. */
const HEAT_MAP_SIDE = 224;

/**
 * A PNG that shows where each item is unlike what the model knows: the item in grey, and over it the error, more opaque
 * and brighter the larger it is. The scale is 1 - exp(-nats), the same for every picture, so that pictures compare.
 * @param items N x channels x height x width in the manifest's value range
 * @param errors the same shape, non-negative nats; channels are summed
 * @throws {CodecError} IMAGE_TOO_LARGE
 */
export function pngFromErrorMap(items: Float32Array, errors: Float32Array, input: ImageInput): Promise<Buffer> {
  const [channels, height, width] = input.shape;
  const toByte = quantiser(input);
  const area = height * width;
  const count = items.length / (channels * area);
  const zoom = largestZoom(count, height, width);
  return encodeGrid(count, {
    width: width * zoom,
    height: height * zoom,
    channels: 3,
    draw: (index, target, start, stride) => {
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          let grey = 0;
          let error = 0;
          for (let channel = 0; channel < channels; channel++) {
            const at = (index * channels + channel) * area + y * width + x;
            grey += toByte(items[at]) / channels;
            error += errors[at] ?? 0;
          }
          const opacity = heatOpacity(error);
          for (let channel = 0; channel < 3; channel++) {
            const value = heatOver(grey, opacity, channel);
            for (let dy = 0; dy < zoom; dy++) {
              const row = start + (y * zoom + dy) * stride + x * zoom * 3 + channel;
              for (let dx = 0; dx < zoom; dx++) target[row + dx * 3] = value;
            }
          }
        }
      }
    },
  });
}

function largestZoom(count: number, height: number, width: number): number {
  const wanted = Math.max(1, Math.floor(HEAT_MAP_SIDE / Math.max(height, width)));
  const affordable = Math.floor(Math.sqrt(MAX_IMAGE_PIXELS / 4 / (count * height * width)));
  return Math.max(1, Math.min(wanted, affordable));
}

/** From the value range to 0 … 255, clipped. */
function quantiser({ value_range: [low, high] }: ImageInput): (value: number | undefined) => number {
  const scale = 255 / (high - low);
  return (value = low) => Math.max(0, Math.min(255, Math.round((value - low) * scale)));
}

async function encodeGrid(count: number, cell: Cell): Promise<Buffer> {
  const columns = Math.ceil(Math.sqrt(count));
  const rows = Math.ceil(count / columns);
  const width = columns * (cell.width + GAP) - GAP;
  const height = rows * (cell.height + GAP) - GAP;
  if (width * height > MAX_IMAGE_PIXELS) {
    throw new CodecError(
      'IMAGE_TOO_LARGE',
      `a grid of ${count} images would have ${width * height} pixels; the limit is ${MAX_IMAGE_PIXELS}`,
    );
  }
  const stride = width * cell.channels;
  const pixels = new Uint8Array(stride * height).fill(GAP_LEVEL);
  for (let index = 0; index < count; index++) {
    const top = Math.floor(index / columns) * (cell.height + GAP);
    const left = (index % columns) * (cell.width + GAP);
    cell.draw(index, pixels, top * stride + left * cell.channels, stride);
  }
  return sharp(pixels, { raw: { width, height, channels: cell.channels } })
    .toColourspace(cell.channels === 1 ? 'b-w' : 'srgb')
    .png()
    .toBuffer();
}
