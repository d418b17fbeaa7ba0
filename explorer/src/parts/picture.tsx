import { useLayoutEffect, useRef } from 'preact/hooks';
import type { ImageInput } from '../model/model.js';
import { imageDataOf } from '../model/pixels.js';

export interface PictureProps {
  /** Of one item, in the model's value range. */
  readonly values: ArrayLike<number>;
  readonly input: ImageInput;
  /** What it shows, for those who do not see it. */
  readonly label: string;
  readonly decorative?: boolean;
}

/** An item of a model of images, pixel by pixel. */
export function Picture({ values, input, label, decorative = false }: PictureProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [, height, width] = input.shape;
  useLayoutEffect(() => {
    canvas.current?.getContext('2d')?.putImageData(imageDataOf(values, input), 0, 0);
  }, [values, input]);
  return (
    <canvas
      ref={canvas}
      class="picture"
      width={width}
      height={height}
      {...(decorative ? { 'aria-hidden': 'true' as const } : { role: 'img', 'aria-label': label })}
    />
  );
}
