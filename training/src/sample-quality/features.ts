import { ModelStoreError } from '@elbo/models';
import type { ClassifierRecord } from '../classifier/record.js';
import { DataError } from '../data/data-error.js';
import type { Program } from '../engines/engine.js';
import type { OnProgress } from '../evaluation/elbo.js';
import type { TensorData } from '../onnx/tensor.js';

/** Images as a classifier sees them: the numbers of its last hidden layer. */
export interface Features {
  readonly count: number;
  /** Numbers of one image. */
  readonly size: number;
  /** [count, size], row-major. */
  readonly values: Float32Array;
}

/** A classifier as `readClassifier` gives it. */
export interface FeatureNetwork {
  readonly record: ClassifierRecord;
  /** x [N, …] → features [N, record.features] */
  readonly program: Program;
}

/**
 * The features of images, of which one batch at a time is held.
 * @param images batches [n, …], `count` images in all
 * @throws {ModelStoreError} MANIFEST_INVALID where the graph gives no such features as the classifier's record says,
 *   {DataError} where a feature is not finite
 */
export async function featuresOf(
  { record, program }: FeatureNetwork,
  images: AsyncIterable<TensorData>,
  count: number,
  onProgress?: OnProgress,
): Promise<Features> {
  const size = record.features;
  const values = new Float32Array(count * size);
  let done = 0;
  for await (const x of images) {
    const [rows] = x.shape;
    const { features } = await program.run({ x });
    if (features?.shape.join() !== `${rows},${size}`) {
      throw new ModelStoreError(
        'MANIFEST_INVALID',
        `classifier ${record.name}/${record.version}: ${features === undefined ? 'there is no output features' : `features are [${features.shape.join(', ')}]`}; expected [${rows}, ${size}]`,
      );
    }
    values.set(features.data as Float32Array, done * size);
    done += rows;
    onProgress?.(done, count);
  }
  const wrong = values.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) {
    throw new DataError(
      `classifier ${record.name}/${record.version}: a feature of image ${Math.floor(wrong / size)} is ${values[wrong]}; expected finite numbers`,
    );
  }
  return { count, size, values };
}
