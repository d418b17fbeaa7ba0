import { RandomSource } from '@elbo/models';
import type { Engine, Feeds, Program } from '../engines/engine.js';
import type { WeightValues } from '../nn/parameters.js';
import { float32, type TensorData } from '../onnx/tensor.js';
import type { Configuration } from '../vae/configuration.js';
import type { Model } from '../vae/model.js';
import { klWeight, learningRate } from '../vae/schedules.js';
import { buildTrainingGraph, STATES, STEP_METRICS, type StepMetric, stateName } from './training-graph.js';

/** Steps in one run of the graph: enough that the copies in and out cost little, few enough to report several times a second. */
const STEPS_PER_RUN = 50;

/** Streams of the seed, one a use, so that more draws of one kind do not move the others. */
const STREAMS = { initialisation: 0, shuffle: 1, noise: 2, thresholds: 3 } as const;

/** Training became impossible, for instance by a loss that is not a number. */
export class TrainingError extends Error {
  override readonly name = 'TrainingError';
}

/** Means over the steps of one run of the graph, and where training stands after it. */
export interface Progress {
  /** From 0. */
  readonly epoch: number;
  /** Steps that the means are over. */
  readonly steps: number;
  /** Steps done since training began. */
  readonly step: number;
  readonly totalSteps: number;
  readonly metrics: Readonly<Record<StepMetric, number>>;
}

/** Everything that training goes on from: weights, optimiser sums, counters and random states. */
export interface TrainerState {
  readonly step: number;
  readonly tensors: ReadonlyMap<string, Float32Array>;
  readonly random: Readonly<Record<'shuffle' | 'noise' | 'thresholds', readonly number[]>>;
}

/**
 * Runs training steps and holds what they change. An epoch is every example once, shuffled, in whole batches; the
 * few that do not fill the last batch are others every epoch.
 */
export class Trainer {
  readonly batchSize: number;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  readonly #model: Model;
  readonly #configuration: Configuration;
  readonly #program: Program;
  readonly #examples: TensorData;
  #states: Record<string, TensorData>;
  #step = 0;
  /** Where the shuffles stood when the epoch began, so that training can go on in the middle of one. */
  #shuffle: readonly number[];
  #noise: RandomSource;
  #thresholds: RandomSource;

  private constructor(
    model: Model,
    configuration: Configuration,
    program: Program,
    examples: TensorData,
    batchSize: number,
  ) {
    this.#model = model;
    this.#configuration = configuration;
    this.#program = program;
    this.#examples = examples;
    this.batchSize = batchSize;
    this.stepsPerEpoch = Math.floor(examples.shape[0] / batchSize);
    this.totalSteps = this.stepsPerEpoch * configuration.epochs;
    const { seed } = configuration;
    this.#shuffle = new RandomSource(seed, STREAMS.shuffle).state;
    this.#noise = new RandomSource(seed, STREAMS.noise);
    this.#thresholds = new RandomSource(seed, STREAMS.thresholds);
    this.#states = initialStates(model, new RandomSource(seed, STREAMS.initialisation));
  }

  /**
   * @param examples count × D bytes, row-major
   * @throws {TrainingError} where there is no example to train on
   */
  static async create(
    engine: Pick<Engine, 'compile'>,
    model: Model,
    configuration: Configuration,
    examples: { readonly count: number; readonly values: Uint8Array },
  ): Promise<Trainer> {
    if (examples.count < 1) throw new TrainingError('there are no training examples');
    const batchSize = Math.min(configuration.batch_size, examples.count);
    const program = await engine.compile(buildTrainingGraph(model, configuration, batchSize));
    const shape = [examples.count, examples.values.length / examples.count];
    return new Trainer(model, configuration, program, { dtype: 'uint8', shape, data: examples.values }, batchSize);
  }

  get step(): number {
    return this.#step;
  }

  get epoch(): number {
    return Math.floor(this.#step / this.stepsPerEpoch);
  }

  get weights(): WeightValues {
    return new Map(
      this.#model.parameters.map((parameter) => [parameter.name, this.#values(stateName('parameter', parameter))]),
    );
  }

  /** A copy of everything that training goes on from. */
  get state(): TrainerState {
    return {
      step: this.#step,
      tensors: new Map(Object.keys(this.#states).map((name) => [name, this.#values(name).slice()])),
      random: {
        shuffle: this.#shuffle,
        noise: this.#noise.state,
        thresholds: this.#thresholds.state,
      },
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
    this.#shuffle = state.random.shuffle;
    this.#noise = RandomSource.fromState(state.random.noise);
    this.#thresholds = RandomSource.fromState(state.random.thresholds);
  }

  /**
   * Trains the rest of the epoch, reporting after every run of the graph; `state` may be read there.
   * @throws {TrainingError} where the loss is not a finite number any more
   */
  async *runEpoch(): AsyncGenerator<Progress> {
    const epoch = this.epoch;
    const shuffle = RandomSource.fromState(this.#shuffle);
    const order = shuffle.permutation(this.#examples.shape[0]);
    for (let done = this.#step % this.stepsPerEpoch; done < this.stepsPerEpoch; ) {
      const steps = Math.min(STEPS_PER_RUN, this.stepsPerEpoch - done);
      const batches = order.subarray(done * this.batchSize, (done + steps) * this.batchSize);
      const outputs = await this.#program.run(this.#feeds(steps, batches));
      for (const name of Object.keys(this.#states)) this.#states[name] = outputs[`next_${name}`];
      done += steps;
      this.#step += steps;
      if (done === this.stepsPerEpoch) this.#shuffle = shuffle.state;
      const metrics = meansOf(outputs);
      if (!Number.isFinite(metrics.loss)) {
        throw new TrainingError(
          `the loss is ${metrics.loss} in epoch ${epoch + 1}; try a lower optimiser.learning_rate or optimiser.gradient_norm_limit`,
        );
      }
      yield { epoch, steps, step: this.#step, totalSteps: this.totalSteps, metrics };
    }
  }

  release(): Promise<void> {
    return this.#program.release();
  }

  #feeds(steps: number, batches: Int32Array): Feeds {
    const [, dataSize] = this.#examples.shape;
    const perStep = (value: (step: number) => number) =>
      float32(
        Float32Array.from({ length: steps }, (_, i) => value(this.#step + i)),
        [steps],
      );
    const noise = this.#noise.fillNormal(new Float32Array(steps * this.batchSize * this.#model.latentSize));
    const thresholds = this.#thresholds.fillBinarisationThresholds(new Uint8Array(steps * this.batchSize * dataSize));
    return {
      steps: { dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(steps)) },
      step: float32([this.#step], []),
      examples: this.#examples,
      batches: { dtype: 'int32', shape: [steps, this.batchSize], data: batches },
      thresholds: { dtype: 'uint8', shape: [steps, this.batchSize, dataSize], data: thresholds },
      noise: float32(noise, [steps, this.batchSize, this.#model.latentSize]),
      learning_rate: perStep((step) => learningRate(this.#configuration, step, this.totalSteps)),
      kl_weight: perStep((step) => klWeight(this.#configuration, step, this.totalSteps)),
      ...this.#states,
    };
  }

  #values(name: string): Float32Array {
    return this.#states[name].data as Float32Array;
  }
}

function initialStates(model: Model, random: RandomSource): Record<string, TensorData> {
  const states: Record<string, TensorData> = {};
  for (const parameter of model.parameters) {
    const values = parameter.initialise(random);
    for (const state of STATES) {
      const data = state === 'parameter' ? values : new Float32Array(values.length);
      states[stateName(state, parameter)] = float32(data, parameter.shape);
    }
  }
  return states;
}

function meansOf(outputs: Record<string, TensorData>): Record<StepMetric, number> {
  const means = STEP_METRICS.map((metric) => {
    const values = outputs[metric].data as Float32Array;
    return [metric, values.reduce((sum, value) => sum + value, 0) / values.length];
  });
  return Object.fromEntries(means) as Record<StepMetric, number>;
}
