import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest, PruningRecord } from '@elbo/models';
import { DataError } from './data/data-error.js';
import { classNamesOf, type Dataset, splitHeldOut } from './data/dataset.js';
import type { Engine } from './engines/engine.js';
import { evaluate } from './evaluation/evaluate.js';
import { readTrainedModel, type TrainedModel, trainedModel } from './evaluation/trained-model.js';
import { exportModel } from './export/exporter.js';
import { weightsInPrecision } from './export/weight-precision.js';
import type { WeightValues } from './nn/parameters.js';
import { binarises, type Configuration, parseConfiguration } from './vae/configuration.js';

export interface ExportAgainOptions {
  /** `models/<name>/<version>` */
  readonly directory: string;
  /** Model store that the next version is written to. */
  readonly store: string;
  /** What the model was trained on: calibrates the scores, and measures the new version. */
  readonly dataset: Dataset;
  readonly engine: Engine;
  /** Told how far long work is, and what it is. */
  readonly onProgress?: ((done: number, total: number, text: string) => void) | undefined;
}

/** @throws {DataError} where the data set is not the one that the model was trained on */
export function checkTrainedOn(dataset: Dataset, { name, version, training }: Manifest): void {
  if (dataset.sha256 === training.dataset.sha256) return;
  throw new DataError(
    `${dataset.name} is not the data that ${name} ${version} was trained on (SHA-256 ${dataset.sha256}); expected ${training.dataset.name} with ${training.dataset.sha256}`,
  );
}

/**
 * Exports a model of the store anew, from weights that may have changed: calibrated and measured as after training.
 * @param changed what is exported in place of what the version holds
 * @throws {ParityError} where the export does not compute what the network does
 */
export async function exportAgain(
  { directory, store, dataset, engine, onProgress }: ExportAgainOptions,
  original: Pick<TrainedModel, 'manifest' | 'weights'>,
  changed: {
    readonly configuration: Configuration;
    readonly weights: WeightValues;
    readonly prunedFrom?: PruningRecord;
  },
): Promise<{ directory: string; manifest: Manifest; parity: number }> {
  const { manifest } = original;
  const { configuration } = changed;
  const model = trainedModel(configuration, manifest);
  const weights = weightsInPrecision(model, changed.weights, configuration.weight_precision);
  const { seed } = configuration;
  const { train, validation } = splitHeldOut(dataset.train, configuration);
  const binarise = binarises(configuration, train.dtype);
  const measured = { engine, model, weights, metrics: ['elbo'], seed, binarise } as const;
  return exportModel(store, {
    engine,
    model,
    weights,
    configuration,
    input: manifest.input,
    train,
    validation,
    classNames: classNamesOf(dataset),
    onProgress,
    training: { ...manifest.training, configuration },
    metrics: {
      // What was measured of these weights holds for them still.
      ...(areSame(weights, original.weights) && manifest.metrics),
      ...(await evaluate({ ...measured, examples: validation, split: 'validation' })),
      ...(await evaluate({ ...measured, examples: dataset.test, split: 'test' })),
    },
    curves: await readFile(join(directory, 'training-curves.svg'), 'utf8'),
    ...(changed.prunedFrom && { prunedFrom: changed.prunedFrom }),
  });
}

function areSame(weights: WeightValues, others: WeightValues): boolean {
  return (
    weights.size === others.size &&
    [...weights].every(([name, values]) => {
      const other = others.get(name);
      return other?.length === values.length && values.every((value, i) => value === other[i]);
    })
  );
}

/**
 * Writes the next version of a model with another precision of its weights, or under another name.
 * @throws {ModelStoreError} where the version cannot be read, {ConfigurationError} where Elbo did not train it or the name is none, {DataError}
 *   where the data set is not the one that it was trained on, {ParityError}
 */
export async function exportWith(
  options: ExportAgainOptions & Partial<Pick<Configuration, 'name' | 'weight_precision' | 'reference_points'>>,
): Promise<{ directory: string; manifest: Manifest; parity: number }> {
  const trained = await readTrainedModel(options.directory);
  checkTrainedOn(options.dataset, trained.manifest);
  const { configuration } = trained;
  const {
    name = configuration.name,
    weight_precision = configuration.weight_precision,
    reference_points = configuration.reference_points,
  } = options;
  const { pruned_from: prunedFrom } = trained.manifest;
  return exportAgain(options, trained, {
    // A name that is none is refused before minutes of measuring.
    configuration: parseConfiguration({ ...configuration, name, weight_precision, reference_points }),
    weights: trained.weights,
    ...(prunedFrom && { prunedFrom }),
  });
}
