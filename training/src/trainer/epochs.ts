import { createHash } from 'node:crypto';
import { access, constants, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { TrainingRecord } from '@elbo/models';
import type { Dataset, Examples } from '../data/dataset.js';
import type { Engine } from '../engines/engine.js';
import type { WeightValues } from '../nn/parameters.js';
import { type BestWeights, CheckpointStore, type EpochSums } from './checkpoint.js';
import { type Progress, type Trainer, TrainingError } from './trainer.js';
import { SKIPPED } from './training-graph.js';

/** Between checkpoints, where nothing else is asked for: writing one takes some milliseconds. */
export const CHECKPOINT_SECONDS = 5;

/** How a run is watched and cut short. */
export interface EpochOptions<Epoch> {
  /**
   * Goes on from the newest checkpoint of an interrupted run of the same configuration and data; `if-any` begins where
   * there is none.
   */
  readonly resume?: boolean | 'if-any';
  /**
   * Seconds between checkpoints; 0 writes one after every run of the graph, which takes about a second. A process that
   * is killed loses what it did since the last.
   */
  readonly checkpointSeconds?: number;
  /** When aborted, training stops after the steps in flight, leaves a checkpoint, and returns undefined. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  readonly onEpoch?: (record: Epoch) => void;
}

/**
 * The place of a run's checkpoints in a store, which is made where it is not there. Runs of another configuration or
 * other data have another, so that none overwrites or continues another's.
 * @throws {CheckpointError} where a run that is not to be resumed was interrupted or still goes on
 */
export async function checkpointsIn<Epoch>(
  store: string,
  configuration: { readonly name: string },
  dataset: Pick<Dataset, 'sha256'>,
  resume: boolean | 'if-any' = false,
): Promise<CheckpointStore<Epoch>> {
  // Found out now rather than after hours of training.
  await mkdir(store, { recursive: true });
  await access(store, constants.W_OK);
  const run = createHash('sha256').update(JSON.stringify(configuration)).update(dataset.sha256).digest('hex');
  const checkpoints = new CheckpointStore<Epoch>(
    join(store, '.checkpoints', `${configuration.name}-${run.slice(0, 16)}`),
  );
  if (resume === false) await checkpoints.begin();
  return checkpoints;
}

/** What is recorded of a run that is over. */
export function trainingRecord(
  configuration: { readonly seed: number; readonly epochs: number },
  dataset: Dataset,
  parts: { readonly examples: Examples; readonly validation: Examples },
  engine: Engine,
  run: TrainedRun<unknown>,
): TrainingRecord {
  return {
    configuration,
    dataset: {
      name: dataset.name,
      sha256: dataset.sha256,
      train_examples: parts.examples.count,
      validation_examples: parts.validation.count,
    },
    seed: configuration.seed,
    engine: engine.name,
    device: engine.device,
    threads: engine.threads,
    epochs: configuration.epochs,
    steps: run.steps,
    skipped_steps: run.skippedSteps,
    started_at: run.startedAt,
    seconds: Math.round(run.seconds),
  };
}

/** What an epoch came to. */
export interface MeasuredEpoch<Epoch> {
  readonly record: Epoch;
  /** Of held-out examples: the epoch with the lowest is kept; infinite for one that must not be. */
  readonly loss: number;
  readonly weights: WeightValues;
}

/** What training came to. */
export interface TrainedRun<Epoch> {
  readonly best: BestWeights;
  readonly history: readonly Epoch[];
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
 * @param terms names of the metrics of a step that an epoch's means are taken of
 * @param measure the record of the epoch that is over, from the means of the terms over its steps
 * @returns the weights of the epoch with the lowest loss, or undefined where the signal stopped the run
 * @throws {TrainingError} where the loss diverges or no epoch has a finite one, {CheckpointError} where `resume` finds
 *   nothing to go on from
 */
export async function trainEpochs<Epoch>(
  trainer: Trainer,
  checkpoints: CheckpointStore<Epoch>,
  terms: readonly string[],
  measure: (means: Readonly<Record<string, number>>) => Promise<MeasuredEpoch<Epoch>>,
  options: EpochOptions<Epoch>,
): Promise<TrainedRun<Epoch> | undefined> {
  const { checkpointSeconds = CHECKPOINT_SECONDS } = options;
  const resumedAt = Date.now();
  let startedAt = new Date(resumedAt).toISOString();
  const history: Epoch[] = [];
  let best: BestWeights | undefined;
  let epoch: EpochSums = NOTHING;
  let secondsBefore = 0;
  const isResumed = options.resume === 'if-any' ? await checkpoints.hasAny() : options.resume === true;
  if (isResumed) {
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
  if (!isResumed) await save();
  while (trainer.step < trainer.totalSteps) {
    for await (const progress of trainer.runEpoch()) {
      epoch = added(epoch, terms, progress);
      options.onProgress?.(progress);
      // At the end of an epoch its evaluation comes first.
      if (trainer.step % trainer.stepsPerEpoch === 0) continue;
      if (options.signal?.aborted) {
        await save();
        return undefined;
      }
      await saveSometimes();
    }
    const means = meansOf(epoch);
    epoch = NOTHING;
    const { record, loss, weights } = await measure(means);
    history.push(record);
    if (loss < (best?.loss ?? Number.POSITIVE_INFINITY)) {
      best = { epoch: trainer.epoch, loss, weights: copyOf(weights) };
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
      'the validation loss was not finite after any epoch; try a lower optimiser.learning_rate or optimiser.gradient_norm_limit',
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
}

const NOTHING: EpochSums = { steps: 0, terms: {} };

/** Step by step, so that the sums do not depend on how many steps a run of the graph takes. */
function added({ steps, terms: before }: EpochSums, names: readonly string[], { values }: Progress): EpochSums {
  const terms = Object.fromEntries(names.map((name) => [name, before[name] ?? 0]));
  let counted = steps;
  for (const [i, skipped] of values[SKIPPED].entries()) {
    if (skipped !== 0) continue;
    counted += 1;
    for (const name of names) terms[name] += values[name][i];
  }
  return { steps: counted, terms };
}

function meansOf({ steps, terms }: EpochSums): Record<string, number> {
  return Object.fromEntries(Object.entries(terms).map(([name, sum]) => [name, sum / steps]));
}

function copyOf(weights: WeightValues): Map<string, Float32Array> {
  return new Map([...weights].map(([name, values]) => [name, values.slice()]));
}
