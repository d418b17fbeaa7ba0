import { GraphError } from '../onnx/errors.js';
import type { Graph, Node } from '../onnx/graph.js';
import { add, identity, scalar } from '../onnx/ops.js';
import { formatShape, type Tensor } from '../onnx/tensor.js';
import { customGradientOf } from './custom-gradient.js';
import { ruleOf } from './rules.js';

/**
 * Appends to a loss's graph the nodes that compute its gradients: reverse-mode differentiation, one walk from the loss
 * back to what it is differentiated by. Only nodes on a path between the two are visited; inside a loop's body the path
 * may lead through the graphs around it. It ends at a value under `stopGradient`.
 * @param loss float32 scalar
 * @param parameters tensors that the loss depends on
 * @returns one gradient for each parameter, of its shape
 * @throws {GraphError} where the loss is not a scalar or does not depend on a parameter
 * @throws {Error} where an operator on the path has no rule
 */
export function gradients(loss: Tensor, parameters: readonly Tensor[]): Tensor[] {
  if (loss.dtype !== 'float32' || loss.shape.length !== 0) {
    throw new GraphError(`the loss must be a float32 scalar; it is ${loss.dtype} ${formatShape(loss.shape)}`);
  }
  const nodes = visibleNodes(loss.graph);
  const dependent = dependentOn(parameters, nodes, loss.graph);
  const gradientOf = new Map<Tensor, Tensor>([[loss, scalar(loss.graph, 1)]]);

  for (const node of nodes.toReversed()) {
    const outputGradients = node.outputs.map((candidate) => gradientOf.get(candidate));
    const output = node.outputs.find((candidate) => gradientOf.has(candidate));
    const gradient = output === undefined ? undefined : gradientOf.get(output);
    if (output === undefined || gradient === undefined || !dependent.has(output)) continue;
    const custom = customGradientOf(output);
    const inputs = custom?.inputs ?? (node.inputs as readonly Tensor[]);
    const inputGradients =
      custom?.backward(gradient) ??
      ruleOf(node.operator)({ node, inputs, output, gradients: outputGradients }, gradient);
    for (const [i, input] of inputs.entries()) {
      if (!dependent.has(input)) continue;
      const contribution = inputGradients[i]?.();
      if (contribution === undefined) continue;
      const sum = gradientOf.get(input);
      gradientOf.set(input, sum === undefined ? contribution : add(sum, contribution));
    }
  }
  const found = parameters.map((parameter) => {
    const gradient = gradientOf.get(parameter);
    if (gradient === undefined) throw new GraphError(`the loss does not depend on ${parameter.name}`);
    // A tensor of its own, since one may be the gradient of several parameters, or a constant.
    return identity(gradient);
  });
  loss.graph.recordGradients({ loss, parameters, gradients: found });
  return found;
}

function dependentOn(parameters: readonly Tensor[], nodes: readonly Node[], graph: Graph): ReadonlySet<Tensor> {
  const dependent = new Set<Tensor>(parameters);
  for (const node of nodes) {
    if (tensorsReadBy(node).some((tensor) => dependent.has(tensor))) {
      for (const output of node.outputs) if (!graph.stopsGradient(output)) dependent.add(output);
    }
  }
  return dependent;
}

/** Nodes of the graphs around a graph come first: they never need what the graph computes. */
function visibleNodes(graph: Graph): readonly Node[] {
  return graph.parent === undefined ? [...graph.nodes] : [...visibleNodes(graph.parent), ...graph.nodes];
}

/** A node's inputs and what a graph inside it takes from outside. */
function tensorsReadBy(node: Node): Tensor[] {
  const inner = Object.values(node.attributes).flatMap((attribute) =>
    attribute.kind === 'graph' ? attribute.value.nodes.flatMap(tensorsReadBy) : [],
  );
  return [...node.inputs.filter((input) => input !== undefined), ...inner];
}
