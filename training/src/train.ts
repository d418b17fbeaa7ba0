import { createHash } from 'node:crypto';
import { access, constants, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest } from '@elbo/models';
import { DataError } from './data/data-error.js';
import { type Dataset, meanPerFeature, splitValidation } from './data/dataset.js';
import type { Engine } from './engines/engine.js';
import { inBytes } from './evaluation/batches.js';
import { ElboEvaluator } from './evaluation/elbo.js';
import { evaluate } from './evaluation/evaluate.js';
import { MINIMUM_HELD_OUT } from './export/calibration.js';
import { exportModel } from './export/exporter.js';
import type { EpochRecord } from './pictures/training-curves.js';
import {
  type BestWeights,
  type Checkpoint,
  CheckpointError,
  type EpochSums,
  readCheckpoint,
  writeCheckpoint,
} from './trainer/checkpoint.js';
import { type Progress, Trainer } from './trainer/trainer.js';
import type { Configuration } from './vae/configuration.js';
import { buildModel } from './vae/model.js';

/** Between checkpoints; an interrupted run writes one at once. */
const CHECKPOINT_SECONDS = 60;

export interface TrainOptions {
  readonly engine: Engine;
  readonly configuration: Configuration;
  readonly dataset: Dataset;
  /** The model store that the version is written to. */
  readonly store: string;
  /** Goes on from the checkpoint of an interrupted run of the same configuration and data. */
  readonly resume?: boolean;
  /** When aborted, training stops after the steps in flight, leaves a checkpoint, and returns undefined. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  readonly onEpoch?: (record: EpochRecord) => void;
}

export interface TrainResult {
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
 * @throws {DataError} where the data is too small, {TrainingError} where the loss diverges, {CheckpointError} where
 *   `resume` finds nothing to go on from, {ParityError} where an export does not compute what was trained
 */
export async function train(options: TrainOptions): Promise<TrainResult | undefined> {
  const { engine, configuration, dataset } = options;
  const { input } = dataset;
  if (input.kind !== 'image') throw new DataError(`${dataset.name}: the data are vectors; expected images`);
  // Found out now rather than after hours of training.
  await mkdir(options.store, { recursive: true });
  await access(options.store, constants.W_OK);
  const { train: examples, validation } = splitValidation(
    dataset.train,
    configuration.validation_fraction,
    configuration.seed,
  );
  if (validation.count < MINIMUM_HELD_OUT) {
    throw new DataError(
      `${validation.count} validation examples (${configuration.validation_fraction} of ${dataset.train.count}); expected at least ${MINIMUM_HELD_OUT} to calibrate scores: raise --limit or validation_fraction`,
    );
  }
  const model = buildModel(configuration, input.shape, (await meanPerFeature(examples)).mean);
  const resumedAt = Date.now();
  let startedAt = new Date(resumedAt).toISOString();
  const checkpointPath = join(options.store, '.checkpoints', checkpointName(configuration, dataset));

  const trainer = await Trainer.create(engine, model, configuration, await inBytes(examples));
  const evaluator = await ElboEvaluator.create(engine, model, await inBytes(validation), configuration.seed);
  const history: EpochRecord[] = [];
  let best: BestWeights | undefined;
  let epoch = NOTHING;
  let secondsBefore = 0;
  if (options.resume === true) {
    const checkpoint = await readCheckpoint(checkpointPath);
    trainer.restore(checkpoint.trainer);
    history.push(...checkpoint.history);
    best = checkpoint.best;
    epoch = checkpoint.epoch;
    startedAt = checkpoint.startedAt;
    secondsBefore = checkpoint.seconds;
  }
  const seconds = () => secondsBefore + (Date.now() - resumedAt) / 1000;
  const stepsBefore = trainer.step;
  const save = () => {
    const checkpoint: Checkpoint = { trainer: trainer.state, best, epoch, history, startedAt, seconds: seconds() };
    return writeCheckpoint(checkpointPath, checkpoint);
  };

  try {
    let savedAt = Date.now();
    while (trainer.step < trainer.totalSteps) {
      for await (const progress of trainer.runEpoch()) {
        epoch = added(epoch, progress);
        options.onProgress?.(progress);
        // At the end of an epoch its evaluation comes first.
        if (options.signal?.aborted && trainer.step % trainer.stepsPerEpoch !== 0) {
          await save();
          return undefined;
        }
      }
      const trained = means(epoch);
      epoch = NOTHING;
      const { negativeElbo, reconstruction, kl } = await evaluator.evaluate(trainer.weights);
      const record = {
        epoch: trainer.epoch,
        train: trained,
        validation: { loss: negativeElbo, reconstruction, kl },
      };
      history.push(record);
      if (best === undefined || negativeElbo < best.negativeElbo) {
        best = { epoch: trainer.epoch, negativeElbo, weights: copyOf(trainer.weights) };
      }
      options.onEpoch?.(record);
      if (options.signal?.aborted) {
        await save();
        return undefined;
      }
      if (Date.now() - savedAt > CHECKPOINT_SECONDS * 1000) {
        await save();
        savedAt = Date.now();
      }
    }
    if (best === undefined) throw new CheckpointError(`${checkpointPath}: the run is complete but holds no weights`);

    const trainingSeconds = seconds();
    // Should the export fail, --resume goes on from here.
    await save();
    const measured = { engine, model, weights: best.weights, metrics: ['elbo'], seed: configuration.seed } as const;
    const exported = await exportModel(options.store, {
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
        seed: configuration.seed,
        engine: engine.name,
        threads: engine.threads,
        epochs: configuration.epochs,
        steps: trainer.totalSteps,
        started_at: startedAt,
        seconds: Math.round(trainingSeconds),
      },
      metrics: {
        ...(await evaluate({ ...measured, examples: validation, split: 'validation' })),
        ...(await evaluate({ ...measured, examples: dataset.test, split: 'test' })),
      },
      history,
    });
    await rm(checkpointPath, { force: true });
    return {
      ...exported,
      bestEpoch: best.epoch,
      secondsPerStep: (trainingSeconds - secondsBefore) / Math.max(1, trainer.step - stepsBefore),
    };
  } finally {
    await trainer.release();
    await evaluator.release();
  }
}

const NOTHING: EpochSums = { steps: 0, loss: 0, reconstruction: 0, kl: 0 };

function added(sums: EpochSums, { steps, metrics }: Progress): EpochSums {
  return {
    steps: sums.steps + steps,
    loss: sums.loss + steps * metrics.loss,
    reconstruction: sums.reconstruction + steps * metrics.reconstruction,
    kl: sums.kl + steps * metrics.kl,
  };
}

function means({ steps, loss, reconstruction, kl }: EpochSums): EpochRecord['train'] {
  return { loss: loss / steps, reconstruction: reconstruction / steps, kl: kl / steps };
}

/** Runs of another configuration or other data have another checkpoint, so that none overwrites or continues another's. */
function checkpointName(configuration: Configuration, dataset: Dataset): string {
  const run = createHash('sha256').update(JSON.stringify(configuration)).update(dataset.sha256).digest('hex');
  return `${configuration.name}-${run.slice(0, 16)}.checkpoint`;
}

function copyOf(weights: ReadonlyMap<string, Float32Array>): Map<string, Float32Array> {
  return new Map([...weights].map(([name, values]) => [name, values.slice()]));
}
