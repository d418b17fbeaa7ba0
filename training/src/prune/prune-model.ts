import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type LoadedModel, type Manifest, readModel } from '@elbo/models';
import { DataError } from '../data/data-error.js';
import { type Dataset, splitValidation } from '../data/dataset.js';
import type { Engine } from '../engines/engine.js';
import { evaluate } from '../evaluation/evaluate.js';
import { readTrainedModel, trainedModel } from '../evaluation/trained-model.js';
import { exportModel } from '../export/exporter.js';
import { type Sparsity, sparsityOf } from '../nn/sparsity.js';
import { flopsOf } from '../onnx/flops.js';
import { binarises } from '../vae/configuration.js';
import { prune } from './prune.js';
import { compareSpeed, type Speed } from './speed.js';

export interface PruneOptions {
  /** `models/<name>/<version>` */
  readonly directory: string;
  /** Model store that the next version of the same name is written to. */
  readonly store: string;
  /** What the model was trained on: calibrates the scores of the smaller one, and measures it. */
  readonly dataset: Dataset;
  readonly engine: Engine;
  /** Weights of at most this magnitude count as 0. */
  readonly threshold?: number;
}

/** Of one model: what the smaller one is to be held against. */
export interface ModelCost {
  /** Of the three graphs. */
  readonly bytes: number;
  readonly weights: Sparsity;
  /** Of encoding and decoding one example. */
  readonly flops: number;
}

export interface PruneResult {
  /** Of the new version. */
  readonly directory: string;
  readonly manifest: Manifest;
  readonly removed: Readonly<Record<string, number>>;
  readonly before: ModelCost;
  readonly after: ModelCost;
  /** At a batch of one and of many. */
  readonly speed: readonly Speed[];
}

const BATCHES = [1, 128];

/**
 * Writes the next version of a model without the units that do nothing, calibrated and measured anew.
 * @throws {ModelStoreError} where the version cannot be read, {ConfigurationError} where its kind of model cannot be
 *   pruned, {DataError} where the data set is not the one that it was trained on, {ParityError} where the export does not
 *   compute what the smaller network does
 */
export async function pruneModel(options: PruneOptions): Promise<PruneResult> {
  const { directory, store, dataset, engine, threshold = 0 } = options;
  const { manifest, configuration, model, weights } = await readTrainedModel(directory);
  if (dataset.sha256 !== manifest.training.dataset.sha256) {
    throw new DataError(
      `${dataset.name} is not the data that ${manifest.name} ${manifest.version} was trained on (SHA-256 ${dataset.sha256}); expected ${manifest.training.dataset.name} with ${manifest.training.dataset.sha256}`,
    );
  }
  const smaller = prune(configuration, model, weights, threshold);
  const smallerModel = trainedModel(smaller.configuration, manifest);

  const { seed, validation_fraction: fraction } = configuration;
  const { train, validation } = splitValidation(dataset.train, fraction, seed);
  const binarise = binarises(configuration, train.dtype);
  const measured = {
    engine,
    model: smallerModel,
    weights: smaller.weights,
    metrics: ['elbo'],
    seed,
    binarise,
  } as const;
  const trained = sparsityOf(model.parameters, weights);
  const left = sparsityOf(smallerModel.parameters, smaller.weights);
  const exported = await exportModel(store, {
    engine,
    model: smallerModel,
    weights: smaller.weights,
    configuration: smaller.configuration,
    input: manifest.input,
    train,
    validation,
    training: { ...manifest.training, configuration: smaller.configuration },
    metrics: {
      ...(await evaluate({ ...measured, examples: validation, split: 'validation' })),
      ...(await evaluate({ ...measured, examples: dataset.test, split: 'test' })),
    },
    curves: await readFile(join(directory, 'training-curves.svg'), 'utf8'),
    prunedFrom: {
      name: manifest.name,
      version: manifest.version,
      threshold,
      weights: { before: countsOf(trained), after: countsOf(left) },
      compression: trained.weights / Math.max(1, left.non_zero),
    },
  });
  const before = await readModel(directory);
  const after = await readModel(exported.directory);
  return {
    directory: exported.directory,
    manifest: exported.manifest,
    removed: smaller.removed,
    before: costOf(before, trained),
    after: costOf(after, left),
    speed: await compareSpeed(engine, { before, after }, BATCHES),
  };
}

function countsOf({ weights, non_zero }: Sparsity): { stored: number; non_zero: number } {
  return { stored: weights, non_zero };
}

function costOf({ graphs }: LoadedModel, weights: Sparsity): ModelCost {
  return {
    bytes: Object.values(graphs).reduce((sum, graph) => sum + graph.byteLength, 0),
    weights,
    flops: flopsOf(graphs.encoder) + flopsOf(graphs.decoder),
  };
}
