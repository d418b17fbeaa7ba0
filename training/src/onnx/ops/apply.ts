import { type Attributes, type Graph, innermostGraph } from '../graph.js';
import { float32, int64, type Tensor } from '../tensor.js';

// A node goes into the innermost graph among its inputs, so what a loop's body computes from outer values alone is
// computed once, outside.

/** A tensor, or a number that becomes a float32 scalar. */
export type Operand = Tensor | number;

/** Appends a node and returns its first output; the others are optional ones. */
export function apply(operator: string, inputs: readonly (Tensor | undefined)[], attributes?: Attributes): Tensor {
  return applyAll(operator, inputs, attributes)[0] as Tensor;
}

/** Appends a node and returns all its outputs. */
export function applyAll(
  operator: string,
  inputs: readonly (Tensor | undefined)[],
  attributes?: Attributes,
): readonly Tensor[] {
  const given = inputs.filter((input) => input !== undefined);
  return innermostGraph(operator, given).node(operator, inputs, attributes);
}

export function scalar(graph: Graph, value: number): Tensor {
  return graph.constant(float32([value], []));
}

export const unary =
  (operator: string) =>
  (x: Tensor): Tensor =>
    apply(operator, [x]);

export const binary =
  (operator: string) =>
  (a: Operand, b: Operand): Tensor =>
    apply(operator, asTensors(operator, [a, b]));

/** Any number of operands; numbers become float32 scalars. */
export const variadic =
  (operator: string) =>
  (...operands: readonly Operand[]): Tensor =>
    apply(operator, asTensors(operator, operands));

/** Makes float32 scalars of numbers, in the innermost graph among the tensors beside them. */
export function asTensors(operator: string, operands: readonly Operand[]): Tensor[] {
  const graph = innermostGraph(
    operator,
    operands.filter((x) => typeof x !== 'number'),
  );
  return operands.map((x) => (typeof x === 'number' ? scalar(graph, x) : x));
}

/** An int64 vector that is known when the graph is built. */
export function vector(graph: Graph, values: readonly number[]): Tensor {
  return graph.constant(int64(values));
}

/** An int64 scalar that is known when the graph is built. */
export function integer(graph: Graph, value: number): Tensor {
  return graph.constant(int64([value], []));
}
