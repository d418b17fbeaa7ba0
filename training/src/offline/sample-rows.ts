import { joined } from '../evaluation/batches.js';
import { itemsField } from './encode-files.js';
import { type RowBatch, wholeNumbers } from './row-batch.js';
import type { ServedModel } from './served-model.js';

/** Samples that are decoded and written at a time. */
const ROWS_PER_BATCH = 1024;

export interface SampleOptions {
  readonly count: number;
  readonly seed: number;
  /** Of the latents: their standard deviation, in those of the prior. */
  readonly temperature: number;
  /** Of a conditional model: the class of all samples; as often as in training where left out. */
  readonly label?: number | undefined;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Draws from the prior and decodes, as `POST /sample` does for the same seed: `label`, `latent` and `x_mean`. */
export async function* sampleRows(
  model: ServedModel,
  { count, seed, temperature, label, onProgress }: SampleOptions,
): AsyncGenerator<RowBatch> {
  const { latent, condition, input } = model.manifest;
  const { size } = latent;
  const latents = model.drawFromPrior(count, seed, temperature);
  const labels = condition && label !== undefined ? new Int32Array(count).fill(label) : model.drawClasses(count, seed);
  for (let start = 0; start < count; start += ROWS_PER_BATCH) {
    const end = Math.min(count, start + ROWS_PER_BATCH);
    const z = latents.slice(start * size, end * size);
    const classes = labels?.slice(start, end);
    yield {
      count: end - start,
      fields: {
        ...(classes && { label: wholeNumbers(classes) }),
        latent: { kind: 'float32', size, values: z },
        x_mean: itemsField(input, joined(await model.decode(z, classes))),
      },
    };
    onProgress?.(end, count);
  }
}
