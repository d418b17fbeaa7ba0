import type { Tensor as TfTensor } from '@tensorflow/tfjs';
import {
  DATA_TYPES,
  type DataType,
  elementCount,
  formatShape,
  type Shape,
  type TensorData,
} from '../../onnx/tensor.js';
import { EngineError } from '../engine-error.js';

/** TensorFlow.js, however it was loaded. */
export type Tf = typeof import('@tensorflow/tfjs');

/**
 * A value while a graph runs: a tensor of tfjs, or data on the host. Bytes, for which tfjs has no element type, and
 * int64 stay on the host while nobody computes with them.
 */
export type Value = TfTensor | TensorData;

export function isTensor(value: Value): value is TfTensor {
  return 'dataId' in value;
}

/** @throws {EngineError} where an integer is beyond int32, the only integers that tfjs has */
export function toTensor(tf: Tf, value: Value): TfTensor {
  if (isTensor(value)) return value;
  const { dtype, data } = value;
  const shape = [...value.shape];
  switch (dtype) {
    case 'float32':
    case 'int32':
    case 'bool':
      return tf.tensor(data as Float32Array, shape, dtype);
    case 'uint8':
      return tf.tensor(Int32Array.from(data as Uint8Array), shape, 'int32');
    case 'int64':
      return tf.tensor(Int32Array.from(data as BigInt64Array, asInt32), shape, 'int32');
  }
}

function asInt32(value: bigint): number {
  if (BigInt.asIntN(32, value) !== value) {
    throw new EngineError(`tfjs computes with 32-bit integers, which cannot hold ${value}`);
  }
  return Number(value);
}

/** A copy as the element type that the graph has; tfjs holds uint8 and int64 as int32. */
export function toTensorData(value: Value, dtype: DataType): TensorData {
  const shape = [...value.shape];
  if (!isTensor(value)) return { dtype, shape, data: value.data.slice() };
  const data = value.dataSync<'float32' | 'int32' | 'bool'>();
  switch (dtype) {
    case 'float32':
      return { dtype, shape, data: Float32Array.from(data) };
    case 'int32':
      return { dtype, shape, data: Int32Array.from(data) };
    case 'uint8':
    case 'bool':
      return { dtype, shape, data: Uint8Array.from(data) };
    case 'int64':
      return { dtype, shape, data: BigInt64Array.from(data, BigInt) };
  }
}

export function numbersOf(value: Value): number[] {
  const data = isTensor(value) ? value.dataSync() : value.data;
  return Array.from<number | bigint | string>(data).map(Number);
}

/** @throws {EngineError} naming the input, what it was fed and what it takes */
export function checkFeed(name: string, type: { dtype: DataType; shape: Shape }, feed: TensorData | undefined): void {
  const expected = `${type.dtype} ${formatShape(type.shape)}`;
  if (feed === undefined) throw new EngineError(`input '${name}' is missing; expected ${expected}`);
  const fits =
    feed.dtype === type.dtype &&
    feed.shape.length === type.shape.length &&
    feed.shape.every((length, axis) => {
      const wanted = type.shape[axis];
      return Number.isSafeInteger(length) && length >= 0 && (typeof wanted === 'string' || wanted === length);
    });
  if (!fits) {
    throw new EngineError(`input '${name}' is ${feed.dtype} ${formatShape(feed.shape)}; expected ${expected}`);
  }
  const { array } = DATA_TYPES[type.dtype];
  if (!(feed.data instanceof array)) {
    throw new EngineError(`input '${name}' holds a ${feed.data.constructor.name}; expected a ${array.name}`);
  }
  const count = elementCount(feed.shape);
  if (feed.data.length !== count) {
    throw new EngineError(`input '${name}' holds ${feed.data.length} values; expected ${count}`);
  }
}
