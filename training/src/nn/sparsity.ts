import { elementCount } from '../onnx/tensor.js';
import type { Parameter, WeightValues } from './parameters.js';

/** How many weights of a layer are there and count for something. */
export interface LayerSparsity {
  /** Of the parameter. */
  readonly name: string;
  readonly weights: number;
  readonly non_zero: number;
}

/** What a network's weights came to; biases do not count, as in the papers. */
export interface Sparsity {
  readonly weights: number;
  readonly non_zero: number;
  /** Weights there are for each that is not zero. */
  readonly compression: number;
  readonly layers: LayerSparsity[];
}

/** Of weights with a distribution, in the course of training. */
export interface WeightsSummary {
  /** KL(q ‖ p) of all weights, in nats for each training example. */
  readonly kl: number;
  /** How many are not pruned, of how many. */
  readonly nonZero: number;
  readonly total: number;
}

/** Counts the weights of matrices and kernels. */
export function sparsityOf(parameters: readonly Parameter[], values: WeightValues): Sparsity {
  const layers = parameters
    .filter(({ trainable, shape }) => trainable && shape.length > 1)
    .map(({ name, shape }) => ({
      name,
      weights: elementCount(shape),
      non_zero: values.get(name)?.reduce((count, value) => (value === 0 ? count : count + 1), 0) ?? 0,
    }));
  const total = (count: (layer: LayerSparsity) => number) => layers.reduce((sum, layer) => sum + count(layer), 0);
  const weights = total((layer) => layer.weights);
  const nonZero = total((layer) => layer.non_zero);
  return { weights, non_zero: nonZero, compression: weights / Math.max(1, nonZero), layers };
}
