import { RandomSource } from '@elbo/models';
import { DataError } from '../data/data-error.js';
import { type Examples, exampleSize } from '../data/dataset.js';
import type { Engine, Feeds, Program } from '../engines/engine.js';
import type { WeightValues } from '../nn/parameters.js';
import { elementCount, float32, type TensorData } from '../onnx/tensor.js';
import { binarises, type Configuration } from '../vae/configuration.js';
import type { Objective } from '../vae/objective.js';
import { learningRateFactor } from '../vae/schedules.js';
import { BatchLoader } from './batch-loader.js';
import { type Batches, type BatchPlan, stepsPerEpoch } from './batches.js';
import {
  averageState,
  buildTrainingGraph,
  NOT_FINITE,
  partsOf,
  SKIPPED,
  TOO_LONG,
  type TrainingGraph,
  weightState,
} from './training-graph.js';

/** A run of the graph lasts about this long: copies in and out cost little, and progress shows once a second. */
const SECONDS_PER_RUN = 1;
/** Of the first run, before it is known how long a step takes. */
const FIRST_STEPS = 10;
/** Of the inputs of one run; two are in memory at once. */
const BYTES_PER_RUN = 48 << 20;

/** So many steps in a row without a finite loss and gradient end the run. */
const MAX_NOT_FINITE_IN_A_ROW = 5;

/** Training became impossible, for instance by losses that are not numbers. */
export class TrainingError extends Error {
  override readonly name = 'TrainingError';
}

/** What one run of the graph did, and where training stands after it. */
export interface Progress {
  /** From 0. */
  readonly epoch: number;
  /** Steps that this run took. */
  readonly steps: number;
  /** Steps done since training began. */
  readonly step: number;
  readonly totalSteps: number;
  /** Steps since training began that changed nothing: a loss or gradient was not finite, or a gradient too long. */
  readonly skippedSteps: number;
  /** Those of them with a gradient that was longer than `optimiser.skip_gradient_norm`. */
  readonly longGradients: number;
  /** Every metric of every step of this run. */
  readonly values: Readonly<Record<string, Float32Array>>;
  /** Their means over the steps that were not skipped; NaN where all were. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** Everything that training goes on from; what it draws follows from the seed and the step. */
export interface TrainerState {
  readonly step: number;
  readonly skippedSteps: number;
  readonly longGradients: number;
  readonly tensors: ReadonlyMap<string, Float32Array>;
}

/** What training takes from a configuration, whatever it is of. */
export type TrainerConfiguration = Pick<
  Configuration,
  'seed' | 'batch_size' | 'epochs' | 'learning_rate_schedule' | 'weight_average_decay'
> &
  Partial<Pick<Configuration, 'likelihood' | 'binarisation'>>;

/** Runs training steps and holds what they change. */
export class Trainer {
  readonly batchSize: number;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  readonly #objective: Objective;
  readonly #configuration: TrainerConfiguration;
  readonly #program: Program;
  readonly #training: TrainingGraph;
  readonly #inputShape: readonly number[];
  readonly #loader: BatchLoader;
  readonly #maxSteps: number;
  /** Parameters that are not trained, as the graph takes them. */
  readonly #fixed: Record<string, TensorData>;
  #states: Record<string, TensorData>;
  #step = 0;
  #skippedSteps = 0;
  #longGradients = 0;
  #notFiniteInARow = 0;
  #secondsPerStep: number | undefined;
  #pending: { step: number; steps: number; batches: Promise<Batches> } | undefined;

  private constructor(
    objective: Objective,
    configuration: TrainerConfiguration,
    training: TrainingGraph,
    program: Program,
    examples: Examples,
    plan: BatchPlan,
  ) {
    this.#objective = objective;
    this.#configuration = configuration;
    this.#training = training;
    this.#program = program;
    this.#inputShape = examples.shape;
    this.batchSize = plan.batchSize;
    this.stepsPerEpoch = stepsPerEpoch(plan);
    this.totalSteps = this.stepsPerEpoch * configuration.epochs;
    this.#maxSteps = Math.max(1, Math.floor(BYTES_PER_RUN / bytesPerStep(plan)));
    this.#loader = new BatchLoader(examples, plan);
    const initial = initialTensors(objective, training, configuration.seed);
    this.#fixed = initial.fixed;
    this.#states = initial.states;
  }

  /**
   * @param objective what is minimised; its noise and schedules are drawn and computed here
   * @throws {TrainingError} where there is no example to train on, {DataError} where the objective needs classes that
   *   the examples lack
   */
  static async create(
    engine: Pick<Engine, 'compile'>,
    objective: Objective,
    configuration: TrainerConfiguration,
    examples: Examples,
  ): Promise<Trainer> {
    if (examples.count < 1) throw new TrainingError('there are no training examples');
    if (objective.classes !== undefined) checkLabels(examples, objective.classes);
    const plan: BatchPlan = {
      seed: configuration.seed,
      batchSize: Math.min(configuration.batch_size, examples.count),
      count: examples.count,
      exampleSize: exampleSize(examples),
      dtype: examples.dtype,
      binarise: binarises(configuration, examples.dtype),
      labels: objective.classes !== undefined,
      noise: Object.fromEntries(Object.entries(objective.noise).map(([name, shape]) => [name, elementCount(shape)])),
    };
    const training = buildTrainingGraph(objective, {
      batchSize: plan.batchSize,
      inputShape: examples.shape,
      inputType: plan.dtype,
      binarise: plan.binarise,
      averageDecay: configuration.weight_average_decay,
    });
    const program = await engine.compile(training.graph);
    return new Trainer(objective, configuration, training, program, examples, plan);
  }

  get step(): number {
    return this.#step;
  }

  get epoch(): number {
    return Math.floor(this.#step / this.stepsPerEpoch);
  }

  get skippedSteps(): number {
    return this.#skippedSteps;
  }

  /** The weights to evaluate and to export: their moving average where the configuration asks for one. */
  get weights(): WeightValues {
    const stateOf = this.#configuration.weight_average_decay > 0 ? averageState : weightState;
    const trained = new Map<string, Float32Array>();
    for (const block of this.#training.blocks) {
      const values = this.#states[stateOf(block)].data as Float32Array;
      for (const { parameter, start, end } of partsOf(block)) trained.set(parameter.name, values.subarray(start, end));
    }
    return new Map(
      this.#objective.parameters.map((parameter) => [
        parameter.name,
        trained.get(parameter.name) ?? (this.#fixed[weightState(parameter)].data as Float32Array),
      ]),
    );
  }

  /** A copy of everything that training goes on from. */
  get state(): TrainerState {
    const tensors = Object.entries(this.#states).map(
      ([name, { data }]) => [name, (data as Float32Array).slice()] as const,
    );
    return {
      step: this.#step,
      skippedSteps: this.#skippedSteps,
      longGradients: this.#longGradients,
      tensors: new Map(tensors),
    };
  }

  /**
   * Goes on where `state` was read.
   * @throws {TrainingError} where the state is of another model
   */
  restore(state: TrainerState): void {
    for (const [name, { shape, data }] of Object.entries(this.#states)) {
      const values = state.tensors.get(name);
      if (values?.length !== data.length) {
        throw new TrainingError(
          `the checkpoint has no ${name} of shape [${shape.join(', ')}]: it is of another configuration`,
        );
      }
      this.#states[name] = float32(values.slice(), shape);
    }
    this.#step = state.step;
    this.#skippedSteps = state.skippedSteps;
    this.#longGradients = state.longGradients;
    this.#notFiniteInARow = 0;
  }

  /**
   * Trains the rest of the epoch, reporting after every run of the graph; `state` may be read there.
   * @throws {TrainingError} where step after step has a loss or gradient that is not finite; the states are then as
   *   they were before the first of those
   * @throws {DataError} where the examples cannot be read
   */
  async *runEpoch(): AsyncGenerator<Progress> {
    const epoch = this.epoch;
    while (this.epoch === epoch && this.#step < this.totalSteps) {
      const { step, steps, batches } = this.#take();
      const inputs = await batches;
      // Loaded while these steps train.
      this.#pending = this.#request(step + steps);
      const start = performance.now();
      const outputs = await this.#program.run(this.#feeds(step, steps, inputs));
      this.#secondsPerStep = (performance.now() - start) / 1000 / steps;
      this.#loader.recycle(inputs);
      for (const { name } of this.#training.states) this.#states[name] = outputs[`next_${name}`];
      this.#step = step + steps;
      const values = Object.fromEntries(
        this.#training.metrics.map((metric) => [metric, outputs[metric].data as Float32Array]),
      );
      this.#watch(values[SKIPPED]);
      yield {
        epoch,
        steps,
        step: this.#step,
        totalSteps: this.totalSteps,
        skippedSteps: this.#skippedSteps,
        longGradients: this.#longGradients,
        values,
        metrics: meansOf(values),
      };
    }
  }

  async release(): Promise<void> {
    this.#pending?.batches.catch(() => {});
    await this.#loader.close();
    await this.#program.release();
  }

  /** The steps that come now: those that were asked for ahead, unless training was moved elsewhere meanwhile. */
  #take(): { step: number; steps: number; batches: Promise<Batches> } {
    const pending = this.#pending;
    this.#pending = undefined;
    if (pending?.step === this.#step) return pending;
    pending?.batches.catch(() => {});
    const request = this.#request(this.#step);
    if (request === undefined) throw new TrainingError('all steps of the run are done');
    return request;
  }

  #request(step: number): { step: number; steps: number; batches: Promise<Batches> } | undefined {
    if (step >= this.totalSteps) return undefined;
    const wanted =
      this.#secondsPerStep === undefined ? FIRST_STEPS : Math.round(SECONDS_PER_RUN / this.#secondsPerStep);
    const leftInEpoch = this.stepsPerEpoch - (step % this.stepsPerEpoch);
    const steps = Math.max(1, Math.min(wanted, this.#maxSteps, leftInEpoch));
    const batches = this.#loader.load(step, steps);
    // It is awaited later; until then its failure is nobody's.
    batches.catch(() => {});
    return { step, steps, batches };
  }

  /** Counts steps that changed nothing. */
  #watch(skipped: Float32Array): void {
    for (const reason of skipped) {
      this.#notFiniteInARow = reason === NOT_FINITE ? this.#notFiniteInARow + 1 : 0;
      if (reason !== 0) this.#skippedSteps++;
      if (reason === TOO_LONG) this.#longGradients++;
      if (this.#notFiniteInARow >= MAX_NOT_FINITE_IN_A_ROW) {
        throw new TrainingError(
          `${MAX_NOT_FINITE_IN_A_ROW} steps in a row up to step ${this.#step} of ${this.totalSteps} had a loss or gradient that is not finite; try a lower optimiser.learning_rate or optimiser.gradient_norm_limit`,
        );
      }
    }
  }

  #feeds(first: number, steps: number, { examples, thresholds, labels, noise }: Batches): Feeds {
    const leading = [steps, this.batchSize];
    const perStep = (value: (step: number) => number) =>
      float32(
        Float32Array.from({ length: steps }, (_, i) => value(first + i)),
        [steps],
      );
    const shape = [...leading, ...this.#inputShape];
    return {
      steps: { dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(steps)) },
      examples: { dtype: examples instanceof Uint8Array ? 'uint8' : 'float32', shape, data: examples },
      ...(thresholds === undefined ? {} : { thresholds: { dtype: 'uint8', shape, data: thresholds } }),
      ...(labels && { labels: { dtype: 'uint8', shape: leading, data: labels } }),
      ...Object.fromEntries(
        Object.entries(noise).map(([name, values]) => [
          `noise/${name}`,
          float32(values, [...leading, ...this.#objective.noise[name]]),
        ]),
      ),
      learning_rate: perStep((step) => learningRateFactor(this.#configuration, step, this.totalSteps)),
      ...Object.fromEntries(
        Object.entries(this.#objective.schedules).map(([name, schedule]) => [
          name,
          perStep((step) => schedule(step, this.totalSteps)),
        ]),
      ),
      ...this.#fixed,
      ...this.#states,
    };
  }
}

/** @throws {DataError} where an example has no class or none below `classes` */
function checkLabels({ labels }: Examples, classes: number): void {
  if (labels === undefined) throw new DataError('the examples have no classes; expected the class of each');
  const wrong = labels.find((label) => label >= classes);
  if (wrong !== undefined) throw new DataError(`an example is of class ${wrong}; expected 0 to ${classes - 1}`);
}

function bytesPerStep({ batchSize, exampleSize, dtype, binarise, noise }: BatchPlan): number {
  const perExample =
    exampleSize * ((dtype === 'uint8' ? 1 : 4) + (binarise ? 1 : 0)) +
    4 * Object.values(noise).reduce((sum, length) => sum + length, 0);
  return batchSize * perExample;
}

function initialTensors(
  objective: Objective,
  { states, blocks }: TrainingGraph,
  seed: number,
): Record<'fixed' | 'states', Record<string, TensorData>> {
  const random = new RandomSource(seed);
  const initial = new Map(objective.parameters.map((parameter) => [parameter, parameter.initialise(random)]));
  const fixed: Record<string, TensorData> = {};
  const values = new Map<string, Float32Array>();
  for (const [parameter, data] of initial) {
    if (!parameter.trainable) fixed[weightState(parameter)] = float32(data, parameter.shape);
  }
  for (const block of blocks) {
    const data = new Float32Array(elementCount(block.shape));
    for (const { parameter, start } of partsOf(block)) data.set(initial.get(parameter) ?? [], start);
    values.set(weightState(block), data).set(averageState(block), data);
  }
  return {
    fixed,
    states: Object.fromEntries(
      states.map(({ name, shape }) => [
        name,
        float32(values.get(name)?.slice() ?? new Float32Array(elementCount(shape)), shape),
      ]),
    ),
  };
}

function meansOf(values: Readonly<Record<string, Float32Array>>): Record<string, number> {
  const skipped = values[SKIPPED];
  const counted = skipped.reduce((count, reason) => count + (reason === 0 ? 1 : 0), 0);
  return Object.fromEntries(
    Object.entries(values).map(([name, all]) => [
      name,
      all.reduce((sum, value, i) => (skipped[i] === 0 ? sum + value : sum), 0) / counted,
    ]),
  );
}
