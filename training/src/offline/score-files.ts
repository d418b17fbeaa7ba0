import { conformalPValue, type LoadedModel, thresholdAt } from '@elbo/models';
import { DataError } from '../data/data-error.js';
import { type RowBatch, scalars, wholeNumbers } from './row-batch.js';
import type { ServedModel } from './served-model.js';
import { type SourceBatch, type SourceOptions, sourceBatches } from './source-rows.js';

export interface ScoreOptions extends Omit<SourceOptions, 'input' | 'classes'> {
  /** Of the threshold; the model's default where left out. */
  readonly falsePositiveRate?: number | undefined;
}

/**
 * Scores the rows of files, as `POST /anomaly-score` does: `source`, `row`, `score`, `p_value`, `is_anomaly` and the
 * components of each.
 * @throws {DataError} where a file cannot be read, a number is not what the model takes, or the rate cannot be stated
 */
export async function* scoreFiles(
  model: ServedModel,
  { manifest, calibrationScores }: Pick<LoadedModel, 'manifest' | 'calibrationScores'>,
  files: readonly string[],
  options: ScoreOptions,
): AsyncGenerator<RowBatch> {
  const { input, calibration } = manifest;
  const rate = options.falsePositiveRate ?? calibration.default_false_positive_rate;
  let threshold: number;
  try {
    threshold = thresholdAt(calibration, calibrationScores, rate);
  } catch (error) {
    throw new DataError((error as Error).message, { cause: error });
  }
  for await (const batch of sourceBatches(files, { ...options, input, classes: model.classes })) {
    const { sources, rows } = batch;
    const { scores, components } = await model.score(batch.feeds);
    checkOutputs(batch, { score: scores, ...components });
    yield {
      count: rows.length,
      fields: {
        source: { kind: 'text', size: 1, values: sources },
        row: wholeNumbers(rows),
        score: scalars(scores),
        p_value: {
          kind: 'float64',
          size: 1,
          values: Float64Array.from(scores, (score) => conformalPValue(calibrationScores, score)),
        },
        is_anomaly: { kind: 'bool', size: 1, values: Uint8Array.from(scores, (score) => (score > threshold ? 1 : 0)) },
        ...Object.fromEntries(
          Object.entries(components).map(([name, values]) => [`components.${name}`, scalars(values)]),
        ),
      },
    };
  }
}

/** @throws {DataError} naming the first row that a graph has no finite answer to */
export function checkOutputs(
  { sources, rows }: Pick<SourceBatch, 'sources' | 'rows'>,
  outputs: Readonly<Record<string, Float32Array>>,
): void {
  for (const [name, values] of Object.entries(outputs)) {
    const at = values.findIndex((value) => !Number.isFinite(value));
    if (at === -1) continue;
    const row = Math.floor(at / (values.length / rows.length));
    throw new DataError(
      `${sources[row]}: the model's ${name} of row ${rows[row]} is ${values[at]}; expected an input that is less extreme`,
    );
  }
}
