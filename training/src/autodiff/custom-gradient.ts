import type { Tensor } from '../onnx/tensor.js';

/**
 * From the gradient of an output, the gradient with respect to each input. Each is a function, called only where
 * somebody needs it; `undefined` stands for an input that no gradient flows to.
 */
export type Backward = (gradient: Tensor) => readonly ((() => Tensor) | undefined)[];

/** What replaces the rules of the nodes between some inputs and an output. */
export interface CustomGradient {
  readonly inputs: readonly Tensor[];
  readonly backward: Backward;
}

// Kept beside the graph, not in it: what is written to a file knows nothing of gradients.
const customGradients = new WeakMap<Tensor, CustomGradient>();

/**
 * Gives an output a gradient of its own: `gradients` then asks `backward` and not the rules of the nodes that compute
 * the output, which need none. Gradients of gradients go through the nodes that `backward` appends.
 * @param output computed from `inputs` by nodes that nothing else is differentiated through
 * @param inputs everything that the output depends on and that may have a gradient
 * @returns the output
 */
export function withGradient(output: Tensor, inputs: readonly Tensor[], backward: Backward): Tensor {
  customGradients.set(output, { inputs, backward });
  return output;
}

export function customGradientOf(output: Tensor): CustomGradient | undefined {
  return customGradients.get(output);
}
