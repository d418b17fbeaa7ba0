import { gradients } from '../autodiff/gradients.js';
import { createOptimiser, movingAverage } from '../nn/optimisers.js';
import { boundWeights, type Parameter } from '../nn/parameters.js';
import { Graph } from '../onnx/graph.js';
import {
  abs,
  add,
  and,
  cast,
  div,
  gather,
  greater,
  ifElse,
  less,
  lessOrEqual,
  loop,
  max,
  mul,
  oneHot,
  reduceSumSquare,
  reshape,
  split,
  sqrt,
  sub,
} from '../onnx/ops.js';
import { elementCount, type Shape, type Tensor } from '../onnx/tensor.js';
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

/** Trained parameters that an optimiser updates as one tensor: their elements one after the other, or a single one. */
export interface ParameterBlock {
  readonly name: string;
  readonly shape: readonly number[];
  readonly parameters: readonly Parameter[];
}

/** The graph of K steps, and what its caller must know of it. */
export interface TrainingGraph {
  readonly graph: Graph;
  readonly blocks: readonly ParameterBlock[];
  /** All states, in the order of the graph's inputs. */
  readonly states: readonly State[];
  /** Outputs of one number for each step: the objective's terms, gradient norms, and `skipped`. */
  readonly metrics: readonly string[];
}

/** Updates done so far, which the optimisers' bias corrections count by; a skipped step is none. */
export const UPDATES = 'updates';
/** Of each step: 0 where it changed the states, else why it did not. */
export const SKIPPED = 'skipped';
/** Values of `skipped`: a loss or gradient was not finite; a gradient was longer than its optimiser's skip_gradient_norm. */
export const NOT_FINITE = 1;
export const TOO_LONG = 2;

export const weightState = ({ name }: ParameterBlock | Parameter): string => `parameter/${name}`;
export const averageState = ({ name }: ParameterBlock): string => `average/${name}`;

/** Elements of a parameter that an update costs less time than the runtime's calls of the dozen nodes that do it. */
const MAX_PACKED_ELEMENTS = 1 << 15;

/** Larger numbers are infinite in float32. */
const LARGEST_FLOAT32 = 3.4028234663852886e38;

/**
 * The graph of K training steps: one ONNX Loop whose states are the weights and the optimisers' sums, so that they
 * never leave the runtime between steps. An iteration takes its minibatch, computes the losses and their gradients, and
 * updates the states, unless a loss or a gradient is not finite, or a gradient is longer than its optimiser takes (Child,
 * 2021): then they stay as they were.
 *
 * Inputs: `steps` int64 (K); `examples` [K, B, …] bytes or float32; `thresholds` uint8 [K, B, …] where pixels are
 * binarised; `labels` uint8 [K, B] where the objective has classes; `noise/NAME` float32 [K, B, …]; `learning_rate` float32 [K], a factor of every optimiser's own;
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
  const { classes } = objective;
  const labels = classes === undefined ? undefined : graph.input('labels', 'uint8', ['steps', batchSize]);
  const noise = mapValues(objective.noise, (shape, name) => perStep(`noise/${name}`, [batchSize, ...shape]));
  const learningRate = perStep('learning_rate');
  const schedules = mapValues(objective.schedules, (_, name) => perStep(name));
  const fixed = objective.parameters.filter(({ trainable }) => !trainable);
  const fixedTensors = fixed.map((parameter) => graph.input(weightState(parameter), 'float32', parameter.shape));

  const states: State[] = [{ name: UPDATES, shape: [] }];
  const declare = (name: string, shape: readonly number[]) => states.push({ name, shape }) - 1;
  const learners = objective.losses.flatMap((loss) => {
    const rule = createOptimiser(loss.optimiser);
    return parameterBlocks(loss).map((block) => ({
      loss: loss.name,
      block,
      value: declare(weightState(block), block.shape),
      sums: rule.sums.map((sum) => declare(`${sum}/${block.name}`, block.shape)),
      average: averageDecay > 0 ? declare(averageState(block), block.shape) : undefined,
    }));
  });
  const blocks = learners.map(({ block }) => block);
  const initial = states.map(({ name, shape }) => graph.input(name, 'float32', shape));
  const metrics = [...objective.terms, ...objective.losses.map((loss) => gradientNormName(objective, loss)), SKIPPED];

  const results = loop(steps, initial, 'steps', (iteration, current) => {
    const at = (tensor: Tensor) => gather(tensor, iteration);
    const unpacked = learners.flatMap(({ block, value }) => unpack(current[value], block));
    const weights = boundWeights(
      [...fixed, ...blocks.flatMap(({ parameters }) => parameters)],
      [...fixedTensors, ...unpacked],
    );
    const x = thresholds === undefined ? scaled(at(examples)) : binarised(at(examples), at(thresholds));
    const { terms, losses } = objective.build(
      {
        x,
        labels: labels && oneHot(cast(at(labels), 'int64'), classes ?? 0),
        noise: mapValues(noise, at),
        scheduled: mapValues(schedules, at),
      },
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
    const inBounds = slopes.flatMap(({ loss: { optimiser }, norm }) =>
      optimiser.skip_gradient_norm > 0 ? [lessOrEqual(norm, optimiser.skip_gradient_norm)] : [],
    );
    const usable = inBounds.reduce((all, each) => and(all, each), finite);
    const [asFinite, asUsable] = [finite, usable].map((flag) => cast(flag, 'float32'));

    const rate = at(learningRate);
    const updated = (inputs: readonly Tensor[]): Tensor[] => {
      const count = add(inputs[0], 1);
      const next = [count, ...inputs.slice(1)];
      const average = movingAverage(averageDecay, count);
      for (const { loss, mine, all, scale } of slopes) {
        const update = createOptimiser(loss.optimiser).at(mul(rate, loss.optimiser.learning_rate), count);
        for (const [i, { block, value, sums, average: place }] of mine.entries()) {
          const state = { parameter: inputs[value], sums: sums.map((sum) => inputs[sum]) };
          const after = update(state, mul(all[i], scale), block.parameters.every(decays));
          next[value] = after.parameter;
          for (const [j, sum] of sums.entries()) next[sum] = after.sums[j];
          if (place !== undefined) next[place] = average(inputs[place], after.parameter);
        }
      }
      return next;
    };
    return {
      states: ifElse(usable, current, updated, (unchanged) => unchanged),
      collected: [
        ...objective.terms.map((term) => terms[term]),
        ...slopes.map(({ norm }) => norm),
        // 0, NOT_FINITE or TOO_LONG.
        sub(add(NOT_FINITE, asFinite), mul(asUsable, TOO_LONG)),
      ],
    };
  });

  for (const [i, { name }] of states.entries()) graph.output(results.states[i], `next_${name}`);
  for (const [i, metric] of metrics.entries()) graph.output(results.collected[i], metric);
  return { graph, blocks, states, metrics };
}

/**
 * Small parameters make one block, or two where some decay and others do not. None do beside convolutions: a bias there
 * would have to keep its layer's gradients until all layers' are known.
 */
function parameterBlocks({ name, parameters, optimiser }: Learner): readonly ParameterBlock[] {
  const isSmall = ({ shape }: Parameter) => elementCount(shape) <= MAX_PACKED_ELEMENTS;
  const small = parameters.some(({ shape }) => shape.length > 2) ? [] : parameters.filter(isSmall);
  const groups = optimiser.weight_decay === 0 ? [small] : [small.filter(decays), small.filter((p) => !decays(p))];
  const packed = groups.filter((group) => group.length > 1);
  return [
    ...packed.map((group, i) => ({
      name: `packed/${name}/${i}`,
      shape: [group.reduce((sum, { shape }) => sum + elementCount(shape), 0)],
      parameters: group,
    })),
    ...parameters
      .filter((parameter) => !packed.flat().includes(parameter))
      .map((parameter) => ({ name: parameter.name, shape: parameter.shape, parameters: [parameter] })),
  ];
}

/** Biases and scales, which have one axis at most, do not decay. */
function decays({ shape }: Parameter): boolean {
  return shape.length > 1;
}

/** Where the elements of each parameter of a block stand. */
export function partsOf({ parameters }: ParameterBlock): { parameter: Parameter; start: number; end: number }[] {
  let end = 0;
  return parameters.map((parameter) => {
    const start = end;
    end += elementCount(parameter.shape);
    return { parameter, start, end };
  });
}

/** The parameters of a block, as views of its elements. */
function unpack(values: Tensor, { parameters }: ParameterBlock): readonly Tensor[] {
  if (parameters.length === 1) return [values];
  const parts = split(
    values,
    0,
    parameters.map(({ shape }) => elementCount(shape)),
  );
  return parts.map((part, i) => {
    const { shape } = parameters[i];
    return shape.length === 1 ? part : reshape(part, shape);
  });
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
