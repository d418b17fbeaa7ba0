import { Float16Array, f16round } from '@petamoriken/float16';
import { GraphError } from './errors.js';
import { AttributeType, type GraphProto, type NodeProto, type TensorProto } from './protobuf.js';
import { DATA_TYPES, elementCount, type TensorData } from './tensor.js';

// Constants that are float16 numbers are written as such, with a Cast to float32 behind them. Runtimes compute that once,
// when they load a graph, so that a file is half as large and runs no slower.

/** ONNX's TensorProto.DataType of float16, which only files have: no graph computes with it. */
const FLOAT16 = 10;

/** A smaller tensor is not worth another form. */
export const SMALLEST_HALVES = 1024;

/** A constant in half precision, and the node that gives it back. */
export interface Halves {
  readonly tensor: TensorProto;
  readonly cast: NodeProto;
}

/** The nearest float16 numbers; the values themselves where one would be infinite. */
export function roundedToHalves(values: Float32Array): Float32Array {
  const rounded = values.map((value) => f16round(value));
  return rounded.every(Number.isFinite) ? rounded : values;
}

/** A float32 tensor in half precision; undefined where that would change a value. */
export function halvesOf(name: string, { dtype, shape, data }: TensorData): Halves | undefined {
  if (dtype !== 'float32' || data.length < SMALLEST_HALVES) return undefined;
  if (!(data as Float32Array).every((value) => f16round(value) === value)) return undefined;
  const halves = new Float16Array(data as Float32Array);
  const stored = `${name}.half`;
  return {
    tensor: { name: stored, dataType: FLOAT16, dims: [...shape], rawData: new Uint8Array(halves.buffer) },
    cast: {
      name,
      opType: 'Cast',
      input: [stored],
      output: [name],
      attribute: [{ name: 'to', type: AttributeType.INT, i: DATA_TYPES.float32.code }],
    },
  };
}

/**
 * The same graph with float32 constants in place of those in half precision.
 * @throws {GraphError} where their data do not fill their shape
 */
export function withoutHalves<Proto extends Pick<GraphProto, 'initializer' | 'node'>>(graph: Proto): Proto {
  const halves = new Map(
    graph.initializer.flatMap((tensor) => (tensor.dataType === FLOAT16 ? [[tensor.name, tensor] as const] : [])),
  );
  if (halves.size === 0) return graph;
  /** Names under which each comes back as float32. */
  const widened = new Map<string, string[]>();
  const node = graph.node.filter(({ opType, input, output, attribute }) => {
    const isCast = opType === 'Cast' && attribute.some(({ name, i }) => name === 'to' && i === DATA_TYPES.float32.code);
    if (!isCast || !halves.has(input[0]) || output.length !== 1) return true;
    widened.set(input[0], [...(widened.get(input[0]) ?? []), output[0]]);
    return false;
  });
  const used = new Set(node.flatMap(({ input }) => input));
  // Each stands where it stood, so that a file that is read and written again is the same.
  const initializer = graph.initializer.flatMap((tensor) => {
    const names = halves.has(tensor.name) ? (widened.get(tensor.name) ?? []) : [];
    const wide = names.map((name) => ({
      ...tensor,
      name,
      dataType: DATA_TYPES.float32.code,
      rawData: widenedData(tensor),
    }));
    return wide.length === 0 || used.has(tensor.name) ? [tensor, ...wide] : wide;
  });
  return { ...graph, initializer, node };
}

function widenedData({ name, dims, rawData }: TensorProto): Uint8Array {
  const size = elementCount(dims);
  if (rawData.byteLength !== size * 2) {
    throw new GraphError(`${name}: ${rawData.byteLength} bytes do not fill [${dims.join(', ')}]`);
  }
  const aligned = Uint8Array.prototype.slice.call(rawData);
  const values = Float32Array.from(new Float16Array(aligned.buffer, aligned.byteOffset, size));
  return new Uint8Array(values.buffer);
}
