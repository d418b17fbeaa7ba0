import { gradients } from '../autodiff/gradients.js';
import { createOptimiser, movingAverage } from '../nn/optimisers.js';
import { boundWeights, type Parameter } from '../nn/parameters.js';
import { Graph } from '../onnx/graph.js';
import {
  abs,
  add,
  cast,
  div,
  gather,
  greater,
  ifElse,
  less,
  loop,
  max,
  mul,
  reduceSumSquare,
  sqrt,
  sub,
} from '../onnx/ops.js';
import type { Shape, Tensor } from '../onnx/tensor.js';
import type { Learner, Objective } from '../vae/objective.js';

/** What the graph takes besides the objective. */
export interface TrainingGraphOptions {
  readonly batchSize: number;
  /** Of one example. */
  readonly inputShape: readonly number[];
  /** Bytes stand for 0 to 1. */
  readonly inputType: 'uint8' | 'float32';
  /** Whether each pixel is drawn as 0 or 1 with its byte as the probability. */
  readonly binarise: boolean;
  /** Of the moving average of the weights; 0 for none. */
  readonly averageDecay: number;
}

/** A value that one step hands to the next: an input of the graph, and, with `next_` before its name, an output. */
export interface State {
  readonly name: string;
  readonly shape: readonly number[];
}

/** The graph of K steps, and what its caller must know of it. */
export interface TrainingGraph {
  readonly graph: Graph;
  /** All states, in the order of the graph's inputs. */
  readonly states: readonly State[];
  /** Outputs of one number for each step: the objective's terms, gradient norms, and `skipped`. */
  readonly metrics: readonly string[];
}

/** Updates done so far, which the optimisers' bias corrections count by; a skipped step is none. */
export const UPDATES = 'updates';
/** 1 for a step whose loss or gradient was not finite, so that it changed nothing; else 0. */
export const SKIPPED = 'skipped';

export const weightState = (parameter: Parameter): string => `parameter/${parameter.name}`;
export const averageState = (parameter: Parameter): string => `average/${parameter.name}`;

/** Larger numbers are infinite in float32. */
const LARGEST_FLOAT32 = 3.4028234663852886e38;

/**
 * The graph of K training steps: one ONNX Loop whose states are the weights and the optimisers' sums, so that they
 * never leave the runtime between steps. An iteration takes its minibatch, computes the losses and their gradients, and
 * updates the states, unless a loss or a gradient is not finite: then they stay as they were.
 *
 * Inputs: `steps` int64 (K); `examples` [K, B, …] bytes or float32; `thresholds` uint8 [K, B, …] where pixels are
 * binarised; `noise/NAME` float32 [K, B, …]; `learning_rate` float32 [K], a factor of every optimiser's own;
 * one float32 [K] for each schedule of the objective; the parameters that are not trained; the states.
 * Outputs: the next states, and each of the metrics [K].
 */
export function buildTrainingGraph(objective: Objective, options: TrainingGraphOptions): TrainingGraph {
  const { batchSize, inputShape, inputType, averageDecay } = options;
  const graph = new Graph('training');
  const perStep = (name: string, shape: Shape = []) => graph.input(name, 'float32', ['steps', ...shape]);
  const steps = graph.input('steps', 'int64', []);
  const examples = graph.input('examples', inputType, ['steps', batchSize, ...inputShape]);
  const thresholds = options.binarise
    ? graph.input('thresholds', 'uint8', ['steps', batchSize, ...inputShape])
    : undefined;
  const noise = mapValues(objective.noise, (shape, name) => perStep(`noise/${name}`, [batchSize, ...shape]));
  const learningRate = perStep('learning_rate');
  const schedules = mapValues(objective.schedules, (_, name) => perStep(name));
  const fixed = objective.parameters.filter(({ trainable }) => !trainable);
  const fixedTensors = fixed.map((parameter) => graph.input(weightState(parameter), 'float32', parameter.shape));

  const states: State[] = [{ name: UPDATES, shape: [] }];
  const declare = (name: string, shape: readonly number[]) => states.push({ name, shape }) - 1;
  const learners = objective.losses.flatMap(({ name, parameters, optimiser }) => {
    const rule = createOptimiser(optimiser);
    return parameters.map((parameter) => ({
      loss: name,
      parameter,
      value: declare(weightState(parameter), parameter.shape),
      sums: rule.sums.map((sum) => declare(`${sum}/${parameter.name}`, parameter.shape)),
      average: averageDecay > 0 ? declare(averageState(parameter), parameter.shape) : undefined,
    }));
  });
  const initial = states.map(({ name, shape }) => graph.input(name, 'float32', shape));
  const metrics = [...objective.terms, ...objective.losses.map((loss) => gradientNormName(objective, loss)), SKIPPED];

  const results = loop(steps, initial, 'steps', (iteration, current) => {
    const at = (tensor: Tensor) => gather(tensor, iteration);
    const weights = boundWeights(
      [...fixed, ...learners.map(({ parameter }) => parameter)],
      [...fixedTensors, ...learners.map(({ value }) => current[value])],
    );
    const x = thresholds === undefined ? scaled(at(examples)) : binarised(at(examples), at(thresholds));
    const { terms, losses } = objective.build(
      { x, noise: mapValues(noise, at), scheduled: mapValues(schedules, at) },
      weights,
    );

    const slopes = objective.losses.map((loss) => {
      const mine = learners.filter((learner) => learner.loss === loss.name);
      const all = gradients(
        losses[loss.name],
        mine.map(({ value }) => current[value]),
      );
      const norm = globalNorm(all);
      const limit = loss.optimiser.gradient_norm_limit;
      // Scaled by limit / max(norm, limit), with the norm over all of them together (Pascanu et al., 2013).
      return { loss, mine, all, norm, scale: div(limit, max(norm, limit)) };
    });
    // A sum is finite only where all its parts are.
    const magnitude = slopes
      .flatMap(({ loss, norm }) => [abs(losses[loss.name]), norm])
      .reduce((sum, part) => add(sum, part));
    const finite = less(magnitude, LARGEST_FLOAT32);

    const rate = at(learningRate);
    const updated = (inputs: readonly Tensor[]): Tensor[] => {
      const count = add(inputs[0], 1);
      const next = [count, ...inputs.slice(1)];
      const average = movingAverage(averageDecay, count);
      for (const { loss, mine, all, scale } of slopes) {
        const update = createOptimiser(loss.optimiser).at(mul(rate, loss.optimiser.learning_rate), count);
        for (const [i, { value, sums, average: place }] of mine.entries()) {
          const state = { parameter: inputs[value], sums: sums.map((sum) => inputs[sum]) };
          const after = update(state, mul(all[i], scale));
          next[value] = after.parameter;
          for (const [j, sum] of sums.entries()) next[sum] = after.sums[j];
          if (place !== undefined) next[place] = average(inputs[place], after.parameter);
        }
      }
      return next;
    };
    return {
      states: ifElse(finite, current, updated, (unchanged) => unchanged),
      collected: [
        ...objective.terms.map((term) => terms[term]),
        ...slopes.map(({ norm }) => norm),
        sub(1, cast(finite, 'float32')),
      ],
    };
  });

  for (const [i, { name }] of states.entries()) graph.output(results.states[i], `next_${name}`);
  for (const [i, metric] of metrics.entries()) graph.output(results.collected[i], metric);
  return { graph, states, metrics };
}

/** `gradient_norm`, with the loss's name where there are several. */
export function gradientNormName({ losses }: Pick<Objective, 'losses'>, { name }: Pick<Learner, 'name'>): string {
  return losses.length === 1 ? 'gradient_norm' : `gradient_norm/${name}`;
}

/** Dynamic binarisation: a pixel is 1 with probability byte / 255, drawn anew every time it is seen. */
function binarised(bytes: Tensor, thresholds: Tensor): Tensor {
  return cast(greater(cast(bytes, 'float32'), cast(thresholds, 'float32')), 'float32');
}

/** Bytes as 0 to 1; other numbers as they are. */
function scaled(examples: Tensor): Tensor {
  return examples.dtype === 'uint8' ? mul(cast(examples, 'float32'), 1 / 255) : examples;
}

function globalNorm(all: readonly Tensor[]): Tensor {
  // From the last layer to the first, as backpropagation meets them: ONNX Runtime, which orders nodes by a depth-first
  // search from the results, then finishes with a layer, and frees what it kept for it, before it goes on.
  const squares = all.toReversed().map((gradient) => reduceSumSquare(gradient));
  return sqrt(squares.reduce((sum, part) => add(sum, part)));
}

function mapValues<A, B>(record: Readonly<Record<string, A>>, f: (value: A, key: string) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(value, key)]));
}
