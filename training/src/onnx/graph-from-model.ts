import { GraphError } from './errors.js';
import { type Attribute, type Attributes, Graph } from './graph.js';
import { withoutHalves } from './halves.js';
import {
  type AttributeProto,
  AttributeType,
  decodeModelProto,
  type GraphProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from './protobuf.js';
import { allInitialisers } from './sparse.js';
import {
  DATA_TYPES,
  type DataType,
  type Dimension,
  elementCount,
  formatShape,
  type Tensor,
  type TensorData,
  type TensorType,
} from './tensor.js';

/** More than any model nests loops and branches. */
const MOST_DEPTH = 16;

/**
 * The graph that an `.onnx` file holds: the inverse of `encodeModel`, which gives the same bytes again (but for the
 * description). Types and shapes are inferred anew, so that a file whose nodes do not fit together is refused. It knows
 * nothing of gradients.
 * @throws {GraphError} where the bytes are not an ONNX model of operators, element types and attributes that Elbo knows
 */
export function graphFromModel(bytes: Uint8Array): Graph {
  try {
    const { graph } = decodeModelProto(bytes);
    if (graph === null || graph.output.length === 0) throw new GraphError('it has no graph');
    return readGraph(graph, new Graph(graph.name), new Map(), 0);
  } catch (error) {
    // Absent parts of a damaged file come as null, and endless nesting overflows the stack.
    throw new GraphError(`not an ONNX model that Elbo can read: ${(error as Error).message}`, { cause: error });
  }
}

/** Values by their names, in a graph and in those around it. */
type Names = ReadonlyMap<string, Tensor>;

function readGraph(written: GraphProto, graph: Graph, outer: Names, depth: number): Graph {
  const proto = withoutHalves(written);
  if (depth > MOST_DEPTH) throw new GraphError(`graphs are nested more than ${MOST_DEPTH} deep`);
  const names = new Map(outer);
  const define = (name: string, tensor: Tensor) => {
    if (name === '') return;
    if (names.get(name)?.graph === graph) throw new GraphError(`${name} is defined twice`);
    names.set(name, tensor);
  };
  const declared = new Map(proto.output.map((value) => [value.name, typeOf(value)]));
  // Names that graphs inside nodes make up must not take one that comes later.
  for (const { output } of proto.node) for (const name of output) graph.reserve(name);
  const initialisers = allInitialisers(proto);
  for (const { name } of [...proto.input, ...initialisers, ...proto.output]) graph.reserve(name);

  const initialised = new Set(initialisers.map(({ name }) => name));
  for (const value of proto.input) {
    // Before IR version 4 initialisers were listed among the inputs too.
    if (initialised.has(value.name)) continue;
    const { dtype, shape } = typeOf(value);
    define(value.name, graph.input(nameIn(graph, value.name), dtype, shape));
  }
  for (const tensor of initialisers) {
    define(tensor.name, graph.initialiser(nameIn(graph, tensor.name), dataOf(tensor)));
  }
  for (const node of proto.node) {
    const outputs = readNode(node, graph, names, declared, depth);
    for (const [i, name] of node.output.entries()) {
      const output = outputs[i];
      if (output === undefined) throw new GraphError(`${node.opType}: has no output ${i}`);
      define(name, output);
    }
  }
  for (const { name } of proto.output) {
    const tensor = names.get(name);
    const type = declared.get(name);
    if (tensor === undefined || type === undefined) throw new GraphError(`output ${name} is not computed`);
    // An Identity under the output's own name, which is not written where a node can have that name itself.
    graph.outputs.push(...graph.node('Identity', [tensor], {}, [agreed(name, tensor, type)], [nameIn(graph, name)]));
  }
  return graph;
}

function readNode(
  { opType, domain, input, output, attribute }: NodeProto,
  graph: Graph,
  names: Names,
  declared: ReadonlyMap<string, TensorType>,
  depth: number,
): Tensor[] {
  if (domain !== undefined && domain !== '' && domain !== 'ai.onnx') {
    throw new GraphError(`${opType}: operators of domain ${domain} are not known`);
  }
  const inputs = input.map((name) => {
    if (name === '') return undefined;
    return names.get(name) ?? fail(`${opType}: input ${name} is not computed before it is used`);
  });
  const attributes: Attributes = Object.fromEntries(
    attribute.map((proto) => [proto.name, readAttribute(opType, proto, graph, names, depth)]),
  );
  // A graph's output has its name from the Identity that declares it.
  const outputNames = output.map((name) =>
    name === '' || declared.has(name) ? graph.uniqueName(opType) : nameIn(graph, name),
  );
  return graph.node(
    opType,
    inputs,
    attributes,
    controlFlowTypes(opType, inputs, attributes, output, declared),
    outputNames,
  );
}

function readAttribute(operator: string, proto: AttributeProto, graph: Graph, names: Names, depth: number): Attribute {
  const { name, type, i, f, s, g, ints } = proto;
  const whole = (value: number): number =>
    Number.isSafeInteger(value) ? value : fail(`${operator}: attribute ${name} is beyond 2^53`);
  switch (type) {
    case AttributeType.INT:
      return { kind: 'int', value: whole(i ?? 0) };
    case AttributeType.FLOAT:
      return { kind: 'float', value: f ?? 0 };
    case AttributeType.INTS:
      return { kind: 'ints', value: (ints ?? []).map(whole) };
    case AttributeType.STRING:
      return { kind: 'string', value: new TextDecoder('utf-8', { fatal: true }).decode(s ?? new Uint8Array()) };
    case AttributeType.GRAPH:
      if (g === undefined || g === null) return fail(`${operator}: attribute ${name} has no graph`);
      return { kind: 'graph', value: readGraph(g, new Graph(g.name, graph), names, depth + 1) };
    default:
      return fail(`${operator}: attribute ${name} is of type ${type}, which is not known`);
  }
}

/** What comes out of operators that hold graphs; undefined for the others, whose types are inferred. */
function controlFlowTypes(
  operator: string,
  inputs: readonly (Tensor | undefined)[],
  attributes: Attributes,
  names: readonly string[],
  declared: ReadonlyMap<string, TensorType>,
): TensorType[] | undefined {
  const outputsOf = (name: string): readonly Tensor[] => {
    const attribute = attributes[name];
    return attribute?.kind === 'graph' ? attribute.value.outputs : fail(`${operator}: attribute ${name} is missing`);
  };
  switch (operator) {
    case 'If': {
      const [ours, theirs] = [outputsOf('then_branch'), outputsOf('else_branch')];
      if (ours.length !== theirs.length) fail(`If: the branches give ${ours.length} and ${theirs.length} values`);
      return ours.map((output, i) => agreed(names[i], theirs[i], output));
    }
    case 'Loop': {
      const states = inputs.slice(2);
      return outputsOf('body')
        .slice(1)
        .map((output, i) => {
          const state = states[i];
          if (state !== undefined) return agreed(names[i], output, state);
          // The file names the axis of what is collected where it is an output of the graph, else nobody does.
          const axis: Dimension = declared.get(names[i])?.shape[0] ?? `${names[i]}_iterations`;
          return { dtype: output.dtype, shape: [axis, ...output.shape] };
        });
    }
    default:
      return undefined;
  }
}

/** The type that two descriptions of one value agree on; names of axes are those of the second. */
function agreed(name: string, a: TensorType, b: TensorType): TensorType {
  const fits =
    a.dtype === b.dtype &&
    a.shape.length === b.shape.length &&
    a.shape.every(
      (length, axis) => typeof length === 'string' || typeof b.shape[axis] === 'string' || length === b.shape[axis],
    );
  if (!fits) fail(`${name} is ${a.dtype} ${formatShape(a.shape)}; expected ${b.dtype} ${formatShape(b.shape)}`);
  return { dtype: b.dtype, shape: b.shape };
}

/** The name itself, unless a graph around or beside this one has it: inside a file such names may repeat. */
function nameIn(graph: Graph, name: string): string {
  return graph.parent !== undefined && graph.isTaken(name) ? graph.uniqueName(name) : name;
}

function dataOf({ name, dataType: code, dims, rawData }: TensorProto): TensorData {
  const dtype = dataTypeOf(name, code);
  const { bytes, array } = DATA_TYPES[dtype];
  const count = elementCount(dims);
  if (dims.some((length) => !(Number.isSafeInteger(length) && length >= 0)) || rawData.byteLength !== count * bytes) {
    fail(`${name}: ${rawData.byteLength} bytes do not fill ${formatShape(dims)} of ${dtype}`);
  }
  // A copy, since the bytes of the file may lie where such numbers cannot be read.
  const aligned = Uint8Array.from(rawData).buffer;
  return { dtype, shape: dims, data: new array(aligned) };
}

function typeOf({ name, type }: ValueInfoProto): TensorType {
  const { elemType, shape } = type?.tensorType ?? {};
  if (elemType === undefined || !shape) return fail(`${name}: its element type and shape are not stated`);
  return {
    dtype: dataTypeOf(name, elemType),
    shape: shape.dim.map(({ dimParam, dimValue }) => dimParam || lengthOf(name, dimValue ?? 0)),
  };
}

function lengthOf(name: string, length: number): number {
  return Number.isSafeInteger(length) && length >= 0 ? length : fail(`${name}: ${length} is no length of an axis`);
}

function dataTypeOf(name: string, code: number): DataType {
  const known = Object.keys(DATA_TYPES) as DataType[];
  return (
    known.find((dtype) => DATA_TYPES[dtype].code === code) ??
    fail(`${name}: element type ${code} is not one of ${known.join(', ')}`)
  );
}

function fail(message: string): never {
  throw new GraphError(message);
}
