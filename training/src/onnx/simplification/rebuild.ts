import { GraphError } from '../errors.js';
import { type Attributes, Graph, type Node } from '../graph.js';
import { operatorNames } from '../inference.js';
import { formatShape, sameShape, type Tensor, type TensorType } from '../tensor.js';
import { GraphView } from './graph-view.js';
import { Match, type Rule } from './rule.js';

/** Operators whose two inputs may change places without a change of any bit. */
const COMMUTATIVE = new Set(['Add', 'Mul', 'Equal']);
const inferable = new Set(operatorNames);

/**
 * Writes a graph anew, node by node, and asks the rules about each: the first that knows a better form is taken. What
 * no output depends on is left out, a node that already stands in the new graph is used again, and what a loop's body
 * computes from outer values alone moves out of it.
 * @returns how often each rule changed something
 */
export function rebuild(graph: Graph, rules: readonly Rule[]): { graph: Graph; counts: Map<string, number> } {
  const rebuilding = new Rebuilding(graph, rules);
  return { graph: rebuilding.copyGraph(graph), counts: rebuilding.counts };
}

class Rebuilding {
  readonly counts = new Map<string, number>();
  readonly #rules: readonly Rule[];
  readonly #view: GraphView;
  /** What stands for each old value in the new graph. */
  readonly #mapped = new Map<Tensor, Tensor>();
  /** Nodes of each new graph by what they compute. */
  readonly #known = new Map<Graph, Map<string, readonly Tensor[]>>();
  readonly #identities = new Map<Tensor, number>();
  /** Bodies of loops: a node may leave them. It may not leave a branch of an If, which is there to be skipped. */
  readonly #loopBodies = new Set<Graph>();

  constructor(graph: Graph, rules: readonly Rule[]) {
    this.#rules = rules;
    this.#view = new GraphView(graph);
  }

  copyGraph(old: Graph, parent?: Graph, isLoopBody = false): Graph {
    const graph = new Graph(old.name, parent);
    if (parent === undefined) for (const name of namesToKeep(old)) graph.reserve(name);
    if (isLoopBody) this.#loopBodies.add(graph);
    for (const input of old.inputs) this.#mapped.set(input, graph.input(input.name, input.dtype, input.shape));
    for (const initialiser of old.initialisers) {
      const { name, constant } = initialiser;
      if (constant === undefined || !this.#view.isUsed(initialiser)) continue;
      const copy = old.isNameless(initialiser) ? graph.constant(constant) : graph.initialiser(name, constant);
      this.#mapped.set(initialiser, copy);
    }
    for (const node of old.nodes) {
      if (!node.outputs.some((output) => this.#view.isUsed(output))) continue;
      const [value] = node.inputs;
      const [output] = node.outputs;
      if (this.#view.isDeclaration(node) && value !== undefined && output !== undefined) {
        this.#mapped.set(output, this.#of(value));
      } else {
        this.#copyNode(node, graph);
      }
    }
    for (const output of old.outputs) graph.output(this.#of(output), output.name);
    return graph;
  }

  #copyNode(node: Node, graph: Graph): void {
    const [output, ...more] = node.outputs;
    if (output !== undefined && more.length === 0) {
      const match = new Match(node, this.#view, {
        of: (tensor) => this.#of(tensor),
        isReady: (tensor) => this.#mapped.has(tensor),
        emit: (operator, inputs, attributes) => this.#emit(graph, operator, inputs, attributes).outputs,
        constant: (value) => graph.constant(value),
      });
      for (const rule of this.#rules) {
        const better = rule.rewrite(match);
        if (better === undefined) continue;
        if (better.dtype !== output.dtype || !sameShape(better.shape, output.shape)) {
          throw new GraphError(
            `simplification: "${rule.name}" turns ${node.operator} ${output.dtype} ${formatShape(output.shape)} into ${better.dtype} ${formatShape(better.shape)}`,
          );
        }
        this.#count(rule.name);
        this.#mapped.set(output, better);
        return;
      }
    }
    const { outputs, isKnown, isMoved } = this.#emit(
      graph,
      node.operator,
      node.inputs.map((input) => (input === undefined ? undefined : this.#of(input))),
      node.attributes,
      inferable.has(node.operator) ? undefined : node.outputs,
    );
    if (isKnown) this.#count('common sub-expressions');
    else if (isMoved) this.#count('loop-invariant code');
    for (const [i, computed] of node.outputs.entries()) this.#mapped.set(computed, outputs[i] as Tensor);
  }

  #emit(
    from: Graph,
    operator: string,
    inputs: readonly (Tensor | undefined)[],
    attributes: Attributes,
    outputTypes?: readonly TensorType[],
  ): { outputs: readonly Tensor[]; isKnown: boolean; isMoved: boolean } {
    const hasGraphs = Object.values(attributes).some(({ kind }) => kind === 'graph');
    if (hasGraphs) {
      // What the inner graphs read is not among the inputs, so such a node is neither moved nor compared.
      const copied = Object.entries(attributes).map(([name, attribute]) => [
        name,
        attribute.kind === 'graph'
          ? { kind: 'graph', value: this.copyGraph(attribute.value, from, operator === 'Loop') }
          : attribute,
      ]);
      const outputs = from.node(operator, inputs, Object.fromEntries(copied), outputTypes);
      return { outputs, isKnown: false, isMoved: false };
    }
    const graph = this.#place(from, inputs);
    const key = this.#keyOf(operator, inputs, attributes);
    for (let at: Graph | undefined = graph; at !== undefined; at = at.parent) {
      const outputs = this.#known.get(at)?.get(key);
      if (outputs !== undefined) return { outputs, isKnown: true, isMoved: false };
    }
    const outputs = graph.node(operator, inputs, attributes, outputTypes);
    const known = this.#known.get(graph) ?? new Map<string, readonly Tensor[]>();
    known.set(key, outputs);
    this.#known.set(graph, known);
    return { outputs, isKnown: false, isMoved: graph !== from };
  }

  /** The graph farthest out that a node may stand in. */
  #place(from: Graph, inputs: readonly (Tensor | undefined)[]): Graph {
    const given = inputs.filter((input) => input !== undefined);
    let graph = from;
    while (
      given.length > 0 &&
      graph.parent !== undefined &&
      this.#loopBodies.has(graph) &&
      given.every((input) => input.graph !== graph)
    ) {
      graph = graph.parent;
    }
    return graph;
  }

  #keyOf(operator: string, inputs: readonly (Tensor | undefined)[], attributes: Attributes): string {
    const numbers = inputs.map((input) => (input === undefined ? -1 : this.#identityOf(input)));
    if (COMMUTATIVE.has(operator)) numbers.sort((a, b) => a - b);
    const sorted = Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1));
    return `${operator}(${numbers.join()})${JSON.stringify(sorted)}`;
  }

  #identityOf(tensor: Tensor): number {
    const known = this.#identities.get(tensor);
    if (known !== undefined) return known;
    this.#identities.set(tensor, this.#identities.size);
    return this.#identities.size - 1;
  }

  #of(tensor: Tensor): Tensor {
    const mapped = this.#mapped.get(tensor);
    if (mapped === undefined) throw new GraphError(`simplification: ${tensor.name} is used before it is computed`);
    return mapped;
  }

  #count(name: string): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
  }
}

/** Names that a graph is known by from outside, and those inside its nodes, which stay as they are. */
function namesToKeep(graph: Graph): string[] {
  const inner = graph.nodes.flatMap((node) =>
    Object.values(node.attributes).flatMap((attribute) =>
      attribute.kind === 'graph' ? namesToKeep(attribute.value) : [],
    ),
  );
  const named = graph.initialisers.filter((initialiser) => !graph.isNameless(initialiser));
  return [...[...graph.inputs, ...named, ...graph.outputs].map(({ name }) => name), ...inner];
}
