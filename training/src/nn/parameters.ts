import type { RandomSource } from '@elbo/models';
import type { Graph } from '../onnx/graph.js';
import { add } from '../onnx/ops.js';
import { float32, type Tensor, type TensorData } from '../onnx/tensor.js';
import type { Initialiser } from './initialisers.js';

/** A tensor of a network: its name in checkpoints and exported graphs, its shape, and how it starts. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  /** False for what is set from the data before training, such as the scale of a column. */
  readonly trainable: boolean;
  initialise(random: RandomSource): Float32Array;
}

/** Where a layer finds its parameters: states of the training loop, or constants of an exported graph. */
export interface Weights {
  (parameter: Parameter): Tensor;
  /** Noise by its name in `Part.noise`, standard normal: [batch, …shape]. There in training alone. */
  readonly noise?: (name: string) => Tensor;
}

/** Trained values by parameter name. */
export type WeightValues = ReadonlyMap<string, Float32Array>;

/** What training knows of a part of a network. */
export interface Part {
  readonly parameters: readonly Parameter[];
  /** Shapes, for one example, of the standard normal noise that it takes in training. */
  readonly noise?: Readonly<Record<string, readonly number[]>>;
  /** KL(q(weights) ‖ p(weights)), where the weights have a distribution: a scalar, in nats. */
  divergence?(weights: Weights): Tensor;
  /**
   * Where the parameters are those of a distribution: the weights that a network without noise has, under the names of
   * its parameters.
   */
  means?(weights: Weights): ReadonlyMap<string, Tensor>;
}

/** Part of a network, with the nodes that it appends to the graph of its input. */
export interface Layer extends Part {
  apply(x: Tensor, weights: Weights): Tensor;
}

/** What several parts are together. */
export function joined(parts: readonly Part[]): Part {
  const random = parts.filter(({ divergence }) => divergence !== undefined);
  return {
    parameters: parts.flatMap(({ parameters }) => parameters),
    noise: Object.assign({}, ...parts.map(({ noise }) => noise)),
    ...(random.length > 0 && {
      divergence: (weights) =>
        random.flatMap((part) => part.divergence?.(weights) ?? []).reduce((sum, nats) => add(sum, nats)),
      means: (weights) => new Map(random.flatMap((part) => [...(part.means?.(weights) ?? [])])),
    }),
  };
}

/** The same weights with noise. */
export function withNoise(weights: Weights, noise: Readonly<Record<string, Tensor>>): Weights {
  return Object.assign((parameter: Parameter) => weights(parameter), {
    noise(name: string): Tensor {
      const tensor = noise[name];
      if (tensor === undefined) throw new Error(`no noise for ${name}`);
      return tensor;
    },
  });
}

export function parameter(
  name: string,
  shape: readonly number[],
  initialiser: Initialiser,
  { trainable = true } = {},
): Parameter {
  const size = shape.reduce((product, dimension) => product * dimension, 1);
  return { name, shape, trainable, initialise: (random) => initialiser(random, size) };
}

/** Trained values as constants of a graph, each made when it is first used. */
export function constantWeights(graph: Graph, values: WeightValues): Weights {
  const constants = new Map<string, Tensor>();
  return ({ name, shape }) => {
    let constant = constants.get(name);
    if (constant === undefined) {
      constant = graph.initialiser(name, float32(valuesOf(name, values), shape));
      constants.set(name, constant);
    }
    return constant;
  };
}

/** Weights as inputs of a graph, fed anew at every run, so that one graph serves changing weights. */
export function inputWeights(graph: Graph, parameters: readonly Parameter[]): Weights {
  return boundWeights(
    parameters,
    parameters.map(({ name, shape }) => graph.input(name, 'float32', shape)),
  );
}

/** What a graph with `inputWeights` is fed. */
export function weightFeeds(parameters: readonly Parameter[], values: WeightValues): Record<string, TensorData> {
  return Object.fromEntries(parameters.map(({ name, shape }) => [name, float32(valuesOf(name, values), shape)]));
}

/** Binds parameters to tensors in the same order. */
export function boundWeights(parameters: readonly Parameter[], tensors: readonly Tensor[]): Weights {
  const byName = new Map(parameters.map((parameter, i) => [parameter.name, tensors[i]]));
  return ({ name }) => {
    const tensor = byName.get(name);
    if (tensor === undefined) throw new Error(`no tensor for the parameter ${name}`);
    return tensor;
  };
}

/** The values of one parameter, which must be there. */
export function valuesOf(name: string, values: WeightValues): Float32Array {
  const data = values.get(name);
  if (data === undefined) throw new Error(`no values for the parameter ${name}`);
  return data;
}
