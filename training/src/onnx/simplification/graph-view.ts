import { usedTensors } from '../encode.js';
import type { Graph, Node } from '../graph.js';
import type { Tensor } from '../tensor.js';

/** Who computes and who uses each value of a graph and of the graphs inside its nodes. */
export class GraphView {
  readonly #used: ReadonlySet<Tensor>;
  readonly #producers = new Map<Tensor, Node>();
  readonly #consumers = new Map<Tensor, Node[]>();
  readonly #products = new Map<Tensor, Map<Tensor, Node>>();
  readonly #declarations = new Set<Node>();

  constructor(graph: Graph) {
    this.#used = usedTensors(graph);
    this.#visit(graph);
  }

  /** Whether an output depends on the value. */
  isUsed(tensor: Tensor): boolean {
    return this.#used.has(tensor);
  }

  /** Whether the node is the Identity by which `Graph.output` names an output. */
  isDeclaration(node: Node): boolean {
    return this.#declarations.has(node);
  }

  /** The node that computes a value; none for inputs and constants. */
  producer(tensor: Tensor): Node | undefined {
    return this.#producers.get(tensor);
  }

  /** The nodes that use a value, once for each use; a declared output counts as a use. */
  consumers(tensor: Tensor): readonly Node[] {
    return this.#consumers.get(tensor) ?? [];
  }

  /** A node that multiplies the two, in either order. */
  productOf(a: Tensor, b: Tensor): Node | undefined {
    return this.#products.get(a)?.get(b) ?? this.#products.get(b)?.get(a);
  }

  #visit(graph: Graph): void {
    const outputs = new Set(graph.outputs);
    for (const node of graph.nodes) {
      if (!node.outputs.some((output) => this.#used.has(output))) continue;
      const [output] = node.outputs;
      if (output !== undefined && outputs.has(output)) this.#declarations.add(node);
      for (const computed of node.outputs) this.#producers.set(computed, node);
      for (const input of node.inputs) {
        if (input === undefined) continue;
        const consumers = this.#consumers.get(input);
        if (consumers === undefined) this.#consumers.set(input, [node]);
        else consumers.push(node);
      }
      const [a, b] = node.inputs;
      if (node.operator === 'Mul' && a !== undefined && b !== undefined) {
        const products = this.#products.get(a) ?? new Map<Tensor, Node>();
        if (!products.has(b)) products.set(b, node);
        this.#products.set(a, products);
      }
      for (const attribute of Object.values(node.attributes)) {
        if (attribute.kind === 'graph') this.#visit(attribute.value);
      }
    }
  }
}
