import protobuf from 'protobufjs';

// The part of ONNX's protobuf schema that Elbo writes and reads, with ONNX's names and field numbers.
// Fields that other exporters write and that stand not here are skipped by the decoder.
// See https://github.com/onnx/onnx/blob/main/onnx/onnx.proto

type Field = readonly [number: number, type: string, repeated?: 'repeated'];

const MESSAGES: Record<string, Record<string, Field>> = {
  ModelProto: {
    irVersion: [1, 'int64'],
    producerName: [2, 'string'],
    producerVersion: [3, 'string'],
    docString: [6, 'string'],
    graph: [7, 'GraphProto'],
    opsetImport: [8, 'OperatorSetIdProto', 'repeated'],
  },
  OperatorSetIdProto: { domain: [1, 'string'], version: [2, 'int64'] },
  GraphProto: {
    node: [1, 'NodeProto', 'repeated'],
    name: [2, 'string'],
    initializer: [5, 'TensorProto', 'repeated'],
    sparseInitializer: [15, 'SparseTensorProto', 'repeated'],
    docString: [10, 'string'],
    input: [11, 'ValueInfoProto', 'repeated'],
    output: [12, 'ValueInfoProto', 'repeated'],
  },
  NodeProto: {
    input: [1, 'string', 'repeated'],
    output: [2, 'string', 'repeated'],
    name: [3, 'string'],
    opType: [4, 'string'],
    attribute: [5, 'AttributeProto', 'repeated'],
    domain: [7, 'string'],
  },
  AttributeProto: {
    name: [1, 'string'],
    f: [2, 'float'],
    i: [3, 'int64'],
    s: [4, 'bytes'],
    t: [5, 'TensorProto'],
    g: [6, 'GraphProto'],
    floats: [7, 'float', 'repeated'],
    ints: [8, 'int64', 'repeated'],
    type: [20, 'int32'],
  },
  TensorProto: {
    dims: [1, 'int64', 'repeated'],
    dataType: [2, 'int32'],
    name: [8, 'string'],
    rawData: [9, 'bytes'],
  },
  SparseTensorProto: {
    values: [1, 'TensorProto'],
    indices: [2, 'TensorProto'],
    dims: [3, 'int64', 'repeated'],
  },
  ValueInfoProto: { name: [1, 'string'], type: [2, 'TypeProto'] },
  TypeProto: { tensorType: [1, 'TensorTypeProto'] },
  TensorTypeProto: { elemType: [1, 'int32'], shape: [2, 'TensorShapeProto'] },
  TensorShapeProto: { dim: [1, 'DimensionProto', 'repeated'] },
  DimensionProto: { dimValue: [1, 'int64'], dimParam: [2, 'string'] },
};

/** Fields of which a message holds one; the decoder gives no default for the others, so that a copy stays true. */
const ONE_OF: Record<string, readonly string[]> = {
  AttributeProto: ['f', 'i', 's', 't', 'g'],
  DimensionProto: ['dimValue', 'dimParam'],
};

export interface TensorProto {
  dims: number[];
  dataType: number;
  name: string;
  rawData: Uint8Array;
}
/** A tensor of which only the elements that are not 0 are written. */
export interface SparseTensorProto {
  /** [n], with the tensor's name. */
  values: TensorProto;
  /** int64 [n]: where they stand in the tensor, row-major, ascending. */
  indices: TensorProto;
  dims: number[];
}
export interface DimensionProto {
  dimValue?: number;
  dimParam?: string;
}
export interface ValueInfoProto {
  name: string;
  type: { tensorType: { elemType: number; shape: { dim: DimensionProto[] } } };
}
export interface AttributeProto {
  name: string;
  /** AttributeProto.AttributeType: which of the fields below holds the value. */
  type: number;
  f?: number;
  i?: number;
  s?: Uint8Array;
  t?: TensorProto;
  g?: GraphProto;
  floats?: number[];
  ints?: number[];
}
export interface NodeProto {
  input: string[];
  output: string[];
  name: string;
  opType: string;
  attribute: AttributeProto[];
  domain?: string;
}
export interface GraphProto {
  node: NodeProto[];
  name: string;
  initializer: TensorProto[];
  sparseInitializer?: SparseTensorProto[];
  input: ValueInfoProto[];
  output: ValueInfoProto[];
}
export interface ModelProto {
  irVersion: number;
  producerName: string;
  producerVersion: string;
  docString: string;
  graph: GraphProto;
  opsetImport: { domain: string; version: number }[];
}

/** AttributeProto.AttributeType. */
export const AttributeType = { FLOAT: 1, INT: 2, STRING: 3, TENSOR: 4, GRAPH: 5, FLOATS: 6, INTS: 7 } as const;

const root = new protobuf.Root();
for (const [message, fields] of Object.entries(MESSAGES)) {
  const type = new protobuf.Type(message);
  for (const [name, [number, fieldType, rule]] of Object.entries(fields)) {
    type.add(new protobuf.Field(name, number, fieldType, rule));
  }
  if (message in ONE_OF) type.add(new protobuf.OneOf('value', [...(ONE_OF[message] ?? [])]));
  root.add(type);
}
const modelType = root.lookupType('ModelProto');

/** The bytes of an `.onnx` file. The same message always gives the same bytes. */
export function encodeModelProto(model: ModelProto): Uint8Array {
  return modelType.encode(modelType.fromObject(model)).finish();
}

/**
 * Parses an `.onnx` file; integers come as JavaScript numbers.
 * @throws {Error} where the bytes are not a protobuf message of this schema
 */
export function decodeModelProto(bytes: Uint8Array): ModelProto {
  return modelType.toObject(modelType.decode(bytes), { longs: Number, defaults: true, arrays: true }) as ModelProto;
}
