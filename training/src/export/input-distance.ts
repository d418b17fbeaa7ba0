import type { RandomSource } from '@elbo/models';
import { Matrix } from 'ml-matrix';
import { quantileSorted } from 'simple-statistics';
import { type Examples, spread } from '../data/dataset.js';
import type { Engine } from '../engines/engine.js';
import { whiteningOf } from '../evaluation/aggregate-posterior.js';
import { runOverExamples } from '../evaluation/batches.js';
import { constantWeights, type Weights, type WeightValues } from '../nn/parameters.js';
import { encodeModel } from '../onnx/encode.js';
import { Graph } from '../onnx/graph.js';
import { abs, add, flatten, log, mul, sign, sub } from '../onnx/ops.js';
import { elementCount, float32, type Tensor } from '../onnx/tensor.js';
import type { Likelihood } from '../vae/likelihoods/likelihood.js';
import type { Model } from '../vae/model.js';
import { lengths, transformed } from './distance.js';
import { fitIsolationForest, type IsolationForest, isolation } from './isolation-forest.js';

/** Where most rows of a table lie, as the scorer measures distances to it; K are the numbers that the encoder sees. */
export interface InputDistribution {
  /** Of each number, [K]: the median, and the deviation that its quartiles tell. */
  readonly median: Float64Array;
  readonly scale: Float64Array;
  /** Of the squashed numbers of the rows that lie close together: [K] and [K, K] row-major. */
  readonly mean: Float64Array;
  readonly whitening: Float64Array;
  /** Of whitened rows: a cut looks at what one number is beyond what those before it say. */
  readonly forest: IsolationForest;
}

/** The matrix of more numbers would be most of the scorer's file, and say little that the network does not. */
const LARGEST_INPUT = 512;
/** Multiplications that one covariance takes at most. */
const LARGEST_COVARIANCE = 1e9;
/** Of the training rows, those that define what is usual; the share that won on tables which no benchmark reports. */
const USUAL_SHARE = 0.75;
/** Steps of concentration; later ones hardly change the set of rows. */
const CONCENTRATION_STEPS = 5;
/** Added to variances of about 1: categories of a column add up to 1, and columns may repeat each other. */
const RIDGE = 0.01;
/** Rows that a forest is drawn from, at most. */
const FOREST_ROWS = 25_600;
/** Quartiles of a standard normal are 1.349 apart. */
const QUARTILES_OF_NORMAL = 1.349;

/** Whether a model's score has the distance of its input: that of tables of not too many columns. */
export function hasInputDistance({ inputShape, likelihood }: Pick<Model, 'inputShape' | 'likelihood'>): boolean {
  return inputShape.length === 1 && elementCount(likelihood.presentedShape) <= LARGEST_INPUT;
}

/** The distribution of what a model's encoder sees of training rows. */
export async function inputDistributionOf(
  engine: Engine,
  model: Model,
  weights: WeightValues,
  train: Examples,
  random: RandomSource,
): Promise<InputDistribution> {
  const size = elementCount(model.likelihood.presentedShape);
  const rows = spread(train, Math.max(2 * size, Math.floor(LARGEST_COVARIANCE / size ** 2)));
  const graph = new Graph('presented');
  const x = graph.input('x', 'float32', ['N', ...model.inputShape]);
  graph.output(presented(x, model, constantWeights(graph, weights)), 'presented');
  const program = await engine.load(encodeModel(graph));
  const values = await runOverExamples(program, rows, ['presented']).finally(() => program.release());
  return fitInputDistribution(values.presented, size, random);
}

/**
 * A robust centre and covariance: numbers are centred by their median, scaled by their quartiles and squashed, so that heavy
 * tails count by their logarithm; then the rows that lie closest are kept and measured again, as in the concentration steps
 * of the fast minimum covariance determinant (Rousseeuw & Van Driessen, 1999). Anomalies among the rows change it little.
 * @param values [n, size], row-major
 * @param random for the forest
 */
export function fitInputDistribution(values: Float32Array, size: number, random: RandomSource): InputDistribution {
  const count = values.length / size;
  const column = (i: number) => Array.from({ length: count }, (_, row) => values[row * size + i]).sort((a, b) => a - b);
  const columns = Array.from({ length: size }, (_, i) => column(i));
  const median = Float64Array.from(columns, (sorted) => quantileSorted(sorted, 0.5));
  const scale = Float64Array.from(columns, scaleOf);
  const squashed = Float64Array.from(values, (value, at) => squash((value - median[at % size]) / scale[at % size]));
  const kept = Math.min(count, Math.max(size + 2, Math.round(USUAL_SHARE * count)));
  let rows = Uint32Array.from({ length: count }, (_, row) => row);
  for (let step = 0; ; step++) {
    const { mean, covariance } = momentsOf(squashed, size, rows);
    const whitening = Float64Array.from(whiteningOf(Matrix.from1DArray(size, size, covariance)).to1DArray());
    if (step === CONCENTRATION_STEPS) {
      const forest = fitIsolationForest(forestRows(squashed, size, { mean, whitening }), size, random);
      return { median, scale, mean, whitening, forest };
    }
    const distances = squaredDistances(squashed, size, { mean, whitening });
    rows = Uint32Array.from({ length: count }, (_, row) => row)
      .sort((a, b) => distances[a] - distances[b] || a - b)
      .subarray(0, kept);
  }
}

/** How far each row lies from most, and how easily random cuts set it apart: x [N, …inputShape] → [N] each. */
export function inputComponents(
  x: Tensor,
  model: { readonly likelihood: Pick<Likelihood, 'present'> },
  weights: Weights,
  { median, scale, mean, whitening, forest }: InputDistribution,
): Record<'input_distance' | 'isolation', Tensor> {
  const size = median.length;
  const row = (values: Float64Array) => x.graph.constant(float32(values, [size]));
  const scaled = mul(sub(presented(x, model, weights), row(median)), row(scale.map((deviation) => 1 / deviation)));
  const squashed = mul(sign(scaled), log(add(abs(scaled), 1)));
  const whitened = transformed(sub(squashed, row(mean)), whitening);
  return { input_distance: lengths(whitened), isolation: isolation(whitened, forest) };
}

/** What the encoder sees, flat: [N, K]. */
function presented(
  x: Tensor,
  { likelihood }: { readonly likelihood: Pick<Likelihood, 'present'> },
  weights: Weights,
): Tensor {
  return flatten(likelihood.present(flatten(x), weights));
}

const squash = (value: number): number => Math.sign(value) * Math.log1p(Math.abs(value));

/** By the quartiles; where half of all values are equal, by their deviation; 1 where all are. */
function scaleOf(sorted: number[]): number {
  const byQuartiles = (quantileSorted(sorted, 0.75) - quantileSorted(sorted, 0.25)) / QUARTILES_OF_NORMAL;
  if (byQuartiles > 0) return byQuartiles;
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length;
  const deviation = Math.sqrt(sorted.reduce((sum, value) => sum + (value - mean) ** 2, 0) / sorted.length);
  return deviation > 0 ? deviation : 1;
}

function momentsOf(
  values: Float64Array,
  size: number,
  rows: Uint32Array,
): { mean: Float64Array; covariance: Float64Array } {
  const mean = new Float64Array(size);
  for (const row of rows) {
    for (let i = 0; i < size; i++) mean[i] += values[row * size + i] / rows.length;
  }
  const covariance = new Float64Array(size * size);
  const centred = new Float64Array(size);
  for (const row of rows) {
    for (let i = 0; i < size; i++) centred[i] = values[row * size + i] - mean[i];
    for (let i = 0; i < size; i++) {
      for (let j = 0; j <= i; j++) covariance[i * size + j] += (centred[i] * centred[j]) / rows.length;
    }
  }
  for (let i = 0; i < size; i++) {
    covariance[i * size + i] += RIDGE;
    for (let j = 0; j < i; j++) covariance[j * size + i] = covariance[i * size + j];
  }
  return { mean, covariance };
}

function squaredDistances(values: Float64Array, size: number, to: Whitening): Float64Array {
  const distances = new Float64Array(values.length / size);
  const row = new Float64Array(size);
  for (let i = 0; i < distances.length; i++) {
    whiten(values.subarray(i * size, (i + 1) * size), to, row);
    for (const value of row) distances[i] += value * value;
  }
  return distances;
}

/** Whitened rows at even distances, at most as many as a forest draws. */
function forestRows(values: Float64Array, size: number, to: Whitening): Float64Array {
  const count = values.length / size;
  const kept = Math.min(count, FOREST_ROWS);
  const rows = new Float64Array(kept * size);
  for (let i = 0; i < kept; i++) {
    const from = Math.floor((i * count) / kept) * size;
    whiten(values.subarray(from, from + size), to, rows.subarray(i * size, (i + 1) * size));
  }
  return rows;
}

type Whitening = Pick<InputDistribution, 'mean' | 'whitening'>;

/** (row − mean) · whitening. */
function whiten(row: Float64Array, { mean, whitening }: Whitening, target: Float64Array): void {
  const size = row.length;
  for (let j = 0; j < size; j++) {
    target[j] = 0;
    // The whitening is the transposed inverse of a lower triangle.
    for (let i = 0; i <= j; i++) target[j] += (row[i] - mean[i]) * whitening[i * size + j];
  }
}
