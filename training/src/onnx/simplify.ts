import { usedTensors } from './encode.js';
import { GraphError } from './errors.js';
import type { Graph } from './graph.js';
import {
  commonFactors,
  commonScales,
  knownProducts,
  negatedTerms,
  neutralOperands,
  scaleChains,
  scalesOfSmallFactors,
} from './simplification/arithmetic.js';
import {
  expandedOperands,
  expandedSums,
  expansionChains,
  lateAxes,
  lateExpansion,
} from './simplification/broadcasts.js';
import { constantFolding } from './simplification/constants.js';
import { castChains, reducedAxes, transposeChains, uselessCopies, viewChains } from './simplification/copies.js';
import { gemmOfSum, scaledProducts, scalesBeforeReductions, transposedFactors } from './simplification/matrices.js';
import { rebuild } from './simplification/rebuild.js';
import { softplusOfSigmoid } from './simplification/softplus.js';

/** What a simplification did. */
export interface SimplificationReport {
  /** Nodes that the outputs depend on, in the graphs inside nodes too, without the declarations of outputs. */
  readonly nodesBefore: number;
  readonly nodesAfter: number;
  /** How often each rewriting was applied, in the order in which each was first. */
  readonly applied: Readonly<Record<string, number>>;
}

// Where two apply to one node, the first is taken.
const RULES = [
  uselessCopies,
  constantFolding,
  castChains,
  viewChains,
  transposeChains,
  reducedAxes,
  expansionChains,
  expandedOperands,
  lateExpansion,
  lateAxes,
  expandedSums,
  neutralOperands,
  negatedTerms,
  scaleChains,
  scalesOfSmallFactors,
  commonScales,
  knownProducts,
  commonFactors,
  gemmOfSum,
  transposedFactors,
  scaledProducts,
  scalesBeforeReductions,
  softplusOfSigmoid,
];

/** More than any graph needs: each round shortens what the one before has left. */
const MOST_ROUNDS = 100;

/**
 * An equivalent graph with less to compute: the same inputs and outputs by name, type and order, equal results on finite
 * inputs up to the rounding of float32 (the sign of a zero may differ, and a product of scales is taken before it meets
 * the tensor). Whole passes over large tensors are what it saves, since in a training graph every elementwise node
 * reads and writes its tensors in memory.
 *
 * A value that two nodes need is computed once and stored; where values are formed anew in another way (the factors of
 * a product), it is only where nothing else needs the old form, so that nothing is ever computed twice to save memory.
 * Shapes are inferred anew for every node. Operators that no rule knows stay as they are; all count as free of side
 * effects. Initialisers with names keep them. Records of gradients are lost, so this comes last before a runtime.
 */
export function simplify(graph: Graph): { graph: Graph; report: SimplificationReport } {
  const applied: Record<string, number> = {};
  let current = graph;
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const next = rebuild(current, RULES);
    current = next.graph;
    for (const [name, count] of next.counts) applied[name] = (applied[name] ?? 0) + count;
    if (next.counts.size === 0) {
      return { graph: current, report: { nodesBefore: countNodes(graph), nodesAfter: countNodes(current), applied } };
    }
  }
  throw new GraphError(`${graph.name}: the simplification did not end`);
}

function countNodes(graph: Graph, used = usedTensors(graph)): number {
  const outputs = new Set(graph.outputs);
  let count = 0;
  for (const node of graph.nodes) {
    if (!node.outputs.some((output) => used.has(output))) continue;
    if (!node.outputs.some((output) => outputs.has(output))) count++;
    for (const attribute of Object.values(node.attributes)) {
      if (attribute.kind === 'graph') count += countNodes(attribute.value, used);
    }
  }
  return count;
}
