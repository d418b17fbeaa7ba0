import { GraphError } from '../errors.js';
import { float, int } from '../graph.js';
import { formatShape, type Shape, type Tensor } from '../tensor.js';
import { apply, scalar, vector } from './apply.js';
import { add, div, mul, sqrt, square, sub } from './elementwise.js';
import { reduceMean } from './reductions.js';
import { reshape } from './shaping.js';

/** exp(x) / Σ exp(x) along an axis, without overflow. */
export function softmax(x: Tensor, axis = -1): Tensor {
  return apply('Softmax', [x], { axis: int(axis) });
}

/** The logarithm of softmax, without the detour over 0. */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  return apply('LogSoftmax', [x], { axis: int(axis) });
}

/**
 * Each example with mean 0 and variance 1 over its last axes, then scaled and shifted (Ba, Kiros & Hinton, 2016).
 * @param scale of the shape of the axes that are normalised, and so the bias
 */
export function layerNorm(x: Tensor, scale: Tensor, bias?: Tensor, { epsilon = 1e-5 } = {}): Tensor {
  return apply('LayerNormalization', bias === undefined ? [x, scale] : [x, scale, bias], {
    axis: int(-scale.shape.length),
    epsilon: float(epsilon),
  });
}

/**
 * Each example with mean 0 and variance 1 in each group of its channels, then scaled and shifted by channel (Wu & He,
 * 2018). One group is layer normalisation of an image, as many groups as channels instance normalisation.
 * @param x [N, C, …spatial], of fixed shape but for N
 * @param scale [C], and so the bias
 */
export function groupNorm(x: Tensor, groups: number, scale: Tensor, bias: Tensor, { epsilon = 1e-5 } = {}): Tensor {
  const [n = 1, channels, ...spatial] = x.shape;
  const size = [channels, ...spatial].reduce<number>((product, length) => product * Number(length), 1 / groups);
  if (typeof channels !== 'number' || channels % groups !== 0 || !Number.isInteger(size)) {
    throw new GraphError(`groupNorm: ${formatShape(x.shape)} has no channels for ${groups} groups of one size`);
  }
  const ones = apply('Expand', [scalar(x.graph, 1), vector(x.graph, [size])]);
  const normal = reshape(layerNorm(reshape(x, [n, groups, size]), ones, undefined, { epsilon }), x.shape);
  return add(mul(normal, byChannel(scale, x.shape)), byChannel(bias, x.shape));
}

/**
 * Each channel with mean 0 and variance 1 over the batch, then scaled and shifted (Ioffe & Szegedy, 2015).
 * @param x [N, C, …spatial] or [N, C]
 * @param scale [C], and so the bias
 * @returns the output, and the batch's mean and (biased) variance, [C] each, for running statistics
 */
export function batchNorm(
  x: Tensor,
  scale: Tensor,
  bias: Tensor,
  { epsilon = 1e-5 } = {},
): { output: Tensor; mean: Tensor; variance: Tensor } {
  const axes = x.shape.flatMap((_, axis) => (axis === 1 ? [] : [axis]));
  const mean = reduceMean(x, axes);
  const centred = sub(x, byChannel(mean, x.shape));
  const variance = reduceMean(square(centred), axes);
  const factor = div(scale, sqrt(add(variance, epsilon)));
  return { output: add(mul(centred, byChannel(factor, x.shape)), byChannel(bias, x.shape)), mean, variance };
}

/** Batch normalisation by statistics of the past: one factor and one summand a channel. */
export function batchNormInference(
  x: Tensor,
  scale: Tensor,
  bias: Tensor,
  mean: Tensor,
  variance: Tensor,
  { epsilon = 1e-5 } = {},
): Tensor {
  const factor = div(scale, sqrt(add(variance, epsilon)));
  return add(mul(x, byChannel(factor, x.shape)), byChannel(sub(bias, mul(mean, factor)), x.shape));
}

/** [C] so that it broadcasts along axis 1. */
function byChannel(values: Tensor, shape: Shape): Tensor {
  return reshape(values, [...values.shape, ...shape.slice(2).map(() => 1)]);
}
