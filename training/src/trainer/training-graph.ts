import { gradients } from '../autodiff/gradients.js';
import { boundWeights, type Parameter } from '../nn/parameters.js';
import { Graph } from '../onnx/graph.js';
import {
  add,
  cast,
  div,
  gather,
  greater,
  loop,
  max,
  mul,
  reduceMean,
  reduceSumSquare,
  reshape,
  sqrt,
} from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';
import type { Configuration } from '../vae/configuration.js';
import type { Model } from '../vae/model.js';
import { elboTerms } from '../vae/objective.js';
import { type AdamState, adam } from './adam.js';

/** What is collected of every step, each [steps] when the graph has run. */
export const STEP_METRICS = ['loss', 'reconstruction', 'kl', 'gradient_norm'] as const;
export type StepMetric = (typeof STEP_METRICS)[number];

/** Names of the three states that the graph keeps of a parameter, as input; the output has `next_` before it. */
export const STATES = ['parameter', 'gradient_sum', 'square_sum'] as const;
export type StateName = (typeof STATES)[number];
export const stateName = (state: StateName, parameter: Parameter): string => `${state}/${parameter.name}`;

/**
 * The graph of K training steps: one ONNX Loop whose states are the weights and the optimiser's sums, so that they
 * never leave the runtime between steps. An iteration gathers a minibatch from the whole dataset, binarises it,
 * computes the loss and its gradients, and updates the states.
 *
 * Inputs: `steps` int64 (K); `step` float32 (steps done before); `examples` uint8 [count, D];
 * `batches` int32 [K, B]; `thresholds` uint8 [K, B, D]; `noise` float32 [K, B, Z]; `learning_rate`, `kl_weight`
 * float32 [K]; the states. Outputs: the next states, and each of STEP_METRICS [K].
 */
export function buildTrainingGraph(model: Model, configuration: Configuration, batchSize: number): Graph {
  const graph = new Graph('training');
  const dataSize = model.inputShape.reduce((product, dimension) => product * dimension, 1);
  const steps = graph.input('steps', 'int64', []);
  const stepsBefore = graph.input('step', 'float32', []);
  const examples = graph.input('examples', 'uint8', ['count', dataSize]);
  const batches = graph.input('batches', 'int32', ['steps', batchSize]);
  const thresholds = graph.input('thresholds', 'uint8', ['steps', batchSize, dataSize]);
  const noise = graph.input('noise', 'float32', ['steps', batchSize, model.latentSize]);
  const learningRates = graph.input('learning_rate', 'float32', ['steps']);
  const klWeights = graph.input('kl_weight', 'float32', ['steps']);
  const initial = model.parameters.flatMap((parameter) =>
    STATES.map((state) => graph.input(stateName(state, parameter), 'float32', parameter.shape)),
  );

  const { states, collected } = loop(steps, initial, 'steps', (iteration, current) => {
    const perParameter = model.parameters.map((_, i) => adamState(current, i));
    const weights = boundWeights(
      model.parameters,
      perParameter.map((state) => state.parameter),
    );
    const step = add(add(cast(iteration, 'float32'), stepsBefore), 1);

    const bytes = gather(examples, gather(batches, iteration));
    const x = binarise(bytes, gather(thresholds, iteration), [batchSize, ...model.inputShape]);
    const terms = elboTerms(model, x, gather(noise, iteration), weights);
    const reconstruction = reduceMean(terms.reconstruction);
    const kl = reduceMean(terms.kl);
    const loss = add(reconstruction, mul(kl, gather(klWeights, iteration)));

    const { clipped, norm } = clipByGlobalNorm(
      gradients(
        loss,
        perParameter.map((state) => state.parameter),
      ),
      configuration.optimiser.gradient_norm_limit,
    );
    const update = adam(gather(learningRates, iteration), step, configuration.optimiser);
    const next = perParameter.map((state, i) => update(state, clipped[i]));
    return {
      states: next.flatMap(({ parameter, gradientSum, squareSum }) => [parameter, gradientSum, squareSum]),
      collected: [loss, reconstruction, kl, norm],
    };
  });

  for (const [i, parameter] of model.parameters.entries()) {
    for (const [j, state] of STATES.entries()) {
      graph.output(states[i * STATES.length + j], `next_${stateName(state, parameter)}`);
    }
  }
  for (const [i, metric] of STEP_METRICS.entries()) graph.output(collected[i], metric);
  return graph;
}

/** Dynamic binarisation: a pixel is 1 with probability byte / 255, drawn anew every time it is seen. */
export function binarise(bytes: Tensor, thresholds: Tensor, shape: Tensor['shape']): Tensor {
  const isOne = greater(cast(bytes, 'float32'), cast(thresholds, 'float32'));
  return reshape(cast(isOne, 'float32'), shape);
}

function adamState(states: readonly Tensor[], parameter: number): AdamState {
  const [value, gradientSum, squareSum] = states.slice(parameter * STATES.length);
  return { parameter: value, gradientSum, squareSum };
}

/** Scales all gradients by limit / max(norm, limit), with the norm over all of them together (Pascanu et al., 2013). */
function clipByGlobalNorm(all: readonly Tensor[], limit: number): { clipped: Tensor[]; norm: Tensor } {
  const norm = sqrt(all.map((gradient) => reduceSumSquare(gradient)).reduce((sum, part) => add(sum, part)));
  const scale = div(limit, max(norm, limit));
  return { clipped: all.map((gradient) => mul(gradient, scale)), norm };
}
