import type { ConvolutionForm } from '../engines/engine.js';
import { convolution, fromForm, type MapShape, toForm } from '../nn/feature-maps.js';
import { zeros } from '../nn/initialisers.js';
import { type DenseOptions, dense } from '../nn/layers.js';
import type { LayerMaker, LinearLayer } from '../nn/linear.js';
import { joined, type Part, type Weights } from '../nn/parameters.js';
import { add, clip, exp, mul, reshape, split } from '../onnx/ops.js';
import { elementCount, type Tensor } from '../onnx/tensor.js';
import type { Posterior } from './posterior.js';

/** What the encoder's layers make of examples, for the posteriors of stochastic layers at several depths. */
export interface Features {
  /** Of the last layer: [N, outputs]. */
  readonly output: Tensor;
  /** After each dense layer, first to last. */
  readonly hidden: readonly Tensor[];
  /** After each convolution, in the form that the graph takes. */
  readonly maps: readonly Tensor[];
  readonly form: ConvolutionForm;
}

/** One of the encoder's signals. */
export interface EncoderSignal {
  readonly shape: SignalShape;
  of(features: Features): Tensor;
}

/** Of one example: units of a dense layer, or maps. */
export type SignalShape = readonly [units: number] | MapShape;

/**
 * Latent variables below the first: z_l = m(h) + s(h) · u with h what the decoder has made of those above, and u ~ N(0, I).
 * The model's latent variables are the u of all layers, so that its prior is N(0, I) whatever m and s are, and the KL
 * term the same as that of z_l: NVAE's residual normals (Vahdat & Kautz, 2020, section 3.2) with the scale taken out.
 */
export interface StochasticLayer extends Part {
  /** Latent variables of an example. */
  readonly size: number;
  /** q(u | x, h), from the encoder's features and the decoder's signal: → [N, size] each. */
  posterior(features: Features, h: Tensor, weights: Weights, form: ConvolutionForm): Posterior;
  /** The decoder's signal with u in it: of the shape of h. @param u [N, size] */
  inject(h: Tensor, u: Tensor, weights: Weights, form: ConvolutionForm): Tensor;
}

/** log s² starts at 0 and stays within ±this. */
const LOG_SCALE_LIMIT = 5;

export function stochasticLayer(
  name: string,
  { signal, encoded, latents, limit }: StochasticLayerShape,
  activate: (x: Tensor) => Tensor,
  make?: LayerMaker,
): StochasticLayer {
  const [channels] = signal;
  const shape = latentShape(signal, latents);
  const size = elementCount(shape);
  const prior = pointwise(`${name}.prior`, signal, 2 * latents, { weight: zeros, make });
  const fromEncoder = pointwise(`${name}.encoded`, encoded.shape, channels, { make });
  const fromDecoder = pointwise(`${name}.decoded`, signal, channels, { make });
  const head = pointwise(`${name}.posterior`, signal, 2 * latents, { make });
  const output = pointwise(`${name}.latents`, shape, channels, { make });
  const isMaps = signal.length === 3;
  const axis = (form: ConvolutionForm) => (isMaps && form === 'products' ? 3 : 1);
  const halves = (both: Tensor, form: ConvolutionForm) => split(both, axis(form), [latents, latents]);

  return {
    ...joined([prior, fromEncoder, fromDecoder, head, output]),
    size,
    posterior(features, h, weights, form) {
      const both = add(fromEncoder.apply(encoded.of(features), weights, form), fromDecoder.apply(h, weights, form));
      const [mean, logVariance] = halves(head.apply(activate(both), weights, form), form);
      const flat = (maps: Tensor) => (isMaps ? flattened(maps, size, form) : maps);
      return { mean: flat(mean), logVariance: clip(flat(logVariance), -limit, limit) };
    },
    inject(h, u, weights, form) {
      const [mean, logScale] = halves(prior.apply(h, weights, form), form);
      const scale = exp(mul(clip(logScale, -LOG_SCALE_LIMIT, LOG_SCALE_LIMIT), 0.5));
      const noise = shape.length === 3 ? toForm(reshape(u, [u.shape[0], ...shape]), form) : u;
      return add(h, output.apply(add(mean, mul(scale, noise)), weights, form));
    },
  };
}

export interface StochasticLayerShape {
  /** Of the decoder. */
  readonly signal: SignalShape;
  /** Of the signal's height and width. */
  readonly encoded: EncoderSignal;
  /** Units, or channels of maps of the signal's height and width. */
  readonly latents: number;
  /** Log variances of the posterior are clamped to ±this. */
  readonly limit: number;
}

function latentShape(signal: SignalShape, latents: number): SignalShape {
  const [, height, width] = signal;
  return height === undefined || width === undefined ? [latents] : [latents, height, width];
}

/** A dense layer, or the same one at every place of maps. */
function pointwise(
  name: string,
  signal: SignalShape,
  outputs: number,
  options: Omit<DenseOptions, 'bias'>,
): LinearLayer {
  const [units, height, width] = signal;
  if (height === undefined || width === undefined) return dense(name, units, outputs, options);
  return convolution(name, [units, height, width], outputs, { kernel: 1, stride: 1, padding: 0 }, options);
}

/** Maps as [N, size], channels first in either form. */
function flattened(maps: Tensor, size: number, form: ConvolutionForm): Tensor {
  return reshape(fromForm(maps, form), [maps.shape[0], size]);
}
