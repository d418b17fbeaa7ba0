import type { Attribute, Graph, Node } from './graph.js';
import {
  type AttributeProto,
  AttributeType,
  encodeModelProto,
  type GraphProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from './protobuf.js';
import { DATA_TYPES, type Tensor, type TensorData, type TensorType } from './tensor.js';

/** Opset 18 (ONNX 1.13, 2022) has all that Elbo writes, and every runtime of the last years reads it. */
export const OPSET_VERSION = 18;
const IR_VERSION = 8;

/**
 * The bytes of the `.onnx` file of a graph; the same graph always gives the same bytes.
 * Initialisers and nodes that no output depends on are left out.
 */
export function encodeModel(graph: Graph, description = ''): Uint8Array {
  return encodeModelProto({
    irVersion: IR_VERSION,
    producerName: 'elbo',
    producerVersion: '',
    docString: description,
    graph: graphProto(graph, usedTensors(graph)),
    opsetImport: [{ domain: '', version: OPSET_VERSION }],
  });
}

/** Everything that the outputs of a graph depend on, in the graphs inside its nodes too. */
export function usedTensors(graph: Graph, used = new Set<Tensor>()): Set<Tensor> {
  for (const output of graph.outputs) used.add(output);
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some((output) => used.has(output))) continue;
    for (const input of node.inputs) if (input !== undefined) used.add(input);
    for (const attribute of Object.values(node.attributes)) {
      if (attribute.kind === 'graph') usedTensors(attribute.value, used);
    }
  }
  return used;
}

function graphProto(graph: Graph, used: ReadonlySet<Tensor>): GraphProto {
  return {
    name: graph.name,
    node: graph.nodes
      .filter((node) => node.outputs.some((output) => used.has(output)))
      .map((node) => nodeProto(node, used)),
    initializer: graph.initialisers.flatMap((tensor) =>
      used.has(tensor) && tensor.constant !== undefined ? [tensorProto(tensor.name, tensor.constant)] : [],
    ),
    input: graph.inputs.map((tensor) => valueInfo(tensor.name, tensor)),
    output: graph.outputs.map((tensor) => valueInfo(tensor.name, tensor)),
  };
}

function nodeProto(node: Node, used: ReadonlySet<Tensor>): NodeProto {
  return {
    name: node.outputs[0]?.name ?? '',
    opType: node.operator,
    input: node.inputs.map((input) => input?.name ?? ''),
    output: node.outputs.map((output) => output.name),
    attribute: Object.entries(node.attributes).map(([name, attribute]) => attributeProto(name, attribute, used)),
  };
}

function attributeProto(name: string, attribute: Attribute, used: ReadonlySet<Tensor>): AttributeProto {
  switch (attribute.kind) {
    case 'int':
      return { name, type: AttributeType.INT, i: attribute.value };
    case 'float':
      return { name, type: AttributeType.FLOAT, f: attribute.value };
    case 'ints':
      return { name, type: AttributeType.INTS, ints: [...attribute.value] };
    case 'graph':
      return { name, type: AttributeType.GRAPH, g: graphProto(attribute.value, used) };
  }
}

function tensorProto(name: string, { dtype, shape, data }: TensorData): TensorProto {
  return {
    name,
    dataType: DATA_TYPES[dtype].code,
    dims: [...shape],
    rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  };
}

function valueInfo(name: string, { dtype, shape }: TensorType): ValueInfoProto {
  const dim = shape.map((dimension) =>
    typeof dimension === 'number' ? { dimValue: dimension } : { dimParam: dimension },
  );
  return { name, type: { tensorType: { elemType: DATA_TYPES[dtype].code, shape: { dim } } } };
}
