import type { Attributes } from '../graph.js';
import { type DataType, type Dimension, formatShape, type Shape, type Tensor, type TensorType } from '../tensor.js';

/** What an operator is applied to; the accessors refuse what is not there, in the operator's name. */
export interface Call {
  readonly operator: string;
  readonly inputs: readonly (Tensor | undefined)[];
  readonly attributes: Attributes;
  /** A required input, of one of the given types where types are given. */
  input(index: number, ...dtypes: DataType[]): Tensor;
  optional(index: number): Tensor | undefined;
  int(name: string, fallback?: number): number;
  ints(name: string, fallback?: readonly number[]): readonly number[];
  float(name: string, fallback: number): number;
  string(name: string, fallback: string): string;
  refuse(rule: string): never;
}

/** The types and shapes of the outputs of a call. */
export type Inference = (call: Call) => TensorType[];

/** The same inference for several operators. */
export function each(operators: readonly string[], infer: Inference): Record<string, Inference> {
  return Object.fromEntries(operators.map((operator) => [operator, infer]));
}

export function typeOf({ dtype, shape, elements }: Tensor): TensorType {
  return elements === undefined ? { dtype, shape } : { dtype, shape, elements };
}

export function sameType(call: Call, a: number, b: number): DataType {
  if (call.input(a).dtype !== call.input(b).dtype) call.refuse(`inputs ${a} and ${b} must have the same element type`);
  return call.input(a).dtype;
}

export function broadcastAll(call: Call, indices: readonly number[]): Shape {
  return indices.map((i) => call.input(i).shape).reduce((a, b) => broadcast(call, a, b));
}

/** NumPy's rule: axes are matched from the last; lengths must be equal, or one of them 1. */
export function broadcast(call: Call, a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const left = a[axis - rank + a.length] ?? 1;
    const right = b[axis - rank + b.length] ?? 1;
    if (left === right || right === 1) return left;
    return left === 1 ? right : call.refuse(`${formatShape(a)} and ${formatShape(b)} do not broadcast`);
  });
}

export function axisOf(call: Call, axis: number, rank: number): number {
  const positive = axis < 0 ? axis + rank : axis;
  return positive >= 0 && positive < rank ? positive : call.refuse(`axis ${axis} is not among ${rank} axes`);
}

/** The axes that an input names, in its order, counted from the first. */
export function axesOf(call: Call, index: number, rank: number): ReadonlySet<number> {
  const given = numbers(call, index);
  const axes = new Set(given.map((axis) => axisOf(call, axis, rank)));
  return axes.size === given.length ? axes : call.refuse(`axes [${given.join(', ')}] name one twice`);
}

/** The elements of an int64 vector that is known when the graph is built. */
export function elements(call: Call, index: number): Shape {
  return call.input(index, 'int64').elements ?? call.refuse(`the elements of input ${index} must be known`);
}

export function numbers(call: Call, index: number): number[] {
  return elements(call, index).map((element) => fixed(call, element));
}

/** The value of an int64 scalar that is known when the graph is built. */
export function constantInteger(call: Call, index: number): number {
  const { constant, shape } = call.input(index, 'int64');
  if (constant === undefined || shape.length > 0) return call.refuse(`input ${index} must be a constant scalar`);
  return Number(constant.data[0]);
}

export function fixed(call: Call, dimension: Dimension | undefined): number {
  return typeof dimension === 'number' ? dimension : call.refuse(`axis ${dimension} must have a fixed length here`);
}

export function product(call: Call, shape: Shape): Dimension {
  const names = shape.filter((dimension) => typeof dimension === 'string');
  const [name] = names;
  if (name === undefined) return shape.reduce<number>((total, dimension) => total * fixed(call, dimension), 1);
  return names.length === 1 && shape.every((dimension) => dimension === name || dimension === 1)
    ? name
    : call.refuse(`the length of ${formatShape(shape)} together has no name`);
}
