import { gather, pad, reshape } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';

/** A position outside the image, where a zero is read. For Gather it is the last row: the one that `pickRows` adds. */
const OUTSIDE = -1;

/** The positions that are read along one axis, for each place of the result in turn; those below 0 are zeros. */
export type Reads = readonly (readonly number[])[];

/**
 * @param places how many places the result has
 * @param taps how many positions each reads
 * @param position what tap `tap` of place `place` reads; outside [0, length) a zero
 */
export function reads(
  length: number,
  places: number,
  taps: number,
  position: (place: number, tap: number) => number,
): Reads {
  return Array.from({ length: places }, (_, place) =>
    Array.from({ length: taps }, (_, tap) => {
      const at = position(place, tap);
      return at >= 0 && at < length ? at : OUTSIDE;
    }),
  );
}

/**
 * A patch of the image for every place of the result.
 * @param x [N, height, width, channels], all fixed
 * @returns [N · places, taps · channels], both counted row by row
 */
export function gatherPatches(x: Tensor, rows: Reads, columns: Reads): Tensor {
  const [count, height, width, channels] = x.shape as number[];
  const picked = pickRows(reshape(x, [count, height * width, channels]), patchPixels(rows, columns, width));
  return reshape(picked, [count * rows.length * columns.length, rows[0].length * columns[0].length * channels]);
}

/** The pixels of every patch in turn, as numbers in an image of that width. */
export function patchPixels(rows: Reads, columns: Reads, width: number): number[] {
  return rows.flatMap((ys) =>
    columns.flatMap((xs) => ys.flatMap((y) => xs.map((x) => (y < 0 || x < 0 ? OUTSIDE : y * width + x)))),
  );
}

/** Rows of [N, rows, channels] by number, the same of each item; a number below 0 is a row of zeros. */
export function pickRows(x: Tensor, numbers: readonly number[]): Tensor {
  if (numbers.length === x.shape[1] && numbers.every((number, i) => number === i)) return x;
  const source = numbers.includes(OUTSIDE) ? pad(x, 1, 0, 1) : x;
  return gather(
    source,
    x.graph.constant({ dtype: 'int32', shape: [numbers.length], data: Int32Array.from(numbers) }),
    1,
  );
}
