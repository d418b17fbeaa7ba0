import { GraphError } from '../onnx/errors.js';
import type { Node } from '../onnx/graph.js';
import { add, scalar } from '../onnx/ops.js';
import { formatShape, type Tensor } from '../onnx/tensor.js';
import { ruleOf } from './rules.js';

/**
 * Appends to a loss's graph the nodes that compute its gradients: reverse-mode differentiation, one walk from the loss
 * back to what it is differentiated by. Only nodes on a path between the two are visited.
 * @param loss float32 scalar
 * @param parameters tensors that the loss depends on
 * @returns one gradient for each parameter, of its shape
 * @throws {GraphError} where the loss is not a scalar or does not depend on a parameter
 */
export function gradients(loss: Tensor, parameters: readonly Tensor[]): Tensor[] {
  if (loss.dtype !== 'float32' || loss.shape.length !== 0) {
    throw new GraphError(`the loss must be a float32 scalar; it is ${loss.dtype} ${formatShape(loss.shape)}`);
  }
  const nodes: readonly Node[] = [...loss.graph.nodes];
  const dependent = dependentOn(parameters, nodes);
  const gradientOf = new Map<Tensor, Tensor>([[loss, scalar(loss.graph, 1)]]);

  for (const node of nodes.toReversed()) {
    const [output] = node.outputs;
    const gradient = output === undefined ? undefined : gradientOf.get(output);
    if (output === undefined || gradient === undefined || !dependent.has(output)) continue;
    const inputs = node.inputs as readonly Tensor[];
    const inputGradients = ruleOf(node.operator)({ node, inputs, output }, gradient);
    for (const [i, input] of inputs.entries()) {
      if (!dependent.has(input)) continue;
      const contribution = inputGradients[i]?.();
      if (contribution === undefined) continue;
      const sum = gradientOf.get(input);
      gradientOf.set(input, sum === undefined ? contribution : add(sum, contribution));
    }
  }
  return parameters.map((parameter) => {
    const gradient = gradientOf.get(parameter);
    if (gradient === undefined) throw new GraphError(`the loss does not depend on ${parameter.name}`);
    return gradient;
  });
}

function dependentOn(parameters: readonly Tensor[], nodes: readonly Node[]): ReadonlySet<Tensor> {
  const dependent = new Set<Tensor>(parameters);
  for (const node of nodes) {
    if (node.inputs.some((input) => input !== undefined && dependent.has(input))) {
      for (const output of node.outputs) dependent.add(output);
    }
  }
  return dependent;
}
