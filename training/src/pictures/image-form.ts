import type { ImageInput } from '@elbo/models';

/** One form of a model's images to look at: numbers of the input's range as [0, 1], and no side too long. */
export class ImageForm {
  /** Channels, height, width of an image as it is shown. */
  readonly shape: readonly [number, number, number];
  readonly #input: ImageInput;
  readonly #factor: number;

  constructor(input: ImageInput, largestSide: number) {
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
}
