import { GraphError } from './errors.js';
import { inferTypes } from './inference.js';
import {
  type DataType,
  elementCount,
  formatShape,
  type Shape,
  type Tensor,
  type TensorData,
  type TensorType,
} from './tensor.js';

export type Attribute =
  | { readonly kind: 'int'; readonly value: number }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'ints'; readonly value: readonly number[] }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'graph'; readonly value: Graph };
export type Attributes = Readonly<Record<string, Attribute>>;

export interface Node {
  readonly operator: string;
  /** An optional input that is left out is undefined. */
  readonly inputs: readonly (Tensor | undefined)[];
  readonly outputs: readonly Tensor[];
  readonly attributes: Attributes;
}

/** That some tensors of a graph are the gradients of one of its values. */
export interface GradientRecord {
  readonly loss: Tensor;
  readonly parameters: readonly Tensor[];
  /** One for each parameter. */
  readonly gradients: readonly Tensor[];
}

/** What a graph shares with the graphs inside its nodes, which see it as outer scope. */
interface Scope {
  readonly names: Set<string>;
  readonly constants: Map<string, Tensor>;
  /** Values that gradients do not flow through. */
  readonly stops: Set<Tensor>;
  readonly gradientRecords: Map<Tensor, GradientRecord>;
  readonly nameless: Set<Tensor>;
  readonly reserved: Set<string>;
  counter: number;
}

/**
 * An ONNX graph under construction. Nodes are appended in an order in which each finds its inputs ready; every value
 * has a type and a shape from the start, so that an ill-shaped graph is refused where it is written down.
 */
export class Graph {
  readonly name: string;
  readonly parent: Graph | undefined;
  readonly inputs: Tensor[] = [];
  readonly initialisers: Tensor[] = [];
  readonly nodes: Node[] = [];
  readonly outputs: Tensor[] = [];
  readonly #scope: Scope;

  constructor(name: string, parent?: Graph) {
    this.name = name;
    this.parent = parent;
    this.#scope =
      parent === undefined
        ? {
            names: new Set(),
            constants: new Map(),
            stops: new Set(),
            gradientRecords: new Map(),
            nameless: new Set(),
            reserved: new Set(),
            counter: 0,
          }
        : parent.#scope;
  }

  /** @throws {GraphError} where the name is taken */
  input(name: string, dtype: DataType, shape: Shape): Tensor {
    const tensor = { name: this.#claim(name), dtype, shape, graph: this };
    this.inputs.push(tensor);
    return tensor;
  }

  /**
   * A named constant (an ONNX initialiser).
   * @throws {GraphError} where the name is taken or the data does not fill the shape
   */
  initialiser(name: string, value: TensorData): Tensor {
    if (value.data.length !== elementCount(value.shape)) {
      throw new GraphError(`${name}: ${value.data.length} values do not fill ${formatShape(value.shape)}`);
    }
    const tensor = {
      name: this.#claim(name),
      dtype: value.dtype,
      shape: value.shape,
      graph: this,
      constant: value,
      ...elementsOf(value),
    };
    this.initialisers.push(tensor);
    return tensor;
  }

  /** A nameless constant; equal small ones are stored once, in the outermost graph. */
  constant(value: TensorData): Tensor {
    if (this.parent !== undefined) return this.parent.constant(value);
    if (value.data.length > 16) return this.#nameless(value);
    const values = Array.from<number | bigint>(value.data);
    const key = `${value.dtype}${formatShape(value.shape)}:${values.map((v) => (Object.is(v, -0) ? '-0' : String(v))).join()}`;
    let tensor = this.#scope.constants.get(key);
    if (tensor === undefined) {
      tensor = this.#nameless(value);
      this.#scope.constants.set(key, tensor);
    }
    return tensor;
  }

  /** Whether `constant` made the tensor: nobody looks for it by its name. */
  isNameless(tensor: Tensor): boolean {
    return this.#scope.nameless.has(tensor);
  }

  #nameless(value: TensorData): Tensor {
    const tensor = this.initialiser(this.uniqueName('constant'), value);
    this.#scope.nameless.add(tensor);
    return tensor;
  }

  /**
   * Appends a node.
   * @param outputTypes given by operators that hold graphs; inferred from the inputs otherwise
   * @param outputNames of the first outputs; made up for the others
   * @throws {GraphError} naming the operator and the shapes that do not fit
   */
  node(
    operator: string,
    inputs: readonly (Tensor | undefined)[],
    attributes: Attributes = {},
    outputTypes?: readonly TensorType[],
    outputNames: readonly string[] = [],
  ): Tensor[] {
    for (const input of inputs) {
      if (input !== undefined && !this.sees(input)) {
        throw new GraphError(`${operator}: input ${input.name} belongs to a graph that ${this.name} cannot see`);
      }
    }
    const types = outputTypes ?? inferTypes(operator, inputs, attributes);
    const outputs = types.map((type, i) => ({
      name: this.#claim(outputNames[i] ?? this.uniqueName(operator)),
      ...type,
      graph: this,
    }));
    this.nodes.push({ operator, inputs, outputs, attributes });
    return outputs;
  }

  /**
   * Declares an output: an Identity node of that name.
   * @throws {GraphError} where the name is taken or the tensor belongs to a graph that this one cannot see
   */
  output(tensor: Tensor, name: string): Tensor {
    if (!this.sees(tensor))
      throw new GraphError(`output ${name}: ${tensor.name} belongs to a graph that ${this.name} cannot see`);
    const named: Tensor = { ...tensor, name: this.#claim(name), graph: this };
    this.nodes.push({ operator: 'Identity', inputs: [tensor], outputs: [named], attributes: {} });
    this.outputs.push(named);
    return named;
  }

  /** Marks a value that no gradient flows through: what it was computed from counts as constant. */
  stopGradientAt(tensor: Tensor): void {
    this.#scope.stops.add(tensor);
  }

  stopsGradient(tensor: Tensor): boolean {
    return this.#scope.stops.has(tensor);
  }

  /** Notes what gradients are of, so that an engine may differentiate by its own means. */
  recordGradients(record: GradientRecord): void {
    for (const gradient of record.gradients) this.#scope.gradientRecords.set(gradient, record);
  }

  /** The record of a tensor that is a gradient. */
  gradientRecordOf(tensor: Tensor): GradientRecord | undefined {
    return this.#scope.gradientRecords.get(tensor);
  }

  /** Whether the tensor stands in this graph or in one around it. */
  sees(tensor: Tensor): boolean {
    for (let graph: Graph | undefined = this; graph !== undefined; graph = graph.parent) {
      if (tensor.graph === graph) return true;
    }
    return false;
  }

  get depth(): number {
    return this.parent === undefined ? 0 : this.parent.depth + 1;
  }

  /** Keeps a name for an input, a constant or an output that comes later: `uniqueName` does not give it away. */
  reserve(name: string): void {
    this.#scope.reserved.add(name);
  }

  /** A name that nothing in this graph, around it or inside its nodes has. */
  uniqueName(prefix: string): string {
    let name: string;
    do {
      name = `${prefix}_${this.#scope.counter++}`;
    } while (this.#scope.names.has(name) || this.#scope.reserved.has(name));
    return name;
  }

  /** Whether something in this graph, around it or inside its nodes has the name. */
  isTaken(name: string): boolean {
    return this.#scope.names.has(name);
  }

  #claim(name: string): string {
    if (this.#scope.names.has(name)) throw new GraphError(`${this.name}: the name ${name} is taken`);
    this.#scope.names.add(name);
    return name;
  }
}

/** A constant int64 vector holds a known shape: what Reshape and Expand need to know of it. */
function elementsOf(value: TensorData): { elements?: Shape } {
  return value.dtype === 'int64' && value.shape.length === 1 ? { elements: Array.from(value.data, Number) } : {};
}

/** The innermost graph among those of the tensors: where a node that uses all of them must stand. */
export function innermostGraph(operator: string, tensors: readonly Tensor[]): Graph {
  const [first] = tensors;
  if (first === undefined) throw new GraphError(`${operator}: needs at least one input`);
  return tensors.reduce((graph, tensor) => (tensor.graph.depth > graph.depth ? tensor.graph : graph), first.graph);
}

export const int = (value: number): Attribute => ({ kind: 'int', value });
export const float = (value: number): Attribute => ({ kind: 'float', value });
export const ints = (value: readonly number[]): Attribute => ({ kind: 'ints', value });
export const string = (value: string): Attribute => ({ kind: 'string', value });

/** The graphs that a node's attributes hold, such as a loop's body. */
export function subgraphsOf(node: Node): Graph[] {
  return Object.values(node.attributes).flatMap((attribute) => (attribute.kind === 'graph' ? [attribute.value] : []));
}
