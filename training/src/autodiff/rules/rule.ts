import type { Node } from '../../onnx/graph.js';
import { add, reduceSum, squeeze } from '../../onnx/ops.js';
import type { Tensor } from '../../onnx/tensor.js';

/**
 * The gradient with respect to each input of a node, given the gradient of its output. Each is a function, called only
 * where somebody needs it; `undefined` stands for an input that no gradient flows to (an index, a shape, a bound).
 */
export type Rule = (node: NodeView, gradient: Tensor) => readonly ((() => Tensor) | undefined)[];

export interface NodeView {
  readonly inputs: readonly Tensor[];
  /** The output that has a gradient: the only one of most operators. */
  readonly output: Tensor;
  /** The gradients of all outputs; undefined for one that the loss does not depend on. */
  readonly gradients: readonly (Tensor | undefined)[];
  readonly node: Node;
}

export type Rules = Readonly<Record<string, Rule>>;

/** Operators whose output is constant almost everywhere, or no function of their inputs' values. */
export function withoutGradient(operators: readonly string[]): Rules {
  return Object.fromEntries(operators.map((operator) => [operator, ({ inputs }) => inputs.map(() => undefined)]));
}

/** Sums the axes along which x was broadcast, so that the gradient gets the shape of x. */
export function sumTo(gradient: Tensor, x: Tensor): Tensor {
  const extra = gradient.shape.length - x.shape.length;
  const axes = gradient.shape.flatMap((dimension, axis) =>
    axis < extra || (x.shape[axis - extra] === 1 && dimension !== 1) ? [axis] : [],
  );
  const summed = axes.length === 0 ? gradient : reduceSum(gradient, axes, true);
  return extra === 0 ? summed : squeeze(summed, axes.slice(0, extra));
}

/** The sum of those terms that are there; at least one is. */
export function sumOf(terms: readonly (Tensor | undefined)[]): Tensor {
  return terms.filter((term) => term !== undefined).reduce(add);
}

export function intAttribute(node: Node, name: string, fallback: number): number {
  const attribute = node.attributes[name];
  return attribute?.kind === 'int' ? attribute.value : fallback;
}

export function floatAttribute(node: Node, name: string, fallback: number): number {
  const attribute = node.attributes[name];
  return attribute?.kind === 'float' ? attribute.value : fallback;
}

export function intsAttribute(node: Node, name: string): readonly number[] {
  const attribute = node.attributes[name];
  return attribute?.kind === 'ints' ? attribute.value : [];
}

export function stringAttribute(node: Node, name: string, fallback: string): string {
  const attribute = node.attributes[name];
  return attribute?.kind === 'string' ? attribute.value : fallback;
}

/** The numbers of an int64 vector that is known when the graph is built. */
export function elementsOf(vector: Tensor): number[] {
  return (vector.elements ?? []).map(Number);
}

export function fixedLength(x: Tensor, axis: number): number {
  const length = x.shape.at(axis);
  if (typeof length !== 'number') throw new Error(`axis ${axis} of ${x.name} must have a fixed length`);
  return length;
}

export function positiveAxis(axis: number, { shape }: Tensor): number {
  return axis < 0 ? axis + shape.length : axis;
}
