import { zeros } from '../../nn/initialisers.js';
import { parameter, type Weights } from '../../nn/parameters.js';
import { standardisation } from '../../nn/standardisation.js';
import { add, clip, exp, identity, mul, neg, reduceSum, square, sub } from '../../onnx/ops.js';
import type { Tensor } from '../../onnx/tensor.js';
import { dataSize, isTable, type LikelihoodData, type LikelihoodFamily } from './likelihood.js';

/** Bounds of log σ: beyond them a float32 density overflows before it says more. */
const LOG_SCALE_LIMIT = 10;
const HALF_LOG_TWO_PI = 0.5 * Math.log(2 * Math.PI);

/**
 * Independent normals around the decoder's output, with one standard deviation that is learned (Rybkin et al., 2021).
 * Columns of a table have units of their own: they are standardised, and σ is a share of their deviation.
 */
export const gaussian: LikelihoodFamily = {
  images: 'any',
  tables: 'numbers',
  create(data: LikelihoodData) {
    const { shape, moments } = data;
    const logScale = parameter('decoder.log_scale', [], zeros);
    const boundedLogScale = (weights: Weights) => clip(weights(logScale), -LOG_SCALE_LIMIT, LOG_SCALE_LIMIT);
    const scaling = isTable(data) ? standardisation('input', dataSize(data), moments) : undefined;
    const standardised = (x: Tensor, weights: Weights) => scaling?.apply(x, weights) ?? x;
    const deviance = (x: Tensor, decoded: Tensor, weights: Weights) =>
      mul(square(mul(sub(standardised(x, weights), decoded), exp(neg(boundedLogScale(weights))))), 0.5);
    return {
      kind: 'gaussian',
      parameters: [...(scaling?.parameters ?? []), logScale],
      presentedShape: shape,
      decodedShape: shape,
      ...(moments && scaling === undefined && { outputBias: moments.mean }),
      present: standardised,
      negativeLogLikelihood(x, decoded, weights) {
        const perDimension = add(deviance(x, decoded, weights), add(boundedLogScale(weights), HALF_LOG_TWO_PI));
        const nats = reduceSum(perDimension, [1]);
        return scaling === undefined ? nats : add(nats, scaling.logVolume(weights));
      },
      mean: (decoded, weights) => scaling?.invert(decoded, weights) ?? identity(decoded),
      deviance,
    };
  },
};
