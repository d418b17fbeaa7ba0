import { GraphError } from '../errors.js';
import { Graph, innermostGraph } from '../graph.js';
import { type Dimension, formatShape, sameShape, type Tensor, type TensorType } from '../tensor.js';

export interface LoopBody {
  /** Next values of the states, of the same types and shapes. */
  readonly states: readonly Tensor[];
  /** Values collected from every iteration along a new first axis. */
  readonly collected: readonly Tensor[];
}

/**
 * ONNX's Loop, a fixed number of times.
 * @param tripCount int64 scalar
 * @param initial the states before the first iteration
 * @param collectedAxis the name of the first axis of what is collected
 * @param body builds one iteration from its number (int64 scalar) and the states; it may use any outer tensor
 * @returns the states after the last iteration, then the collected values
 */
export function loop(
  tripCount: Tensor,
  initial: readonly Tensor[],
  collectedAxis: Dimension,
  body: (iteration: Tensor, states: readonly Tensor[]) => LoopBody,
): { states: Tensor[]; collected: Tensor[] } {
  const outer = innermostGraph('Loop', [tripCount, ...initial]);
  const inner = new Graph('loop_body', outer);
  const prefix = outer.uniqueName('loop');
  const iteration = inner.input(`${prefix}_iteration`, 'int64', []);
  const condition = inner.input(`${prefix}_condition`, 'bool', []);
  const states = initial.map((state, i) => inner.input(`${prefix}_state_${i}`, state.dtype, state.shape));
  const result = body(iteration, states);
  for (const [i, state] of result.states.entries()) {
    const before = initial[i];
    if (before === undefined || before.dtype !== state.dtype || !sameShape(before.shape, state.shape)) {
      throw new GraphError(`Loop: state ${i} changes from ${describe(before)} to ${describe(state)}`);
    }
  }
  if (result.states.length !== initial.length) {
    throw new GraphError(`Loop: ${initial.length} states go in, ${result.states.length} come out`);
  }
  inner.output(condition, `${prefix}_continue`);
  for (const [i, state] of result.states.entries()) inner.output(state, `${prefix}_next_${i}`);
  for (const [i, value] of result.collected.entries()) inner.output(value, `${prefix}_collected_${i}`);
  const types: TensorType[] = [
    ...initial.map(({ dtype, shape }) => ({ dtype, shape })),
    ...result.collected.map(({ dtype, shape }) => ({ dtype, shape: [collectedAxis, ...shape] })),
  ];
  const always = outer.constant({ dtype: 'bool', shape: [], data: Uint8Array.of(1) });
  const outputs = outer.node('Loop', [tripCount, always, ...initial], { body: { kind: 'graph', value: inner } }, types);
  return { states: outputs.slice(0, initial.length), collected: outputs.slice(initial.length) };
}

/**
 * ONNX's If: only the branch that the condition picks is computed.
 * @param condition bool scalar
 * @param inputs outer tensors that the branches compute with; what a branch computes of other tensors alone stands, and
 *   is computed, outside
 * @param then computes the outputs of the one branch, `otherwise` those of the other, of the same types and shapes
 */
export function ifElse(
  condition: Tensor,
  inputs: readonly Tensor[],
  then: (inputs: readonly Tensor[]) => readonly Tensor[],
  otherwise: (inputs: readonly Tensor[]) => readonly Tensor[],
): Tensor[] {
  if (condition.dtype !== 'bool' || condition.shape.length > 0) {
    throw new GraphError(`If: the condition must be a bool scalar; it is ${describe(condition)}`);
  }
  const outer = innermostGraph('If', [condition, ...inputs]);
  const branch = (name: string, build: (inputs: readonly Tensor[]) => readonly Tensor[]) => {
    const graph = new Graph(outer.uniqueName(name), outer);
    // An Identity inside the branch holds what follows from it there.
    const results = build(inputs.flatMap((input) => graph.node('Identity', [input])));
    for (const result of results) graph.output(result, graph.uniqueName(`${graph.name}_output`));
    return graph;
  };
  const [thenBranch, elseBranch] = [branch('then', then), branch('else', otherwise)];
  const [ours, theirs] = [thenBranch, elseBranch].map((graph) => graph.outputs.map(describe));
  if (ours?.join('; ') !== theirs?.join('; ')) {
    throw new GraphError(`If: the branches give ${ours?.join('; ')} and ${theirs?.join('; ')}`);
  }
  return outer.node(
    'If',
    [condition],
    { then_branch: { kind: 'graph', value: thenBranch }, else_branch: { kind: 'graph', value: elseBranch } },
    thenBranch.outputs.map(({ dtype, shape }) => ({ dtype, shape })),
  );
}

function describe(x?: Tensor): string {
  return x === undefined ? 'nothing' : `${x.dtype} ${formatShape(x.shape)}`;
}
