/** A graph that cannot be: the message names the operator, its inputs' shapes, and the rule that they break. */
export class GraphError extends Error {
  override readonly name = 'GraphError';
}
