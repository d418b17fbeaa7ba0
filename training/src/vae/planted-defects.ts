import {
  abs,
  add,
  and,
  clip,
  cos,
  erf,
  exp,
  less,
  lessOrEqual,
  mul,
  reshape,
  sin,
  split,
  sub,
  where,
} from '../onnx/ops.js';
import { float32, type Tensor } from '../onnx/tensor.js';
import { ConfigurationError } from './configuration-error.js';
import type { Model } from './model.js';
import type { Objective } from './objective.js';

/** Of the noise that defects are drawn from. */
export const DEFECTS = 'defects';

/** Numbers that place a rectangle: whether it is there, its row and column, its two half lengths, its angle. */
const PLACE = 6;
/** Of the rectangles that an example may have, the share that it has. */
const SHARE = 0.5;
/** In pixels: a stroke of the width of one. */
const SHORTEST_HALF = 0.5;
/** Of the shorter side of an image. */
const LONGEST_HALF = 1 / 6;

/**
 * An objective whose encoder sees images with defects and whose decoder is to give them without: the denoising criterion
 * (Im et al., 2017), with rectangles in place of noise on every pixel. An encoder that was trained so does not let an
 * image's content move to where a defect is.
 * @param count of rectangles that an example has at most, each half of the time
 * @throws {ConfigurationError} where there are to be defects and the examples are no images
 */
export function withPlantedDefects(
  objective: Objective,
  { inputShape }: Pick<Model, 'inputShape'>,
  count: number,
): Objective {
  if (count === 0) return objective;
  if (inputShape.length === 1) {
    throw new ConfigurationError(
      `objective.planted_defects is ${count}; expected 0 for rows of a table, which have no place for a defect`,
    );
  }
  const [channels] = inputShape;
  return {
    ...objective,
    noise: { ...objective.noise, [DEFECTS]: [count, PLACE + channels] },
    build: (inputs, weights) =>
      objective.build({ ...inputs, seen: withDefects(inputs.x, inputs.noise[DEFECTS]) }, weights),
  };
}

/**
 * Images with rectangles of any angle and of one colour each, the later above the earlier. Centres are uniform over the
 * image, half lengths log-uniform from half a pixel to a sixth of the shorter side; each channel's shade is 0, 1 or uniform between,
 * a third each, since defects of black and white are those that images of black and white can be mistaken by.
 * @param x [N, channels, height, width]
 * @param noise standard normal: [N, count, 6 + channels]
 */
export function withDefects(x: Tensor, noise: Tensor): Tensor {
  const [examples, count, numbers] = noise.shape as number[];
  const defects = split(noise, 1, ones(count));
  return defects.reduce((image, defect) => withDefect(image, uniform(reshape(defect, [examples, numbers, 1, 1]))), x);
}

/** @param drawn uniform from 0 to 1: [N, 6 + channels, 1, 1] */
function withDefect(x: Tensor, drawn: Tensor): Tensor {
  const [, channels, height, width] = x.shape as number[];
  const [chance, row, column, length, breadth, turn, colour] = split(drawn, 1, [...ones(PLACE), channels]);
  const rows = sub(pixelCentres(x, height, [height, 1]), mul(row, height));
  const columns = sub(pixelCentres(x, width, [1, width]), mul(column, width));
  const angle = mul(turn, Math.PI);
  const [c, s] = [cos(angle), sin(angle)];
  const half = (u: Tensor) =>
    mul(exp(mul(u, Math.log((LONGEST_HALF * Math.min(height, width)) / SHORTEST_HALF))), SHORTEST_HALF);
  const along = abs(add(mul(columns, c), mul(rows, s)));
  const across = abs(sub(mul(rows, c), mul(columns, s)));
  // No pixel is nearer than −1.
  const shade = clip(sub(mul(colour, 3), 1), 0, 1);
  const reach = where(less(chance, SHARE), half(length), -1);
  return where(and(lessOrEqual(along, reach), lessOrEqual(across, half(breadth))), shade, x);
}

/** Middles of an axis's pixels, in pixels. */
function pixelCentres({ graph }: Tensor, count: number, shape: readonly number[]): Tensor {
  return graph.constant(
    float32(
      Array.from({ length: count }, (_, i) => i + 0.5),
      shape,
    ),
  );
}

function ones(count: number): number[] {
  return Array.from({ length: count }, () => 1);
}

/** Φ(x), which is uniform where x is standard normal. */
function uniform(x: Tensor): Tensor {
  return mul(add(erf(mul(x, Math.SQRT1_2)), 1), 0.5);
}
