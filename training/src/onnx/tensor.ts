import type { Graph } from './graph.js';

/** One axis: a fixed length, or a name such as 'N' that stands for the same unknown length wherever it is used. */
export type Dimension = number | string;
export type Shape = readonly Dimension[];

/** Element types by their number in ONNX's TensorProto.DataType, their width and their JavaScript array. */
export const DATA_TYPES = {
  float32: { code: 1, bytes: 4, array: Float32Array },
  uint8: { code: 2, bytes: 1, array: Uint8Array },
  int32: { code: 6, bytes: 4, array: Int32Array },
  int64: { code: 7, bytes: 8, array: BigInt64Array },
  bool: { code: 9, bytes: 1, array: Uint8Array },
} as const;
export type DataType = keyof typeof DATA_TYPES;
export type TypedArray = Float32Array | Uint8Array | Int32Array | BigInt64Array;

/** Values with their shape: what goes into and comes out of a graph. */
export interface TensorData {
  readonly dtype: DataType;
  readonly shape: readonly number[];
  readonly data: TypedArray;
}

export interface TensorType {
  readonly dtype: DataType;
  readonly shape: Shape;
  /** For an int64 vector that holds a shape: its elements, where they are known (by number or by name). */
  readonly elements?: Shape;
}

/** A value of a graph: an input, a constant, or what a node computes. Made by `Graph` only. */
export interface Tensor extends TensorType {
  readonly name: string;
  readonly graph: Graph;
  /** The values, where they are known when the graph is built. */
  readonly constant?: TensorData;
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dimension) => product * dimension, 1);
}

/** Whether every axis has a fixed length. */
export function isStatic(shape: Shape): shape is readonly number[] {
  return shape.every((dimension) => typeof dimension === 'number');
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dimension, i) => dimension === b[i]);
}

export function formatShape(shape: Shape): string {
  return `[${shape.join(', ')}]`;
}

export function float32(data: ArrayLike<number>, shape: readonly number[]): TensorData {
  return { dtype: 'float32', shape, data: data instanceof Float32Array ? data : Float32Array.from(data) };
}

export function int64(data: ArrayLike<number>, shape: readonly number[] = [data.length]): TensorData {
  return { dtype: 'int64', shape, data: BigInt64Array.from(Array.from(data, BigInt)) };
}
