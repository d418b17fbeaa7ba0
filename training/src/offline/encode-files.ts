import { type InputDescription, itemSize } from '@elbo/models';
import { joined } from '../evaluation/batches.js';
import { type NumericField, type RowBatch, wholeNumbers } from './row-batch.js';
import { checkOutputs } from './score-files.js';
import type { ServedModel } from './served-model.js';
import { type SourceBatch, type SourceOptions, sourceBatches } from './source-rows.js';

export type FileOptions = Omit<SourceOptions, 'input' | 'classes'>;

/**
 * The posterior of each row, as `POST /encode` gives it: `mean` and `log_variance`.
 * @throws {DataError} where a file cannot be read, or a number is not what the model takes
 */
export async function* encodeFiles(
  model: ServedModel,
  files: readonly string[],
  options: FileOptions,
): AsyncGenerator<RowBatch> {
  const { size } = model.manifest.latent;
  for await (const batch of batchesFor(model, files, options)) {
    const { means, logVariances } = await model.encode(batch.feeds);
    checkOutputs(batch, { mean: means, log_variance: logVariances });
    yield {
      count: batch.rows.length,
      fields: {
        ...placesOf(batch),
        mean: { kind: 'float32', size, values: means },
        log_variance: { kind: 'float32', size, values: logVariances },
      },
    };
  }
}

/**
 * Each row as the model sees it, as `POST /reconstruct` gives it: `x_mean`, decoded from the posterior mean.
 * @throws {DataError} as `encodeFiles`
 */
export async function* reconstructFiles(
  model: ServedModel,
  files: readonly string[],
  options: FileOptions,
): AsyncGenerator<RowBatch> {
  const { input } = model.manifest;
  for await (const batch of batchesFor(model, files, options)) {
    const { means } = await model.encode(batch.feeds);
    const expected = joined(await model.decode(means, batch.labels));
    checkOutputs(batch, { x_mean: expected });
    yield { count: batch.rows.length, fields: { ...placesOf(batch), x_mean: itemsField(input, expected) } };
  }
}

/** Items of a model's input, one a row. */
export function itemsField(input: InputDescription, values: Float32Array): NumericField {
  const names = input.kind === 'vector' ? input.columns?.map(({ name }) => name) : undefined;
  return {
    kind: 'float32',
    size: itemSize(input),
    values,
    ...(input.kind === 'image' && { shape: input.shape }),
    ...(names && { names }),
  };
}

const batchesFor = (model: ServedModel, files: readonly string[], options: FileOptions) =>
  sourceBatches(files, { ...options, input: model.manifest.input, classes: model.classes });

const placesOf = ({ sources, rows }: SourceBatch): RowBatch['fields'] => ({
  source: { kind: 'text', size: 1, values: sources },
  row: wholeNumbers(rows),
});
