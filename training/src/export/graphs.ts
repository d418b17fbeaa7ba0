import { constantWeights, type WeightValues } from '../nn/parameters.js';
import { Graph } from '../onnx/graph.js';
import type { Tensor } from '../onnx/tensor.js';
import { labelInput, type Model } from '../vae/model.js';
import type { ScoreCombination } from './calibration.js';
import { componentTensors, type NormalData, scoredComponents } from './components.js';
import { combine } from './score.js';

// The graphs of a conditional model take `label`, [N, classes], beside x or z: 1 at the number of each example's class.

/** x [N, …] → mean [N, Z], log_variance [N, Z]. */
export function encoderGraph(model: Model, values: WeightValues): Graph {
  const graph = new Graph('encoder');
  const x = graph.input('x', 'float32', ['N', ...model.inputShape]);
  const { posterior } = model.infer(x, constantWeights(graph, values), { label: labelInput(graph, model) });
  graph.output(posterior.mean, 'mean');
  graph.output(posterior.logVariance, 'log_variance');
  return graph;
}

/** z [N, Z] → x_mean [N, …], the expected value in data space. */
export function decoderGraph(model: Model, values: WeightValues): Graph {
  const graph = new Graph('decoder');
  const z = graph.input('z', 'float32', ['N', model.latentSize]);
  const weights = constantWeights(graph, values);
  graph.output(model.mean(model.decode(z, weights, labelInput(graph, model)), weights), 'x_mean');
  return graph;
}

/**
 * x [N, …] → one output [N] for each of `componentsOf`, error_map [N, …] and, once calibrated, score [N]; of rows of a
 * table also x_mean [N, columns], what was expected of each column.
 * z is the posterior mean, so that the same input always gets the same score.
 */
export function scorerGraph(
  model: Model,
  values: WeightValues,
  normal: NormalData,
  combination?: ScoreCombination,
): Graph {
  const graph = new Graph('scorer');
  const weights = constantWeights(graph, values);
  const x = graph.input('x', 'float32', ['N', ...model.inputShape]);
  const { posterior, decode } = model.infer(x, weights, { label: labelInput(graph, model) });
  const decoded = decode();
  const errorMap = model.deviance(x, decoded, weights);
  const components = componentTensors({ x, posterior, errorMap }, model, weights, normal);
  if (combination !== undefined) {
    const scored = scoredComponents(model).map((name) => components[name] as Tensor);
    graph.output(combine(scored, combination), 'score');
  }
  for (const [name, component] of Object.entries(components)) graph.output(component, name);
  graph.output(errorMap, 'error_map');
  if (model.inputShape.length === 1) graph.output(model.mean(decoded, weights), 'x_mean');
  return graph;
}
