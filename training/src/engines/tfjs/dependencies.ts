import { GraphError } from '../../onnx/errors.js';
import { type GradientRecord, type Graph, type Node, subgraphsOf } from '../../onnx/graph.js';
import type { Tensor } from '../../onnx/tensor.js';

/** What must be known to differentiate a loss by tfjs. */
export interface Differentiation {
  readonly record: GradientRecord;
  /** All that depends on the parameters, these included: while the loss is recorded, it is computed anew. */
  readonly touched: ReadonlySet<Tensor>;
  /** The parameters that depend on no other one. */
  readonly leaves: readonly Tensor[];
  /** The parameters that are computed from others. */
  readonly inner: readonly Tensor[];
  /** What the loss needs besides the leaves, and what does not depend on the parameters. */
  readonly frontier: readonly Tensor[];
  /** What is computed on the way from the leaves to the loss. */
  readonly path: ReadonlySet<Tensor>;
  /** Whether gradients are among that. */
  readonly isNested: boolean;
}

/** How the outputs of a graph are computed. */
interface Plan {
  /** Of each value that differentiation computes and others need too: which one. */
  readonly providers: ReadonlyMap<Tensor, Differentiation>;
  /** Values of the graphs around this one that it needs. */
  readonly captures: readonly Tensor[];
}

/**
 * What each value of a graph depends on. A gradient depends on its loss, never on the nodes that Elbo's rules made for
 * it, unless the loss cannot be seen from where the gradient is asked for.
 */
export class Dependencies {
  readonly #producers = new Map<Tensor, Node>();
  readonly #differentiations = new Map<GradientRecord, Differentiation>();
  readonly #plans = new Map<Graph, Plan>();
  readonly #readsOfNodes = new Map<Node, readonly Tensor[]>();

  constructor(graph: Graph) {
    this.#addProducers(graph);
  }

  /** The node that computes a value; undefined for inputs and constants. */
  producerOf(tensor: Tensor): Node | undefined {
    return this.#producers.get(tensor);
  }

  /** How tfjs gets a gradient, seen from a graph; undefined for what is no gradient there. */
  differentiationOf(tensor: Tensor, viewpoint: Graph): Differentiation | undefined {
    const record = tensor.graph.gradientRecordOf(tensor);
    return record !== undefined && viewpoint.sees(record.loss) ? this.#differentiation(record) : undefined;
  }

  planOf(graph: Graph): Plan {
    let plan = this.#plans.get(graph);
    if (plan === undefined) {
      plan = this.#plan(graph);
      this.#plans.set(graph, plan);
    }
    return plan;
  }

  /** A node's inputs, and what the graphs inside it take from outside. */
  readBy(node: Node): readonly Tensor[] {
    let reads = this.#readsOfNodes.get(node);
    if (reads === undefined) {
      const captured = subgraphsOf(node).flatMap((graph) => this.planOf(graph).captures);
      reads = [...node.inputs.filter((input) => input !== undefined), ...captured];
      this.#readsOfNodes.set(node, reads);
    }
    return reads;
  }

  /** What is computed or read to get the outputs of a graph, in the graphs inside its nodes too. */
  neededFor(graph: Graph): { tensors: ReadonlySet<Tensor>; nodes: ReadonlySet<Node> } {
    const tensors = new Set<Tensor>();
    const nodes = new Set<Node>();
    const visit = (tensor: Tensor, viewpoint: Graph): Iterable<Tensor> => {
      const differentiation = this.differentiationOf(tensor, viewpoint);
      if (differentiation !== undefined) {
        const { leaves, path, frontier } = differentiation;
        return [...leaves, ...frontier, ...path];
      }
      const node = this.#producers.get(tensor);
      if (node === undefined) return [];
      nodes.add(node);
      for (const inner of subgraphsOf(node)) walk(inner.outputs, tensors, (next) => visit(next, inner));
      return this.readBy(node);
    };
    walk(graph.outputs, tensors, (tensor) => visit(tensor, graph));
    return { tensors, nodes };
  }

  #addProducers(graph: Graph): void {
    for (const node of graph.nodes) {
      for (const output of node.outputs) this.#producers.set(output, node);
      for (const inner of subgraphsOf(node)) this.#addProducers(inner);
    }
  }

  /** What a value is computed from where no gradient is being taken. */
  #demands(tensor: Tensor, viewpoint: Graph): readonly Tensor[] {
    const differentiation = this.differentiationOf(tensor, viewpoint);
    if (differentiation !== undefined) return [...differentiation.leaves, ...differentiation.frontier];
    const node = this.#producers.get(tensor);
    return node === undefined ? [] : this.readBy(node);
  }

  #plan(graph: Graph): Plan {
    const differentiations = new Set<Differentiation>();
    const captures = new Set<Tensor>();
    const differentiationHere = (tensor: Tensor) => {
      const differentiation = this.differentiationOf(tensor, graph);
      return differentiation?.record.loss.graph === graph ? differentiation : undefined;
    };
    walk(graph.outputs, new Set(), (tensor) => {
      const differentiation = differentiationHere(tensor);
      if (differentiation !== undefined) {
        differentiations.add(differentiation);
      } else if (tensor.graph !== graph) {
        if (tensor.constant === undefined) captures.add(tensor);
        return [];
      }
      return this.#demands(tensor, graph);
    });
    const providers = new Map<Tensor, Differentiation>();
    walk(graph.outputs, new Set(), (tensor) => {
      if (differentiationHere(tensor) !== undefined) return this.#demands(tensor, graph);
      if (tensor.graph !== graph) return [];
      const provider = [...differentiations].find(({ path }) => path.has(tensor));
      if (provider === undefined) return this.#demands(tensor, graph);
      providers.set(tensor, provider);
      return [];
    });
    return { providers, captures: [...captures] };
  }

  #differentiation(record: GradientRecord): Differentiation {
    let differentiation = this.#differentiations.get(record);
    if (differentiation === undefined) {
      differentiation = this.#analyse(record);
      this.#differentiations.set(record, differentiation);
    }
    return differentiation;
  }

  #analyse(record: GradientRecord): Differentiation {
    const { loss, parameters } = record;
    const touched = new Set<Tensor>(parameters);
    const inner = new Set<Tensor>();
    const isParameter = new Set(parameters);
    const needed = new Set<Tensor>();
    walk([loss], needed, (tensor) => {
      const node = this.#producers.get(tensor);
      return node === undefined ? [] : this.readBy(node);
    });
    for (const node of visibleNodes(loss.graph)) {
      // A loop around the loss is none of what the loss depends on.
      if (!node.outputs.some((output) => needed.has(output))) continue;
      if (!this.readBy(node).some((tensor) => touched.has(tensor))) continue;
      for (const output of node.outputs) {
        touched.add(output);
        if (isParameter.has(output)) inner.add(output);
      }
    }
    const frontier = new Set<Tensor>();
    const path = new Set<Tensor>();
    walk([loss], new Set(), (tensor) => {
      if (!touched.has(tensor)) {
        if (tensor.constant === undefined) frontier.add(tensor);
        return [];
      }
      if (isParameter.has(tensor) && !inner.has(tensor)) return [];
      path.add(tensor);
      return this.#demands(tensor, loss.graph);
    });
    return {
      record,
      touched,
      leaves: parameters.filter((parameter) => !inner.has(parameter)),
      inner: [...inner],
      frontier: [...frontier],
      path,
      isNested: [...path].some((tensor) => this.differentiationOf(tensor, loss.graph) !== undefined),
    };
  }
}

/** The graph that an attribute of a Loop or an If holds. */
export function subgraphOf(node: Node, name: string): Graph {
  const attribute = node.attributes[name];
  if (attribute?.kind !== 'graph') throw new GraphError(`${node.operator}: attribute ${name} is missing`);
  return attribute.value;
}

/** Nodes of the graphs around a graph come first: they never need what the graph computes. */
function visibleNodes(graph: Graph): readonly Node[] {
  return graph.parent === undefined ? graph.nodes : [...visibleNodes(graph.parent), ...graph.nodes];
}

/** Visits each tensor once, going on to those that `visit` gives. */
function walk(start: readonly Tensor[], seen: Set<Tensor>, visit: (tensor: Tensor) => Iterable<Tensor>): void {
  const waiting = [...start];
  for (let tensor = waiting.pop(); tensor !== undefined; tensor = waiting.pop()) {
    if (seen.has(tensor)) continue;
    seen.add(tensor);
    waiting.push(...visit(tensor));
  }
}
