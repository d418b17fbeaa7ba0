import type { RandomSource } from '@elbo/models';
import type { Graph } from '../onnx/graph.js';
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
export type Weights = (parameter: Parameter) => Tensor;

/** Trained values by parameter name. */
export type WeightValues = ReadonlyMap<string, Float32Array>;

/** Part of a network: its parameters, and the nodes that it appends to the graph of its input. */
export interface Layer {
  readonly parameters: readonly Parameter[];
  apply(x: Tensor, weights: Weights): Tensor;
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
