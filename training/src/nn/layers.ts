import { flatten, gemm, mul, relu, sigmoid, softplus, tanh } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';
import { glorotUniform, type Initialiser, zeros } from './initialisers.js';
import { type Layer, parameter, type Weights } from './parameters.js';

/** Non-linearities by their name in a configuration. */
export const ACTIVATIONS = {
  relu,
  tanh,
  softplus,
  /** x · sigmoid(x) (Hendrycks & Gimpel, 2016). */
  silu: (x: Tensor): Tensor => mul(x, sigmoid(x)),
} as const;
export type ActivationName = keyof typeof ACTIVATIONS;

/** A fully connected layer: [N, inputs] to [N, units], x · weight + bias. */
export function dense(
  name: string,
  inputs: number,
  units: number,
  { weight = glorotUniform(inputs, units), bias = zeros }: { weight?: Initialiser; bias?: Initialiser } = {},
): Layer {
  const w = parameter(`${name}.weight`, [inputs, units], weight);
  const b = parameter(`${name}.bias`, [units], bias);
  return { parameters: [w, b], apply: (x, weights) => gemm(x, weights(w), weights(b)) };
}

export interface Mlp extends Layer {
  /** What comes out of each layer, the last one's being the result. */
  signals(x: Tensor, weights: Weights): readonly Tensor[];
}

/**
 * Hidden layers of a multilayer perceptron, each followed by the activation; takes [N, …] and flattens it.
 * @param firstNumber of the layers' names
 */
export function mlp(
  name: string,
  inputs: number,
  hidden: readonly number[],
  activation: ActivationName,
  firstNumber = 0,
): Mlp {
  const layers = hidden.map((units, i) => dense(`${name}.${firstNumber + i}`, i === 0 ? inputs : hidden[i - 1], units));
  const signals = (x: Tensor, weights: Weights): readonly Tensor[] => {
    let signal = flatten(x);
    return layers.map((layer) => {
      signal = ACTIVATIONS[activation](layer.apply(signal, weights));
      return signal;
    });
  };
  return {
    parameters: layers.flatMap((layer) => layer.parameters),
    signals,
    apply: (x, weights) => signals(x, weights).at(-1) ?? flatten(x),
  };
}
