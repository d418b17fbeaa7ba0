import { heatOpacity, heatOver } from '@elbo/models/heat-map';
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

/** An item, and over it where it is unlike what the model knows, as the service draws its own heat maps. */
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
    const opacity = heatOpacity(nats);
    for (let channel = 0; channel < 3; channel++) {
      data[4 * pixel + channel] = heatOver(grey, opacity, channel);
    }
  }
}
