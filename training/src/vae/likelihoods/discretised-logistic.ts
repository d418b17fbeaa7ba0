import {
  add,
  clip,
  div,
  exp,
  greater,
  less,
  log,
  mul,
  neg,
  reduceSum,
  softplus,
  split,
  sub,
  tanh,
  where,
} from '../../onnx/ops.js';
import type { Tensor } from '../../onnx/tensor.js';
import { dataSize, type LikelihoodFamily } from './likelihood.js';

/** Half of the width of a byte's bin, where bytes stand for 0 to 1. */
const HALF_BIN = 0.5 / 255;

/** Bounds of log s: from a seventh of a bin, where a byte is as good as certain, to several times the range of bytes. */
const LOG_SCALE_LIMITS = [-7.5, 2] as const;

/** Deviations of a pixel below this start as this one: a border that is always black would start without a gradient. */
const SMALLEST_DEVIATION = 0.02;

/** A logistic distribution of scale s has the deviation s π / √3. */
const SCALE_PER_DEVIATION = Math.sqrt(3) / Math.PI;

/** Locations and scales of a decoder's output, each [N, D]. */
interface Logistics {
  readonly location: Tensor;
  readonly logScale: Tensor;
}

/**
 * Bytes as discretised logistics (Kingma et al., 2016, section 5.2; Salimans et al., 2017, eq. 2): the probability of a
 * byte is what a logistic distribution of location m and scale s puts into the byte's bin; what lies beyond 0 and 255
 * falls to these two. The decoder gives both for each pixel, m without bounds, so that a pixel can be surely black.
 * The likelihood is a probability, at most 1: no scale, however small, wins nats without end, as a density's would.
 */
export const discretisedLogistic: LikelihoodFamily = {
  images: 'bytes',
  tables: 'none',
  create(data) {
    const { shape, moments } = data;
    const size = dataSize(data);
    const [channels, ...sides] = shape;
    const logistics = (decoded: Tensor): Logistics => {
      const [location, logScale] = split(decoded, 1, [size, size]);
      return { location, logScale: clip(logScale, ...LOG_SCALE_LIMITS) };
    };
    return {
      kind: 'discretised-logistic',
      parameters: [],
      presentedShape: shape,
      decodedShape: [2 * channels, ...sides],
      ...(moments && {
        outputBias: Float64Array.of(
          ...moments.mean,
          ...moments.variance.map((variance) =>
            Math.log(SCALE_PER_DEVIATION * Math.max(Math.sqrt(variance), SMALLEST_DEVIATION)),
          ),
        ),
      }),
      present: (x) => x,
      negativeLogLikelihood: (x, decoded) => reduceSum(neg(logProbability(x, logistics(decoded))), [1]),
      mean: (decoded) => expectedValue(logistics(decoded)),
      // log p(x | m = x) − log p(x | m); beyond the edges a location fits 0 and 1 even better than these themselves.
      deviance(x, decoded) {
        const { location, logScale } = logistics(decoded);
        const perfect = logProbability(x, { location: x, logScale });
        return clip(sub(perfect, logProbability(x, { location, logScale })), 0, Number.MAX_SAFE_INTEGER);
      },
    };
  },
};

/**
 * log (σ(a) − σ(b)) at the bin's bounds, a above and b below, as log σ(a) + log σ(−b) + log (1 − exp(b − a)): exact for
 * bounds of any size, where the difference itself would be 0 in float32. Black has no lower bound, white no upper one.
 */
function logProbability(x: Tensor, { location, logScale }: Logistics): Tensor {
  const inverseScale = exp(neg(logScale));
  const centred = sub(x, location);
  const aboveLower = softplus(mul(sub(centred, HALF_BIN), inverseScale));
  const belowUpper = softplus(neg(mul(add(centred, HALF_BIN), inverseScale)));
  // 1 − exp(−d) = tanh(d / 2) (1 + exp(−d)), which keeps its digits where d is small.
  const halfWidth = mul(inverseScale, HALF_BIN);
  const logWidth = add(log(tanh(halfWidth)), softplus(mul(halfWidth, -2)));
  const isBlack = less(x, HALF_BIN);
  const isWhite = greater(x, 1 - HALF_BIN);
  const inside = sub(sub(logWidth, aboveLower), belowUpper);
  return where(isBlack, neg(belowUpper), where(isWhite, neg(aboveLower), inside));
}

/**
 * The mean of the logistic distribution with its tails moved to 0 and 1, ∫₀¹ σ((m − t) / s) dt, of which the mean of the
 * bytes is the midpoint rule: they differ by less than half a grey level.
 */
function expectedValue({ location, logScale }: Logistics): Tensor {
  const scale = exp(logScale);
  const mean = mul(sub(softplus(div(location, scale)), softplus(div(sub(location, 1), scale))), scale);
  return clip(mean, 0, 1);
}
