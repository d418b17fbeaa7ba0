import { add, div, log, mul, sub } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';
import { startingAt } from './initialisers.js';
import { type Parameter, parameter, type Weights } from './parameters.js';

/** Columns of unlike units as numbers around 0 with variance 1, and back; inside the graph, so that callers need not know. */
export interface Standardisation {
  readonly parameters: readonly Parameter[];
  /** [N, D] → [N, D] */
  apply(x: Tensor, weights: Weights): Tensor;
  /** [N, D] → [N, D] */
  invert(standardised: Tensor, weights: Weights): Tensor;
  /** log |dx / d standardised|: what turns a density over the one into one over the other; [D], in nats. */
  logScale(weights: Weights): Tensor;
}

/** Columns that hardly vary would blow up small differences; they keep their unit. */
const SMALLEST_SCALE = 1e-6;

export function standardisation(
  name: string,
  size: number,
  moments?: { readonly mean: ArrayLike<number>; readonly variance: ArrayLike<number> },
): Standardisation {
  const scales = Array.from(moments?.variance ?? new Float64Array(size).fill(1), (variance) => {
    const deviation = Math.sqrt(variance);
    return deviation > SMALLEST_SCALE ? deviation : 1;
  });
  const fixed = { trainable: false } as const;
  const mean = parameter(`${name}.mean`, [size], startingAt(moments?.mean ?? new Float64Array(size)), fixed);
  const scale = parameter(`${name}.scale`, [size], startingAt(scales), fixed);
  return {
    parameters: [mean, scale],
    apply: (x, weights) => div(sub(x, weights(mean)), weights(scale)),
    invert: (standardised, weights) => add(mul(standardised, weights(scale)), weights(mean)),
    logScale: (weights) => log(weights(scale)),
  };
}
