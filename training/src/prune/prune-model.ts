import { type LoadedModel, type Manifest, readModel } from '@elbo/models';
import { readTrainedModel, trainedModel } from '../evaluation/trained-model.js';
import { checkTrainedOn, type ExportAgainOptions, exportAgain } from '../export-again.js';
import { type Sparsity, sparsityOf } from '../nn/sparsity.js';
import { flopsOf } from '../onnx/flops.js';
import { prune } from './prune.js';
import { compareSpeed, type Speed } from './speed.js';

export interface PruneOptions extends ExportAgainOptions {
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
  const { directory, dataset, engine, threshold = 0 } = options;
  const original = await readTrainedModel(directory);
  const { manifest, configuration, model, weights } = original;
  checkTrainedOn(dataset, manifest);
  const smaller = prune(configuration, model, weights, threshold);
  const trained = sparsityOf(model.parameters, weights);
  const left = sparsityOf(trainedModel(smaller.configuration, manifest).parameters, smaller.weights);
  const exported = await exportAgain(options, original, {
    configuration: smaller.configuration,
    weights: smaller.weights,
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
