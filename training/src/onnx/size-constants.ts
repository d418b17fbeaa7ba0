import { usedTensors } from './encode.js';
import { type Graph, subgraphsOf } from './graph.js';
import type { Tensor } from './tensor.js';

/** Inputs, by operator, that say of what size the result is and nothing that a runtime prepares for. */
const SIZE_INPUTS: Readonly<Record<string, number>> = { Reshape: 1, Expand: 1, Gather: 1 };

/**
 * Constants of the outermost graph that are vectors and do nothing but say how large results are: targets of Reshape and
 * Expand, and positions that Gather reads.
 */
export function sizeConstants(graph: Graph): Set<Tensor> {
  const used = usedTensors(graph);
  const sizes = new Set(
    graph.initialisers.filter((tensor) => used.has(tensor) && tensor.shape.length === 1 && tensor.dtype !== 'float32'),
  );
  const visit = ({ nodes, outputs }: Graph) => {
    for (const output of outputs) sizes.delete(output);
    for (const node of nodes) {
      for (const [i, input] of node.inputs.entries()) {
        if (input !== undefined && i !== SIZE_INPUTS[node.operator]) sizes.delete(input);
      }
      for (const inner of subgraphsOf(node)) visit(inner);
    }
  };
  visit(graph);
  return sizes;
}
