import { zeros } from '../../nn/initialisers.js';
import { parameter, type Weights } from '../../nn/parameters.js';
import { standardisation } from '../../nn/standardisation.js';
import { add, clip, exp, identity, mul, neg, reduceSum, square, sub } from '../../onnx/ops.js';
import type { Tensor } from '../../onnx/tensor.js';
import { dataSize, isTable, type Likelihood, type LikelihoodData, type LikelihoodFamily } from './likelihood.js';

/** Bounds of log σ: beyond them a float32 density overflows before it says more. */
const LOG_SCALE_LIMIT = 10;
const HALF_LOG_TWO_PI = 0.5 * Math.log(2 * Math.PI);

/** Independent normals, before what they say of each number is summed. */
export interface Normals extends Pick<Likelihood, 'parameters' | 'present' | 'mean' | 'deviance'> {
  /** −log p(x | z) of each number: [N, D], [N, D] → [N, D]. */
  nats(x: Tensor, decoded: Tensor, weights: Weights): Tensor;
}

/**
 * Independent normals around the decoder's output, with one standard deviation that is learned (Rybkin et al., 2021).
 * Columns of a table have units of their own: they are standardised, and σ is a share of their deviation.
 */
export function normals(data: LikelihoodData): Normals {
  const logScale = parameter('decoder.log_scale', [], zeros);
  const boundedLogScale = (weights: Weights) => clip(weights(logScale), -LOG_SCALE_LIMIT, LOG_SCALE_LIMIT);
  const scaling = isTable(data) ? standardisation('input', dataSize(data), data.moments) : undefined;
  const standardised = (x: Tensor, weights: Weights) => scaling?.apply(x, weights) ?? x;
  const deviance = (x: Tensor, decoded: Tensor, weights: Weights) =>
    mul(square(mul(sub(standardised(x, weights), decoded), exp(neg(boundedLogScale(weights))))), 0.5);
  return {
    parameters: [...(scaling?.parameters ?? []), logScale],
    present: standardised,
    nats(x, decoded, weights) {
      const standard = add(deviance(x, decoded, weights), add(boundedLogScale(weights), HALF_LOG_TWO_PI));
      return scaling === undefined ? standard : add(standard, scaling.logScale(weights));
    },
    mean: (decoded, weights) => scaling?.invert(decoded, weights) ?? identity(decoded),
    deviance,
  };
}

/** `normals` of every number. */
export const gaussian: LikelihoodFamily = {
  images: 'any',
  tables: 'numbers',
  create(data: LikelihoodData) {
    const { shape, moments } = data;
    const { nats, ...rest } = normals(data);
    return {
      kind: 'gaussian',
      ...rest,
      presentedShape: shape,
      decodedShape: shape,
      ...(moments && !isTable(data) && { outputBias: moments.mean }),
      negativeLogLikelihood: (x, decoded, weights) => reduceSum(nats(x, decoded, weights), [1]),
    };
  },
};
