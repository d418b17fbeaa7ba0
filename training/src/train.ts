import type { Manifest } from '@elbo/models';
import { DataError } from './data/data-error.js';
import { classCount, classNamesOf, type Dataset, type Examples, splitHeldOut } from './data/dataset.js';
import { loadDataset } from './data/datasets.js';
import type { Engine } from './engines/engine.js';
import { OnnxRuntimeEngine } from './engines/onnxruntime.js';
import { ElboEvaluator, negativeLogLikelihood } from './evaluation/elbo.js';
import { evaluate } from './evaluation/evaluate.js';
import { MINIMUM_HELD_OUT } from './export/calibration.js';
import { exportModel } from './export/exporter.js';
import { trainedWeights } from './export/trained-weights.js';
import { weightsInPrecision } from './export/weight-precision.js';
import type { WeightValues } from './nn/parameters.js';
import { curvesOf, type EpochRecord, trainingCurves } from './pictures/training-curves.js';
import { momentsFor, preparedFor } from './prepared-data.js';
import { startFrom, startingWith } from './start-from.js';
import type { CheckpointStore } from './trainer/checkpoint.js';
import { checkpointsIn, type EpochOptions, type TrainedRun, trainEpochs, trainingRecord } from './trainer/epochs.js';
import { meanNetwork } from './trainer/mean-network.js';
import { Trainer } from './trainer/trainer.js';
import {
  binarises,
  type Configuration,
  ConfigurationError,
  parseConfiguration,
  withoutDropout,
} from './vae/configuration.js';
import { withZerosKept } from './vae/kept-zeros.js';
import { buildModel, type Model } from './vae/model.js';
import { vaeObjective } from './vae/objective.js';

export interface TrainOptions extends EpochOptions<EpochRecord> {
  /** A preset by `loadPreset`, changed or not. */
  readonly configuration: Configuration;
  /** The model store that the version is written to, a directory. */
  readonly store: string;
  /** Instead of the one that the configuration names. */
  readonly dataset?: Dataset;
  /** Where the data set that the configuration names lies; generated ones need none. */
  readonly dataDir?: string;
  /** ONNX Runtime on all cores unless given. */
  readonly engine?: Engine;
  /** Directory of a version whose weights training starts from, where its network has parameters of the same name. */
  readonly from?: string | undefined;
  /** Whether weights that are 0 in `from`, as pruning leaves them, stay 0. */
  readonly keepZeros?: boolean | undefined;
  /** Called when training is over and the weights of an epoch (from 1) are measured and exported. */
  readonly onExport?: (bestEpoch: number) => void;
  /** Called while the export does what takes long. */
  readonly onExportProgress?: (done: number, total: number, text: string) => void;
}

export interface TrainResult {
  /** Of the new version. */
  readonly directory: string;
  readonly manifest: Manifest;
  /**
   * Epoch, from 1, whose weights were exported: the one with the lowest validation −ELBO, of importance samples the lowest
   * bound by as many, of an autoencoder the lowest reconstruction, and the last of a vae-gan, whose −ELBO of pixels does not say how good samples are. With variational
   * dropout the KL of the weights counts too, an example's share of it, and no epoch of its warm-up is chosen: an epoch
   * that has pruned little would often be better on the validation part.
   */
  readonly bestEpoch: number;
  /** Largest difference between the exported graphs and the trained one. */
  readonly parity: number;
  readonly secondsPerStep: number;
}

/**
 * A whole run: split off a validation part, train, keep the weights that are best on it, export them with the −ELBO
 * of the test part.
 * @returns what was written, or undefined where the signal stopped the run
 * @throws {ConfigurationError} where the configuration does not suit the data, {DataError} where the data is unusable or
 *   too small, {TrainingError} where the loss diverges, {CheckpointError} where `resume` finds nothing to go on from or,
 *   without it, there is an interrupted run to go on from, {ParityError} where an export does not compute what was trained
 */
export async function train(options: TrainOptions): Promise<TrainResult | undefined> {
  const { store, engine = new OnnxRuntimeEngine() } = options;
  const configuration = parseConfiguration(options.configuration);
  const { seed } = configuration;
  const dataset = await preparedFor(
    configuration.likelihood,
    options.dataset ?? (await loadDataset(configuration.dataset, { dataDir: options.dataDir, seed })),
  );
  const { train: examples, validation } = splitHeldOut(dataset.train, configuration);
  if (validation.count < MINIMUM_HELD_OUT) {
    throw new DataError(
      `${validation.count} validation examples of ${dataset.train.count}; expected at least ${MINIMUM_HELD_OUT}, to calibrate scores: give more data or a larger --limit`,
    );
  }
  const start = options.from === undefined ? undefined : await startFrom(options.from, configuration, dataset);
  const { keepZeros = false } = options;
  if (keepZeros && (start === undefined || configuration.dropout.kind !== 'none')) {
    throw new ConfigurationError(
      start === undefined
        ? '--keep-zeros is given; expected --from MODEL with it, whose zeros are kept'
        : `--keep-zeros is given and dropout.kind is ${configuration.dropout.kind}; expected --set dropout.kind=none, since noisy weights are not 0`,
    );
  }
  const identity = { ...configuration, ...(start && { from: start.version }), ...(keepZeros && { keepZeros }) };
  const checkpoints = await checkpointsIn<EpochRecord>(store, identity, dataset, options.resume);
  const { input } = dataset;
  const modelOptions = {
    dtype: examples.dtype,
    columns: input.kind === 'vector' ? input.columns : undefined,
    classes: classesOf(dataset),
    moments: await momentsFor(configuration.likelihood, examples),
    convolutions: engine.convolutions,
  };
  const untrained = buildModel(configuration, input.shape, modelOptions);
  const model = start === undefined ? untrained : startingWith(untrained, start.weights);
  // What is evaluated and exported knows no noise.
  const plain = buildModel(withoutDropout(configuration), input.shape, modelOptions);
  const run = await trainModel(
    { ...options, configuration, engine },
    { model, plain, examples, validation, checkpoints, ...(keepZeros && start && { zerosOf: start.weights }) },
  );
  if (run === undefined) return undefined;
  const { best } = run;
  options.onExport?.(best.epoch);

  const exact = await trainedWeights(engine, plain, best.weights, { configuration, train: examples });
  const trained = {
    model: buildModel(configuration, input.shape, { ...modelOptions, isTrained: true }),
    weights: weightsInPrecision(plain, exact, configuration.weight_precision),
  };
  const binarise = binarises(configuration, examples.dtype);
  const measured = { engine, ...trained, metrics: ['elbo'], seed, binarise } as const;
  const exported = await exportModel(store, {
    engine,
    ...trained,
    configuration,
    input,
    train: examples,
    validation,
    classNames: classNamesOf(dataset),
    onProgress: options.onExportProgress,
    training: {
      ...trainingRecord(configuration, dataset, { examples, validation }, engine, run),
      ...(start && { started_from: start.version, ...(keepZeros && { kept_zeros: true as const }) }),
    },
    metrics: {
      ...(await evaluate({ ...measured, examples: validation, split: 'validation' })),
      ...(await evaluate({ ...measured, examples: dataset.test, split: 'test' })),
    },
    curves: trainingCurves(run.history, curvesOf(plain)),
  });
  await checkpoints.clear();
  return { ...exported, bestEpoch: best.epoch, secondsPerStep: run.secondsPerStep };
}

/** How many classes the data have; a class that only the test part has is one, too. Undefined where a part has none. */
function classesOf({ train, test }: Dataset): number | undefined {
  if (train.labels === undefined || test.labels === undefined) return undefined;
  return Math.max(classCount(train), classCount(test));
}

/**
 * Trains all epochs and measures each on the validation part, as the network without noise.
 * @returns the weights of that network that were best, or undefined where the signal stopped the run
 */
async function trainModel(
  options: TrainOptions & { readonly engine: Engine },
  parts: {
    readonly model: Model;
    readonly plain: Model;
    readonly examples: Examples;
    readonly validation: Examples;
    readonly checkpoints: CheckpointStore<EpochRecord>;
    /** Weights whose zeros stay. */
    readonly zerosOf?: WeightValues;
  },
): Promise<TrainedRun<EpochRecord> | undefined> {
  const { configuration, engine } = options;
  const { model, plain, examples, validation, checkpoints, zerosOf } = parts;
  const free = vaeObjective(model, configuration, examples.count);
  const objective = zerosOf === undefined ? free : withZerosKept(free, zerosOf);
  const trainer = await Trainer.create(engine, objective, configuration, examples);
  const network = await meanNetwork(engine, model, plain, {
    dropout: configuration.dropout,
    examples: examples.count,
  });
  const heldOut = {
    examples: validation,
    seed: configuration.seed,
    binarise: binarises(configuration, examples.dtype),
  };
  const evaluator = await ElboEvaluator.create(engine, plain, heldOut);
  const { importance_samples: samples } = configuration.objective;
  const measure = async ({ loss, reconstruction, kl = 0 }: Readonly<Record<string, number>>) => {
    const { weights, penalty, summary } = await network.of(trainer.weights, trainer.step / trainer.totalSteps);
    const measured = await evaluator.evaluate(weights);
    // What an importance-weighted objective lowers; its −ELBO rises, since the posterior spreads (Rainforth et al., 2018).
    const bound =
      samples > 1
        ? (await negativeLogLikelihood(engine, plain, weights, heldOut, { samples })).negativeLogLikelihood
        : undefined;
    const record: EpochRecord = {
      epoch: trainer.epoch,
      train: { loss, reconstruction, kl },
      validation: { loss: measured.negativeElbo, reconstruction: measured.reconstruction, kl: measured.kl },
      ...(bound !== undefined && { bound }),
      activeUnits: measured.latent.activeUnits,
      latentSize: model.latentSize,
      ...(summary && { weights: summary }),
    };
    // A generator has no loss that falls as its samples become better: the last epoch with a finite one is kept.
    const isLater = configuration.family === 'vae-gan' && Number.isFinite(measured.negativeElbo);
    return { record, loss: isLater ? -trainer.epoch : (bound ?? measured.negativeElbo) + penalty, weights };
  };
  try {
    return await trainEpochs(trainer, checkpoints, objective.terms, measure, options);
  } finally {
    await trainer.release();
    await network.release();
    await evaluator.release();
  }
}
