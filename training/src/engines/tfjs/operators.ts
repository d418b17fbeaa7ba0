import type { Operators } from './operators/call.js';
import { convolution } from './operators/convolution.js';
import { elementwise } from './operators/elementwise.js';
import { indexing } from './operators/indexing.js';
import { linear } from './operators/linear.js';
import { normalisation } from './operators/normalisation.js';
import { reductions } from './operators/reductions.js';
import { shaping } from './operators/shaping.js';
import type { Tf } from './values.js';

/** Every operator that Elbo's graphs have, but for Loop and If, by operators of tfjs. */
export function operatorsOf(tf: Tf): Operators {
  return {
    ...elementwise(tf),
    ...linear(tf),
    ...convolution(tf),
    ...normalisation(tf),
    ...reductions(tf),
    ...shaping(tf),
    ...indexing(tf),
  };
}
