import type { Attribute, Graph, Node } from './graph.js';
import { halvesOf } from './halves.js';
import { requiredOutputs } from './inference.js';
import {
  type AttributeProto,
  AttributeType,
  encodeModelProto,
  type GraphProto,
  type NodeProto,
  type SparseTensorProto,
  type TensorProto,
  type ValueInfoProto,
} from './protobuf.js';
import { sparseTensor } from './sparse.js';
import { DATA_TYPES, type Tensor, type TensorData, type TensorType } from './tensor.js';

/** Opset 18 (ONNX 1.13, 2022) has all that Elbo writes, and every runtime of the last years reads it. */
export const OPSET_VERSION = 18;
const IR_VERSION = 8;

/**
 * The bytes of the `.onnx` file of a graph; the same graph always gives the same bytes.
 * Initialisers and nodes that no output depends on are left out.
 * @param fed constants that are inputs instead, of lengths that the file does not tell
 * @param compact whether constants that are mostly zeros are written without them, and those that are float16 numbers as such
 */
export function encodeModel(
  graph: Graph,
  description = '',
  fed: ReadonlySet<Tensor> = new Set(),
  { compact = false } = {},
): Uint8Array {
  return encodeModelProto({
    irVersion: IR_VERSION,
    producerName: 'elbo',
    producerVersion: '',
    docString: description,
    graph: graphProto(graph, { used: usedTensors(graph), renamed: renamedByOutputs(graph), fed, compact }),
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

/** What writing depends on besides the graph itself. */
interface Context {
  readonly used: ReadonlySet<Tensor>;
  readonly renamed: ReadonlyMap<Tensor, string>;
  readonly fed: ReadonlySet<Tensor>;
  readonly compact: boolean;
}

/**
 * Values that are written under the name of an output, so that its Identity node need not be: ONNX Runtime would copy
 * the value there, for the weights in a training loop a tenth of the step. A value that comes from an input, a constant
 * or another graph keeps its Identity, and so does the second output of one value.
 */
function renamedByOutputs(graph: Graph, renamed = new Map<Tensor, string>()): Map<Tensor, string> {
  const computed = new Set(graph.nodes.flatMap((node) => node.outputs));
  const outputs = new Set(graph.outputs);
  for (const node of graph.nodes) {
    const [value] = node.inputs;
    const [output] = node.outputs;
    if (
      value !== undefined &&
      outputs.has(output) &&
      computed.has(value) &&
      !outputs.has(value) &&
      !renamed.has(value)
    ) {
      renamed.set(value, output.name);
    }
    for (const attribute of Object.values(node.attributes)) {
      if (attribute.kind === 'graph') renamedByOutputs(attribute.value, renamed);
    }
  }
  return renamed;
}

function graphProto(graph: Graph, context: Context): GraphProto {
  const { used, renamed, fed } = context;
  const names = new Set(Array.from(used, ({ name }) => name));
  const constants = graph.initialisers.flatMap((tensor): WrittenConstant[] => {
    const { name, constant } = tensor;
    if (!used.has(tensor) || constant === undefined || fed.has(tensor)) return [];
    return [context.compact ? compactConstant(name, constant, names) : { dense: tensorProto(name, constant) }];
  });
  const isWritten = ({ inputs: [value], outputs }: Node) =>
    outputs.some((output) => used.has(output)) && !(value !== undefined && renamed.get(value) === outputs[0].name);
  return {
    name: graph.name,
    node: [
      ...constants.flatMap(({ cast }) => cast ?? []),
      ...graph.nodes.filter(isWritten).map((node) => nodeProto(node, context)),
    ],
    initializer: constants.flatMap(({ dense }) => dense ?? []),
    sparseInitializer: constants.flatMap(({ sparse }) => sparse ?? []),
    input: [
      ...graph.inputs.map((tensor) => valueInfo(tensor.name, tensor)),
      ...graph.initialisers
        .filter((tensor) => fed.has(tensor))
        .map(({ name, dtype, shape }) => withoutLengths(valueInfo(name, { dtype, shape }))),
    ],
    output: graph.outputs.map((tensor) => valueInfo(tensor.name, tensor)),
  };
}

/** The forms of a constant: one tensor, with a node behind it where it is in half precision. */
interface WrittenConstant {
  readonly dense?: TensorProto;
  readonly sparse?: SparseTensorProto;
  readonly cast?: NodeProto;
}

/**
 * The form that takes the fewest bytes.
 * @param names that are taken
 */
function compactConstant(name: string, constant: TensorData, names: ReadonlySet<string>): WrittenConstant {
  const sparse = sparseTensor(name, constant);
  const halves = halvesOf(name, constant);
  const sparseBytes = (sparse?.values.rawData.length ?? 0) + (sparse?.indices.rawData.length ?? 0);
  if (
    halves !== undefined &&
    !names.has(halves.tensor.name) &&
    !(sparse !== undefined && sparseBytes < halves.tensor.rawData.length)
  ) {
    return { dense: halves.tensor, cast: halves.cast };
  }
  return sparse === undefined ? { dense: tensorProto(name, constant) } : { sparse };
}

function nodeProto(node: Node, context: Context): NodeProto {
  const nameOf = (tensor: Tensor | undefined) =>
    tensor === undefined ? '' : (context.renamed.get(tensor) ?? tensor.name);
  return {
    name: nameOf(node.outputs[0]),
    opType: node.operator,
    input: writtenInputs(node).map(nameOf),
    output: writtenOutputs(node, context.used).map(nameOf),
    attribute: Object.entries(node.attributes).map(([name, attribute]) => attributeProto(name, attribute, context)),
  };
}

/** Without the last ones that are left out: ONNX Runtime's LayerNormalization reads a missing bias that is named ''. */
function writtenInputs({ inputs }: Node): readonly (Tensor | undefined)[] {
  return inputs.slice(0, inputs.findLastIndex((input) => input !== undefined) + 1);
}

/** Without optional outputs that nobody uses: ONNX Runtime has faster kernels where they are not asked for. */
function writtenOutputs({ operator, outputs }: Node, used: ReadonlySet<Tensor>): readonly Tensor[] {
  const lastUsed = outputs.findLastIndex((output) => used.has(output));
  return outputs.slice(0, Math.max(requiredOutputs(operator) ?? outputs.length, lastUsed + 1));
}

function attributeProto(name: string, attribute: Attribute, context: Context): AttributeProto {
  switch (attribute.kind) {
    case 'int':
      return { name, type: AttributeType.INT, i: attribute.value };
    case 'float':
      return { name, type: AttributeType.FLOAT, f: attribute.value };
    case 'ints':
      return { name, type: AttributeType.INTS, ints: [...attribute.value] };
    case 'string':
      return { name, type: AttributeType.STRING, s: new TextEncoder().encode(attribute.value) };
    case 'graph':
      return { name, type: AttributeType.GRAPH, g: graphProto(attribute.value, context) };
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

function withoutLengths({ name, type: { tensorType } }: ValueInfoProto): ValueInfoProto {
  return { name, type: { tensorType: { ...tensorType, shape: { dim: tensorType.shape.dim.map(() => ({})) } } } };
}
