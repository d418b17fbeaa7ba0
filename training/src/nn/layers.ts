import { flatten, gemm, leakyRelu, mul, relu, sigmoid, softplus, tanh } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';
import { glorotUniform, type Initialiser, zeros } from './initialisers.js';
import { type LayerMaker, plain } from './linear.js';
import { joined, type Layer, parameter, type Weights } from './parameters.js';

/** Of what is below 0, as discriminators mostly have it (Radford et al., 2016). */
export const LEAKY_SLOPE = 0.2;

/** Non-linearities by their name in a configuration. */
export const ACTIVATIONS = {
  relu,
  'leaky-relu': (x: Tensor): Tensor => leakyRelu(x, LEAKY_SLOPE),
  tanh,
  softplus,
  /** x · sigmoid(x) (Hendrycks & Gimpel, 2016). */
  silu: (x: Tensor): Tensor => mul(x, sigmoid(x)),
} as const;
export type ActivationName = keyof typeof ACTIVATIONS;

export interface DenseOptions {
  readonly weight?: Initialiser;
  readonly bias?: Initialiser;
  readonly make?: LayerMaker;
}

/** A fully connected layer: [N, inputs] to [N, units], x · weight + bias. */
export function dense(
  name: string,
  inputs: number,
  units: number,
  { weight = glorotUniform(inputs, units), bias = zeros, make = plain }: DenseOptions = {},
): Layer {
  return make({
    name,
    weight: parameter(`${name}.weight`, [inputs, units], weight),
    bias: parameter(`${name}.bias`, [units], bias),
    inputAxis: 0,
    output: [units],
    apply: (x, w, b) => gemm(x, w, b),
  });
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
  { firstNumber = 0, make = plain }: { firstNumber?: number; make?: LayerMaker } = {},
): Mlp {
  const layers = hidden.map((units, i) =>
    dense(`${name}.${firstNumber + i}`, i === 0 ? inputs : hidden[i - 1], units, { make }),
  );
  const signals = (x: Tensor, weights: Weights): readonly Tensor[] => {
    let signal = flatten(x);
    return layers.map((layer) => {
      signal = ACTIVATIONS[activation](layer.apply(signal, weights));
      return signal;
    });
  };
  return {
    ...joined(layers),
    signals,
    apply: (x, weights) => signals(x, weights).at(-1) ?? flatten(x),
  };
}
