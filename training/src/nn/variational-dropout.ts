import { withGradient } from '../autodiff/custom-gradient.js';
import type { ConvolutionForm } from '../engines/engine.js';
import {
  add,
  clip,
  exp,
  greater,
  log,
  mul,
  reduceSum,
  reshape,
  sigmoid,
  sqrt,
  square,
  sub,
  transpose,
  where,
} from '../onnx/ops.js';
import { elementCount, float32, type Tensor } from '../onnx/tensor.js';
import { filledWith } from './initialisers.js';
import { type LayerMaker, type LinearLayer, type LinearMap, plain } from './linear.js';
import { type Parameter, parameter, type Weights } from './parameters.js';

// Layers whose weights have a distribution, of which training draws a sample for every example. What the noise drowns
// carries nothing, and is 0 in the network that stays.

export const DROPOUT_KINDS = ['none', 'gaussian', 'sparse', 'group'] as const;

export interface DropoutOptions {
  readonly kind: (typeof DROPOUT_KINDS)[number];
  /** Weights, or gates of a group, with a larger log alpha are 0 without noise. */
  readonly threshold: number;
  /** What the log variance of weights and gates starts at. */
  readonly log_variance: number;
  /** What alpha starts at, where it is learned itself. */
  readonly alpha: number;
}

/** Makes layers as the options say. */
export function dropoutLayers(options: DropoutOptions): LayerMaker {
  switch (options.kind) {
    case 'none':
      return plain;
    case 'gaussian':
      return (map) => gaussianDropout(map, options);
    case 'sparse':
      return (map) => sparseDropout(map, options);
    case 'group':
      return (map) => groupDropout(map, options);
  }
}

/**
 * −E log |ε| of a standard normal ε, (γ + log 2) / 2: the constant with which the KL to a log-uniform prior, which has
 * none of its own, ends at 0 for an alpha without bound.
 */
const LOG_UNIFORM_CONSTANT = (0.5772156649015329 + Math.LN2) / 2;

/**
 * KL(N(θ, alpha θ²) ‖ log-uniform prior) of each weight, for alpha up to 1, by the cubic approximation of Kingma et al.
 * (2015, appendix C); any shape, in nats.
 */
export function gaussianDivergence(alpha: Tensor): Tensor {
  const cubic = mul(alpha, add(mul(alpha, add(mul(alpha, 0.58629921), -1.50204118)), 1.16145124));
  return sub(LOG_UNIFORM_CONSTANT, add(mul(log(alpha), 0.5), cubic));
}

/** The constants of `sparseDivergence`. */
const [K1, K2, K3] = [0.63576, 1.8732, 1.48695];

/**
 * The same for any alpha, by the approximation of Molchanov et al. (2017, eq. 14), summed over all elements: a scalar,
 * in nats. With k₁ (1 − sigmoid(k₂ + k₃ log alpha)) + log(1 + 1 / alpha) / 2 it ends at 0. Its gradient is written down,
 * since that of each operator here would be a pass over every weight.
 */
export function sparseDivergence(logAlpha: Tensor): Tensor {
  const distant = sigmoid(add(mul(logAlpha, K3), K2));
  // alpha / (1 + alpha)
  const noise = sigmoid(logAlpha);
  const sum = sub(
    K1 * elementCount(logAlpha.shape as number[]),
    add(mul(reduceSum(distant), K1), mul(reduceSum(log(noise)), 0.5)),
  );
  return withGradient(sum, [logAlpha], (gradient) => [
    () => {
      const slope = add(mul(sub(square(distant), distant), K1 * K3), mul(sub(noise, 1), 0.5));
      return mul(slope, gradient);
    },
  ]);
}

/** KL(N(mean, variance) ‖ N(0, 1)) of each weight, in nats. */
function normalDivergence(mean: Tensor, logVariance: Tensor): Tensor {
  return mul(sub(add(square(mean), exp(logVariance)), add(logVariance, 1)), 0.5);
}

/** Beyond it alpha tells nothing more, and its gradient would only cost range (Molchanov et al., 2017, section 4.3). */
const LOG_ALPHA_LIMIT = 8;
/** Keeps the logarithm of a weight of 0, and the slope of a standard deviation of 0, finite. */
const EPSILON = 1e-8;

/** log alpha of N(mean, variance): the logarithm of its variance relative to its squared mean. */
function logAlpha(mean: Tensor, logVariance: Tensor): Tensor {
  return clip(sub(logVariance, log(add(square(mean), EPSILON))), -LOG_ALPHA_LIMIT, LOG_ALPHA_LIMIT);
}

/** Means whose log alpha is not above the threshold; 0 for the others. */
function kept(mean: Tensor, logVariance: Tensor, threshold: number): Tensor {
  return where(greater(logAlpha(mean, logVariance), threshold), 0, mean);
}

/** What the kinds differ in; the rest of a layer follows from it. */
interface Distribution {
  /** Besides those of the map. */
  readonly parameters: readonly Parameter[];
  /** Noise besides that of the outputs. */
  readonly noise?: Readonly<Record<string, readonly number[]>>;
  /** Mean of the weight without noise. */
  mean(weights: Weights): Tensor;
  /** KL of the weight's distribution to its prior, summed over the weight's elements. */
  divergence(weights: Weights): Tensor;
  /** Input, mean and variance of the weight, as training takes them. */
  sampled(
    x: Tensor,
    weights: Weights,
    draw: NonNullable<Weights['noise']>,
    form: ConvolutionForm,
  ): { x: Tensor; mean: Tensor; variance: Tensor };
}

/**
 * A layer that draws its outputs rather than its weights: a sum of independent normal weights is normal itself, and a
 * draw for every example and output has gradients of far less variance (local reparameterisation, Kingma et al., 2015,
 * section 2.2). The outputs of a convolution count as independent of each other, as by Molchanov et al. (2017).
 */
function variational(map: LinearMap, distribution: Distribution): LinearLayer {
  const { weight, bias, output } = map;
  const noiseName = `dropout/${map.name}`;
  return {
    parameters: [weight, bias, ...distribution.parameters],
    noise: { [noiseName]: output, ...distribution.noise },
    divergence: (weights) => distribution.divergence(weights),
    means: (weights) =>
      new Map([
        [weight.name, distribution.mean(weights)],
        [bias.name, weights(bias)],
      ]),
    apply(x, weights, form = 'operators') {
      const { noise: draw } = weights;
      if (draw === undefined) return map.apply(x, distribution.mean(weights), weights(bias), form);
      const { x: input, mean, variance } = distribution.sampled(x, weights, draw, form);
      const size = elementCount(bias.shape);
      const floor = x.graph.constant(float32(new Float32Array(size).fill(EPSILON), [size]));
      const deviation = sqrt(map.apply(square(input), variance, floor, form));
      const noise = draw(noiseName);
      const placed = output.length === 3 && form === 'operators' ? transpose(noise, [0, 3, 1, 2]) : noise;
      return add(map.apply(input, mean, weights(bias), form), mul(deviation, placed));
    },
  };
}

/**
 * Gaussian dropout with a rate that is learned for every input unit or channel i: weights N(θ_ij, alpha_i θ_ij²), alpha
 * below 1 (Kingma et al., 2015, section 3). It prunes nothing.
 */
export function gaussianDropout(map: LinearMap, options: Pick<DropoutOptions, 'alpha'>): LinearLayer {
  const { weight } = map;
  const inputs = weight.shape[map.inputAxis];
  const logit = parameter(
    `${map.name}.alpha_logit`,
    [inputs],
    filledWith(Math.log(options.alpha / (1 - options.alpha))),
  );
  // A sigmoid keeps alpha below 1 with a slope everywhere; what is clipped there would stay for ever.
  const alpha = (weights: Weights) => sigmoid(weights(logit));
  return variational(map, {
    parameters: [logit],
    mean: (weights) => weights(weight),
    divergence: (weights) => mul(reduceSum(gaussianDivergence(alpha(weights))), elementCount(weight.shape) / inputs),
    sampled: (x, weights) => {
      const mean = weights(weight);
      return { x, mean, variance: mul(square(mean), alongInputs(alpha(weights), map)) };
    },
  });
}

/**
 * Sparse variational dropout: weights N(θ_ij, σ_ij²) with a variance each, whose log-uniform prior draws most of them to
 * an alpha = σ² / θ² without bound (Molchanov et al., 2017).
 */
export function sparseDropout(
  map: LinearMap,
  { threshold, log_variance }: Pick<DropoutOptions, 'threshold' | 'log_variance'>,
): LinearLayer {
  const { weight } = map;
  const logVariance = parameter(`${map.name}.log_variance`, weight.shape, filledWith(log_variance));
  return variational(map, {
    parameters: [logVariance],
    mean: (weights) => kept(weights(weight), weights(logVariance), threshold),
    divergence: (weights) => sparseDivergence(logAlpha(weights(weight), weights(logVariance))),
    // Noise that is added, not multiplied: its slope in θ is 0, and that in σ does not grow with θ.
    sampled: (x, weights) => ({ x, mean: weights(weight), variance: exp(weights(logVariance)) }),
  });
}

/**
 * Group variational dropout: a gate z_i ~ N(μ_i, μ_i² alpha_i) on every input unit or channel, and weights
 * N(z_i μ_ij, z_i² σ_ij²) behind it, with the priors log-uniform and N(0, z_i²) (Louizos et al., 2017, section 4.1). A
 * gate beyond the threshold switches its unit off.
 */
export function groupDropout(
  map: LinearMap,
  { threshold, log_variance }: Pick<DropoutOptions, 'threshold' | 'log_variance'>,
): LinearLayer {
  const { name, weight } = map;
  const inputs = weight.shape[map.inputAxis];
  const gateMean = parameter(`${name}.gate_mean`, [inputs], filledWith(1));
  const gateLogVariance = parameter(`${name}.gate_log_variance`, [inputs], filledWith(log_variance));
  const logVariance = parameter(`${name}.log_variance`, weight.shape, filledWith(log_variance));
  const gateNoise = `dropout/${name}/gate`;
  return variational(map, {
    parameters: [gateMean, gateLogVariance, logVariance],
    noise: { [gateNoise]: [inputs] },
    mean: (weights) =>
      mul(weights(weight), alongInputs(kept(weights(gateMean), weights(gateLogVariance), threshold), map)),
    divergence: (weights) =>
      add(
        sparseDivergence(logAlpha(weights(gateMean), weights(gateLogVariance))),
        reduceSum(normalDivergence(weights(weight), weights(logVariance))),
      ),
    sampled(x, weights, draw, form) {
      const deviation = exp(mul(weights(gateLogVariance), 0.5));
      const gates = add(weights(gateMean), mul(deviation, draw(gateNoise)));
      return {
        x: mul(x, x.shape.length === 2 ? gates : overPixels(gates, form)),
        mean: weights(weight),
        variance: exp(weights(logVariance)),
      };
    },
  });
}

/** [inputs] in a shape that broadcasts over the weight's other axes. */
function alongInputs(values: Tensor, { weight, inputAxis }: LinearMap): Tensor {
  return reshape(
    values,
    weight.shape.map((length, axis) => (axis === inputAxis ? length : 1)),
  );
}

/** [N, channels] in a shape that broadcasts over the pixels of maps. */
function overPixels(values: Tensor, form: ConvolutionForm): Tensor {
  const [count, channels] = values.shape;
  return reshape(values, form === 'operators' ? [count, channels, 1, 1] : [count, 1, 1, channels]);
}
