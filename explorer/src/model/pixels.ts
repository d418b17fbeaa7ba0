import type { ImageInput } from './model.js';

/** What a canvas takes, of one item of a model: its value range becomes 0 to 255. */
export function imageDataOf(values: ArrayLike<number>, { shape, value_range: [low, high] }: ImageInput): ImageData {
  const [channels, height, width] = shape;
  const area = height * width;
  const image = new ImageData(width, height);
  const scale = 255 / (high - low);
  for (let pixel = 0; pixel < area; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      const value = values[(channels === 1 ? 0 : channel * area) + pixel] ?? low;
      image.data[4 * pixel + channel] = Math.round((value - low) * scale);
    }
    image.data[4 * pixel + 3] = 255;
  }
  return image;
}

/** The numbers of an item whose pixels these are. */
export function valuesOf(
  { data, width, height }: ImageData,
  { shape, value_range: [low, high] }: ImageInput,
): Float32Array {
  const [channels] = shape;
  const area = width * height;
  const values = new Float32Array(channels * area);
  for (let channel = 0; channel < channels; channel++) {
    for (let pixel = 0; pixel < area; pixel++) {
      values[channel * area + pixel] = low + ((data[4 * pixel + channel] ?? 0) / 255) * (high - low);
    }
  }
  return values;
}

export function canvasOf(image: ImageData): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext('2d')?.putImageData(image, 0, 0);
  return canvas;
}

/** A PNG file as base64, as JSON bodies of the service take images. */
export function base64PngOf(image: ImageData): string {
  return canvasOf(image).toDataURL('image/png').split(',')[1] ?? '';
}
