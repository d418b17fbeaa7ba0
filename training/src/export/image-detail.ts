import { quantileSorted } from 'simple-statistics';
import { type Examples, spread } from '../data/dataset.js';
import type { Engine } from '../engines/engine.js';
import { runOverExamples } from '../evaluation/batches.js';
import { encodeModel } from '../onnx/encode.js';
import { Graph } from '../onnx/graph.js';
import { abs, add, concat, div, flatten, reduceMean, reduceSum, slice, square, sub } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';

/**
 * How much there is to see in an image, in two ways. `contrast` is the sum of squared distances of its pixels to its mean;
 * `variation` the sum of differences between pixels beside and below each other. Both are 0 where all pixels are alike.
 */
export interface ImageDetail<Value> {
  readonly contrast: Value;
  readonly variation: Value;
}

/** Images that say what detail is usual, at most. */
const MEASURED_IMAGES = 10_000;
/** Added to an image's own detail, as a share of what is usual: the nats of an empty image are not divided by nothing. */
const LEAST_SHARE = 0.1;
/** Where even usual images are empty. */
const LEAST_DETAIL = 1e-3;

/** Of each image: [N, channels, height, width] → [N]. */
export function imageDetail(x: Tensor): ImageDetail<Tensor> {
  const differences = [2, 3].map((axis) => abs(sub(followers(x, axis), x)));
  return {
    contrast: reduceSum(flatten(square(sub(x, reduceMean(x, [2, 3], true)))), [1]),
    variation: reduceSum(flatten(add(differences[0], differences[1])), [1]),
  };
}

/** The median of training images. */
export async function usualDetailOf(engine: Engine, images: Examples): Promise<ImageDetail<number>> {
  const graph = new Graph('detail');
  const { contrast, variation } = imageDetail(graph.input('x', 'float32', ['N', ...images.shape]));
  graph.output(contrast, 'contrast');
  graph.output(variation, 'variation');
  const program = await engine.load(encodeModel(graph));
  const measured = await runOverExamples(program, spread(images, MEASURED_IMAGES), ['contrast', 'variation']).finally(
    () => program.release(),
  );
  const median = (values: Float32Array) => quantileSorted(Array.from(values.sort()), 0.5);
  return { contrast: median(measured.contrast), variation: median(measured.variation) };
}

/** Nats by the detail of their image: what is simple takes few, whether it is usual or not. [N] each. */
export function byDetail(nats: Tensor, detail: Tensor, usual: number): Tensor {
  return div(nats, add(detail, Math.max(LEAST_SHARE * usual, LEAST_DETAIL)));
}

/** The element that follows each along an axis; the last follows itself, so that sums are over as many as before. */
function followers(x: Tensor, axis: number): Tensor {
  const length = Number(x.shape[axis]);
  if (length === 1) return x;
  return concat([slice(x, axis, 1, length), slice(x, axis, length - 1, length)], axis);
}
