import type { Tf } from './values.js';

/**
 * Puts what tfjs has recorded into an order in which each node comes after those that it reads. tfjs copies the outputs
 * that a kernel's gradient will need before it records the kernel; it then takes those copies for constants, and the
 * gradient of a gradient comes out wrong, without an error (tfjs-core 4.22, `getFilteredNodesXToY`).
 */
export function orderTape(tf: Tf): void {
  const tape = tf.engine().state.activeTape;
  type TapeNode = (typeof tape)[number];
  const pending = new Map(tape.flatMap((node) => node.outputs.map((output) => [output.id, node] as const)));
  const held = new Map<TapeNode, TapeNode[]>();
  const ordered: TapeNode[] = [];
  const place = (node: TapeNode): void => {
    const late = Object.values(node.inputs)
      .map(({ id }) => pending.get(id))
      .find((producer) => producer !== undefined && producer !== node);
    if (late !== undefined) {
      held.set(late, [...(held.get(late) ?? []), node]);
      return;
    }
    ordered.push(node);
    for (const { id } of node.outputs) pending.delete(id);
    for (const waiting of held.get(node) ?? []) place(waiting);
  };
  for (const node of tape) place(node);
  tape.splice(0, tape.length, ...ordered);
}
