import { type Condition, drawLabels, drawLatents, type LatentPrior, RandomSource } from '@elbo/models';
import { chunksOf, type Examples } from '../data/dataset.js';
import type { Program } from '../engines/engine.js';
import { oneHotRows, rowsPerRun } from '../evaluation/batches.js';
import { float32, type TensorData } from '../onnx/tensor.js';

/** What images are sampled by, as the service does: a decoder, z [N, Z] → x_mean [N, …shape], and the prior of z. */
export interface ImageSampler {
  readonly decoder: Program;
  readonly prior: LatentPrior;
  /** Of a conditional model, whose classes are drawn by their frequencies. */
  readonly condition?: Condition | undefined;
  /** Of one image. */
  readonly shape: readonly number[];
}

/**
 * Draws from the prior, decoded, a batch at a time: the expected images, clipped to 0 … 1.
 * @param seed of the draws; the latents are those that the service draws for it
 * @param drawsPixels whether each pixel becomes 1 with the probability that the decoder gives, else 0
 */
export async function* sampledImages(
  { decoder, prior, condition, shape }: ImageSampler,
  count: number,
  { seed, drawsPixels }: { readonly seed: number; readonly drawsPixels: boolean },
): AsyncGenerator<TensorData> {
  const { latentSize } = prior;
  const latents = drawLatents(prior, count, seed);
  const labels = condition && drawLabels(condition.frequencies, count, seed);
  const thresholds = RandomSource.derived(seed, 'pixels');
  const rows = rowsPerRun({ shape });
  for (let start = 0; start < count; start += rows) {
    const end = Math.min(start + rows, count);
    const z = float32(latents.subarray(start * latentSize, end * latentSize), [end - start, latentSize]);
    const { x_mean: means } = await decoder.run({
      z,
      ...(condition && labels && { label: oneHotRows(labels.slice(start, end), condition.classes) }),
    });
    const pixels = Float32Array.from(means.data as Float32Array, (mean) =>
      drawsPixels ? Number(thresholds.uniform() < mean) : Math.min(1, Math.max(0, mean)),
    );
    yield float32(pixels, [end - start, ...shape]);
  }
}

/** Whether every pixel is black or white. */
export async function areBinary(images: Examples): Promise<boolean> {
  const white = images.dtype === 'uint8' ? 255 : 1;
  for await (const { values } of chunksOf(images)) {
    for (const value of values) if (value !== 0 && value !== white) return false;
  }
  return true;
}
