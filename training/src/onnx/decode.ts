import { GraphError } from './errors.js';
import { withoutHalves } from './halves.js';
import { decodeModelProto, type TensorProto, type ValueInfoProto } from './protobuf.js';
import { allInitialisers } from './sparse.js';
import { DATA_TYPES, type DataType, elementCount, type TensorType } from './tensor.js';

/** What an `.onnx` file holds, without its values. */
export interface ModelSummary {
  readonly name: string;
  readonly description: string;
  readonly producer: string;
  readonly opset: number;
  readonly inputs: Readonly<Record<string, TensorType>>;
  readonly outputs: Readonly<Record<string, TensorType>>;
  /** How often each operator stands in it, most frequent first. */
  readonly operators: Readonly<Record<string, number>>;
  readonly initialisers: Readonly<Record<string, TensorType>>;
}

/** @throws {GraphError} where the bytes are not an ONNX model that Elbo can read */
export function summarise(bytes: Uint8Array): ModelSummary {
  const { graph, producerName, docString, opsetImport } = decode(bytes);
  const counts = new Map<string, number>();
  for (const { opType } of graph.node) counts.set(opType, (counts.get(opType) ?? 0) + 1);
  return {
    name: graph.name,
    description: docString,
    producer: producerName,
    opset: opsetImport.find(({ domain }) => domain === '')?.version ?? 0,
    inputs: valueTypes(graph.input),
    outputs: valueTypes(graph.output),
    operators: Object.fromEntries([...counts].sort(([, a], [, b]) => b - a)),
    initialisers: Object.fromEntries(allInitialisers(graph).map((tensor) => [tensor.name, tensorType(tensor)])),
  };
}

/**
 * The float32 initialisers of an `.onnx` file by name: trained weights, and constants.
 * @throws {GraphError} where the bytes are not such a model, or an initialiser's data does not fill its shape
 */
export function float32Initialisers(bytes: Uint8Array): Map<string, Float32Array> {
  const values = new Map<string, Float32Array>();
  for (const tensor of allInitialisers(decode(bytes).graph)) {
    if (tensor.dataType !== DATA_TYPES.float32.code) continue;
    const size = elementCount(tensor.dims);
    if (tensor.rawData.byteLength !== size * 4) {
      throw new GraphError(
        `${tensor.name}: ${tensor.rawData.byteLength} bytes do not fill [${tensor.dims.join(', ')}]`,
      );
    }
    const aligned = Uint8Array.prototype.slice.call(tensor.rawData);
    values.set(tensor.name, new Float32Array(aligned.buffer, aligned.byteOffset, size));
  }
  return values;
}

function decode(bytes: Uint8Array) {
  try {
    const model = decodeModelProto(bytes);
    if (model.graph === null || model.graph.node.length === 0) throw new Error('it has no graph');
    return { ...model, graph: withoutHalves(model.graph) };
  } catch (error) {
    throw new GraphError(`not an ONNX model: ${(error as Error).message}`, { cause: error });
  }
}

function valueTypes(values: readonly ValueInfoProto[]): Record<string, TensorType> {
  return Object.fromEntries(
    values.map(({ name, type }) => {
      // Absent parts of a damaged or foreign file come as null.
      const { elemType, shape } = type?.tensorType ?? {};
      if (elemType === undefined || !shape) throw new GraphError(`${name}: its element type and shape are not stated`);
      return [name, { dtype: dataType(elemType), shape: shape.dim.map((d) => d.dimParam || (d.dimValue ?? 0)) }];
    }),
  );
}

function tensorType({ dataType: code, dims }: TensorProto): TensorType {
  return { dtype: dataType(code), shape: dims };
}

function dataType(code: number): DataType {
  const name = (Object.keys(DATA_TYPES) as DataType[]).find((known) => DATA_TYPES[known].code === code);
  if (name === undefined)
    throw new GraphError(`element type ${code} is not one of ${Object.keys(DATA_TYPES).join(', ')}`);
  return name;
}
