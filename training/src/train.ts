import { createHash } from 'node:crypto';
import { access, constants, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest } from '@elbo/models';
import { DataError } from './data/data-error.js';
import { type Dataset, type Examples, splitValidation } from './data/dataset.js';
import { loadDataset } from './data/datasets.js';
import type { Engine } from './engines/engine.js';
import { OnnxRuntimeEngine } from './engines/onnxruntime.js';
import { ElboEvaluator } from './evaluation/elbo.js';
import { evaluate } from './evaluation/evaluate.js';
import { MINIMUM_HELD_OUT } from './export/calibration.js';
import { exportModel } from './export/exporter.js';
import type { EpochRecord } from './pictures/training-curves.js';
import { momentsFor, preparedFor } from './prepared-data.js';
import { type BestWeights, CheckpointStore, type EpochSums } from './trainer/checkpoint.js';
import { type Progress, Trainer, TrainingError } from './trainer/trainer.js';
import { SKIPPED } from './trainer/training-graph.js';
import { binarises, type Configuration, parseConfiguration } from './vae/configuration.js';
import { buildModel, type Model } from './vae/model.js';
import { vaeObjective } from './vae/objective.js';

/** Between checkpoints, where nothing else is asked for: writing one takes some milliseconds. */
export const CHECKPOINT_SECONDS = 5;

export interface TrainOptions {
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
  /** Goes on from the newest checkpoint of an interrupted run of the same configuration and data. */
  readonly resume?: boolean;
  /**
   * Seconds between checkpoints; 0 writes one after every run of the graph, which takes about a second. A process that
   * is killed loses what it did since the last.
   */
  readonly checkpointSeconds?: number;
  /** When aborted, training stops after the steps in flight, leaves a checkpoint, and returns undefined. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  readonly onEpoch?: (record: EpochRecord) => void;
  /** Called when training is over and the weights of an epoch (from 1) are measured and exported. */
  readonly onExport?: (bestEpoch: number) => void;
}

export interface TrainResult {
  /** Of the new version. */
  readonly directory: string;
  readonly manifest: Manifest;
  /** Epoch, from 1, whose weights were exported: the one with the lowest validation −ELBO. */
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
  // Found out now rather than after hours of training.
  await mkdir(store, { recursive: true });
  await access(store, constants.W_OK);
  const { seed, validation_fraction: fraction } = configuration;
  const dataset = await preparedFor(
    configuration.likelihood,
    options.dataset ?? (await loadDataset(configuration.dataset, { dataDir: options.dataDir, seed })),
  );
  const { train: examples, validation } = splitValidation(dataset.train, fraction, seed);
  if (validation.count < MINIMUM_HELD_OUT) {
    throw new DataError(
      `${validation.count} validation examples (${fraction} of ${dataset.train.count}); expected at least ${MINIMUM_HELD_OUT} to calibrate scores: raise --limit or validation_fraction`,
    );
  }
  const checkpoints = new CheckpointStore(join(store, '.checkpoints', runName(configuration, dataset)));
  if (options.resume !== true) await checkpoints.begin();
  const { input } = dataset;
  const model = buildModel(configuration, input.shape, {
    dtype: examples.dtype,
    columns: input.kind === 'vector' ? input.columns : undefined,
    moments: await momentsFor(configuration.likelihood, examples),
    convolutions: engine.convolutions,
  });
  const run = await trainEpochs({ ...options, configuration, engine }, { model, examples, validation, checkpoints });
  if (run === undefined) return undefined;
  const { best, history } = run;
  options.onExport?.(best.epoch);

  const binarise = binarises(configuration, examples.dtype);
  const measured = { engine, model, weights: best.weights, metrics: ['elbo'], seed, binarise } as const;
  const exported = await exportModel(store, {
    engine,
    model,
    weights: best.weights,
    configuration,
    input,
    train: examples,
    validation,
    training: {
      configuration,
      dataset: {
        name: dataset.name,
        sha256: dataset.sha256,
        train_examples: examples.count,
        validation_examples: validation.count,
      },
      seed,
      engine: engine.name,
      device: engine.device,
      threads: engine.threads,
      epochs: configuration.epochs,
      steps: run.steps,
      skipped_steps: run.skippedSteps,
      started_at: run.startedAt,
      seconds: Math.round(run.seconds),
    },
    metrics: {
      ...(await evaluate({ ...measured, examples: validation, split: 'validation' })),
      ...(await evaluate({ ...measured, examples: dataset.test, split: 'test' })),
    },
    history,
  });
  await checkpoints.clear();
  return { ...exported, bestEpoch: best.epoch, secondsPerStep: run.secondsPerStep };
}

/** What training came to. */
interface TrainedRun {
  readonly best: BestWeights;
  readonly history: readonly EpochRecord[];
  readonly steps: number;
  readonly skippedSteps: number;
  readonly startedAt: string;
  /** Of all processes that the run took. */
  readonly seconds: number;
  /** In this one. */
  readonly secondsPerStep: number;
}

/**
 * Trains all epochs, with a checkpoint at the end of all.
 * @returns the weights that were best on the validation part, or undefined where the signal stopped the run
 */
async function trainEpochs(
  options: TrainOptions & { readonly engine: Engine },
  parts: { model: Model; examples: Examples; validation: Examples; checkpoints: CheckpointStore },
): Promise<TrainedRun | undefined> {
  const { configuration, engine, checkpointSeconds = CHECKPOINT_SECONDS } = options;
  const { model, examples, validation, checkpoints } = parts;
  const resumedAt = Date.now();
  let startedAt = new Date(resumedAt).toISOString();
  const trainer = await Trainer.create(engine, vaeObjective(model, configuration), configuration, examples);
  const evaluator = await ElboEvaluator.create(engine, model, {
    examples: validation,
    seed: configuration.seed,
    binarise: binarises(configuration, examples.dtype),
  });
  try {
    const history: EpochRecord[] = [];
    let best: BestWeights | undefined;
    let epoch = NOTHING;
    let secondsBefore = 0;
    if (options.resume === true) {
      const checkpoint = await checkpoints.latest();
      trainer.restore(checkpoint.trainer);
      history.push(...checkpoint.history);
      best = checkpoint.best;
      epoch = checkpoint.epoch;
      startedAt = checkpoint.startedAt;
      secondsBefore = checkpoint.seconds;
    }
    const seconds = () => secondsBefore + (Date.now() - resumedAt) / 1000;
    const stepsBefore = trainer.step;
    let savedAt = Date.now();
    const save = async () => {
      await checkpoints.save({ trainer: trainer.state, best, epoch, history, startedAt, seconds: seconds() });
      savedAt = Date.now();
    };
    const saveSometimes = async () => {
      if (Date.now() - savedAt >= checkpointSeconds * 1000) await save();
    };

    // From here on there is something to go on from, whatever ends the process.
    if (options.resume !== true) await save();
    while (trainer.step < trainer.totalSteps) {
      for await (const progress of trainer.runEpoch()) {
        epoch = added(epoch, progress);
        options.onProgress?.(progress);
        // At the end of an epoch its evaluation comes first.
        if (trainer.step % trainer.stepsPerEpoch === 0) continue;
        if (options.signal?.aborted) {
          await save();
          return undefined;
        }
        await saveSometimes();
      }
      const trained = means(epoch);
      epoch = NOTHING;
      const { negativeElbo, reconstruction, kl, latent } = await evaluator.evaluate(trainer.weights);
      const record = {
        epoch: trainer.epoch,
        train: trained,
        validation: { loss: negativeElbo, reconstruction, kl },
        activeUnits: latent.activeUnits,
      };
      history.push(record);
      if (negativeElbo < (best?.negativeElbo ?? Number.POSITIVE_INFINITY)) {
        best = { epoch: trainer.epoch, negativeElbo, weights: copyOf(trainer.weights) };
      }
      options.onEpoch?.(record);
      if (options.signal?.aborted) {
        await save();
        return undefined;
      }
      await saveSometimes();
    }
    if (best === undefined) {
      throw new TrainingError(
        'the validation −ELBO was not finite after any epoch; try a lower optimiser.learning_rate or optimiser.gradient_norm_limit',
      );
    }

    // Should the export fail, --resume goes on from here.
    await save();
    const total = seconds();
    return {
      best,
      history,
      steps: trainer.totalSteps,
      skippedSteps: trainer.skippedSteps,
      startedAt,
      seconds: total,
      secondsPerStep: (total - secondsBefore) / Math.max(1, trainer.step - stepsBefore),
    };
  } finally {
    await trainer.release();
    await evaluator.release();
  }
}

const NOTHING: EpochSums = { steps: 0, loss: 0, reconstruction: 0, kl: 0 };

/** Step by step, so that the sums do not depend on how many steps a run of the graph takes. */
function added(sums: EpochSums, { values }: Progress): EpochSums {
  const next = { ...sums };
  for (const [i, skipped] of values[SKIPPED].entries()) {
    if (skipped !== 0) continue;
    next.steps += 1;
    next.loss += values.loss[i];
    next.reconstruction += values.reconstruction[i];
    next.kl += values.kl[i];
  }
  return next;
}

function means({ steps, loss, reconstruction, kl }: EpochSums): EpochRecord['train'] {
  return { loss: loss / steps, reconstruction: reconstruction / steps, kl: kl / steps };
}

/** Runs of another configuration or other data have other checkpoints, so that none overwrites or continues another's. */
function runName(configuration: Configuration, dataset: Dataset): string {
  const run = createHash('sha256').update(JSON.stringify(configuration)).update(dataset.sha256).digest('hex');
  return `${configuration.name}-${run.slice(0, 16)}`;
}

function copyOf(weights: ReadonlyMap<string, Float32Array>): Map<string, Float32Array> {
  return new Map([...weights].map(([name, values]) => [name, values.slice()]));
}
