import { useLayoutEffect, useRef } from 'preact/hooks';
import type { ImageInput } from '../../model/model.js';
import { imageDataOf } from '../../model/pixels.js';

export interface HeatMapProps {
  readonly values: Float32Array;
  /** Nats of each number of the item; the item alone where left out. */
  readonly errors: Float32Array | undefined;
  readonly input: ImageInput;
  readonly label: string;
}

/** Inferno of matplotlib, every 32nd colour, as the service draws its own heat maps. */
const INFERNO = [
  [0, 0, 4],
  [31, 12, 72],
  [85, 15, 109],
  [136, 34, 106],
  [186, 54, 85],
  [227, 89, 51],
  [249, 140, 10],
  [249, 201, 50],
  [252, 255, 164],
] as const;

/** An item, and over it where it is unlike what the model knows: 1 − exp(−nats), the same scale for every picture. */
export function HeatMap({ values, errors, input, label }: HeatMapProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [channels, height, width] = input.shape;
  useLayoutEffect(() => {
    const image = imageDataOf(values, input);
    if (errors !== undefined) overlay(image, errors, channels);
    canvas.current?.getContext('2d')?.putImageData(image, 0, 0);
  }, [values, errors, input, channels]);
  return <canvas ref={canvas} class="picture" width={width} height={height} role="img" aria-label={label} />;
}

function overlay({ data, width, height }: ImageData, errors: Float32Array, channels: number): void {
  const area = width * height;
  for (let pixel = 0; pixel < area; pixel++) {
    let nats = 0;
    let grey = 0;
    for (let channel = 0; channel < 3; channel++) grey += (data[4 * pixel + channel] ?? 0) / 3;
    for (let channel = 0; channel < channels; channel++) nats += errors[channel * area + pixel] ?? 0;
    const opacity = 1 - Math.exp(-nats);
    for (let channel = 0; channel < 3; channel++) {
      data[4 * pixel + channel] = Math.round(grey * (1 - opacity) + inferno(opacity, channel) * opacity);
    }
  }
}

function inferno(place: number, channel: number): number {
  const scaled = place * (INFERNO.length - 1);
  const index = Math.min(INFERNO.length - 2, Math.floor(scaled));
  const below = INFERNO[index]?.[channel] ?? 0;
  const above = INFERNO[index + 1]?.[channel] ?? 0;
  return below + (above - below) * (scaled - index);
}
