import type { AggregatePosterior } from '../evaluation/aggregate-posterior.js';
import { constantWeights, type WeightValues } from '../nn/parameters.js';
import { Graph } from '../onnx/graph.js';
import {
  add,
  concat,
  exp,
  flatten,
  gemm,
  max,
  min,
  mul,
  reduceSum,
  sqrt,
  square,
  sub,
  unsqueeze,
} from '../onnx/ops.js';
import { float32, type Tensor } from '../onnx/tensor.js';
import { labelInput, type Model } from '../vae/model.js';
import type { ScoreCombination } from './calibration.js';

// The graphs of a conditional model take `label`, [N, classes], beside x or z: 1 at the number of each example's class.

/** The scorer's outputs of one number an example; bigger is not always more anomalous, which the combination knows. */
const COMPONENTS = ['reconstruction', 'kl', 'mahalanobis', 'posterior_scale'] as const;
export type Component = (typeof COMPONENTS)[number];

/**
 * Those that a model's score is made of. The posterior's scale is a constant where nothing is drawn; its KL then is
 * −log p(z) and a constant, which tells an example whose z the prior does not expect.
 */
export function scoreComponents({ isDeterministic }: Pick<Model, 'isDeterministic'>): readonly Component[] {
  return COMPONENTS.filter((name) => !(isDeterministic && name === 'posterior_scale'));
}

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
 * x [N, …] → one output [N] for each of `scoreComponents`, error_map [N, …] and, once calibrated, score [N]; of rows of a
 * table also x_mean [N, columns], what was expected of each column.
 * z is the posterior mean, so that the same input always gets the same score.
 */
export function scorerGraph(
  model: Model,
  values: WeightValues,
  aggregate: AggregatePosterior,
  combination?: ScoreCombination,
): Graph {
  const graph = new Graph('scorer');
  const weights = constantWeights(graph, values);
  const x = graph.input('x', 'float32', ['N', ...model.inputShape]);
  const { posterior, decode } = model.infer(x, weights, { label: labelInput(graph, model) });
  const decoded = decode();
  const errorMap = model.deviance(x, decoded, weights);
  const whitening = graph.constant(float32(aggregate.whitening, [model.latentSize, model.latentSize]));
  const centred = sub(posterior.mean, graph.constant(float32(aggregate.mean, [model.latentSize])));

  const components: Record<Component, Tensor> = {
    reconstruction: reduceSum(flatten(errorMap), [1]),
    kl: model.prior.divergence(posterior, weights),
    // Distance of the posterior mean to the latent distribution of normal data.
    mahalanobis: sqrt(reduceSum(square(gemm(centred, whitening)), [1])),
    // The length of σ: wide posteriors are what inputs get that the encoder has no use for.
    posterior_scale: sqrt(reduceSum(exp(posterior.logVariance), [1])),
  };
  const names = scoreComponents(model);
  if (combination !== undefined) {
    graph.output(
      combine(
        names.map((name) => components[name]),
        combination,
      ),
      'score',
    );
  }
  for (const name of names) graph.output(components[name], name);
  graph.output(errorMap, 'error_map');
  if (model.inputShape.length === 1) graph.output(model.mean(decoded, weights), 'x_mean');
  return graph;
}

/**
 * Each component to a standard normal by its held-out quantiles, all decorrelated, then their distance to the origin:
 * both tails count, since an input that is too simple is as strange as one that is too complex.
 * The quantile map is a sum of ramps, one a segment between knots, which ONNX runs as four elementwise operators.
 */
function combine(components: readonly Tensor[], { knots, decorrelation }: ScoreCombination): Tensor {
  const [first] = components;
  const count = components.length;
  const segments = knots.start[0].length;
  const table = (rows: readonly (readonly number[])[]) => first.graph.constant(float32(rows.flat(), [count, segments]));
  const raw = unsqueeze(
    concat(
      components.map((component) => unsqueeze(component, [1])),
      1,
    ),
    [2],
  );
  const ramp = min(max(sub(raw, table(knots.start)), table(knots.low)), table(knots.high));
  const normal = add(
    reduceSum(mul(ramp, table(knots.slope)), [2]),
    first.graph.constant(float32(knots.offset, [count])),
  );
  // Columns of zeros fill it up: sums over a row of another length round differently at different places of a batch.
  const columns = 4 * Math.ceil(count / 4);
  const filled = decorrelation.map((row) => [...row, ...new Array<number>(columns - count).fill(0)]);
  const matrix = first.graph.constant(float32(filled.flat(), [count, columns]));
  return sqrt(reduceSum(square(gemm(normal, matrix)), [1]));
}
