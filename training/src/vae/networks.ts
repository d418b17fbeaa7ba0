import type { ConvolutionForm } from '../engines/engine.js';
import {
  convolution,
  convolvedLength,
  formFor,
  fromForm,
  type Geometry,
  type MapLayer,
  type MapShape,
  toForm,
  transposedConvolution,
} from '../nn/feature-maps.js';
import { type Initialiser, startingAt, zeros } from '../nn/initialisers.js';
import { ACTIVATIONS, dense, mlp } from '../nn/layers.js';
import { type LayerMaker, plain } from '../nn/linear.js';
import { joined, type Part, type Weights } from '../nn/parameters.js';
import { add, concat, flatten, reshape, slice, zerosLike } from '../onnx/ops.js';
import type { Tensor } from '../onnx/tensor.js';
import { type Configuration, ConfigurationError } from './configuration.js';
import {
  type EncoderSignal,
  type Features,
  type SignalShape,
  type StochasticLayer,
  stochasticLayer,
} from './stochastic-layers.js';

export interface Encoder extends Part {
  /** Features of an example. */
  readonly outputs: number;
  readonly hidden: readonly number[];
  readonly maps: readonly MapShape[];
  /** @param label class of each example, 1 at its number: [N, classes] */
  apply(x: Tensor, weights: Weights, label?: Tensor): Features;
}

export interface EncoderOptions {
  /** What layers are made by, such as those of `dropoutLayers`. */
  readonly make?: LayerMaker;
  /** Of examples whose class joins what the dense layers see (Sohn et al., 2015); 0: none. */
  readonly classes?: number;
  /** Of the parameters, and of the configuration's field: another network may have the encoder's layers. */
  readonly name?: string;
}

/**
 * The part of the encoder before its heads: convolutions, then dense layers, each followed by the activation.
 * [N, …inputShape] → [N, outputs].
 * @param inputShape of an example, as the likelihood presents it
 * @throws {ConfigurationError} where the convolutions do not fit the data
 */
export function encoderNetwork(
  { encoder: { convolutions, hidden }, activation }: Pick<Configuration, 'encoder' | 'activation'>,
  inputShape: readonly number[],
  preferred: ConvolutionForm,
  { make = plain, classes = 0, name = 'encoder' }: EncoderOptions = {},
): Encoder {
  const activate = ACTIVATIONS[activation];
  const layers: MapLayer[] = [];
  if (convolutions.length > 0) {
    let maps = imageShape(name, inputShape);
    for (const [i, geometry] of convolutions.entries()) {
      checkFit(`${name}.convolutions.${i}`, maps, geometry);
      const layer = convolution(`${name}.${i}`, maps, geometry.channels, geometry, { make });
      layers.push(layer);
      maps = layer.output;
    }
  }
  const features = sizeOf(layers.at(-1)?.output ?? inputShape) + classes;
  const body = mlp(name, features, hidden, activation, { firstNumber: layers.length, make });
  return {
    outputs: hidden.at(-1) ?? features,
    hidden,
    maps: layers.map(({ output }) => output),
    ...joined([...layers, body]),
    apply(x, weights, label) {
      const [first] = layers;
      const form = first === undefined ? 'operators' : formFor(preferred, x, weights(first.parameters[0]));
      const maps: Tensor[] = [];
      for (const layer of layers) {
        maps.push(activate(layer.apply(maps.at(-1) ?? toForm(x, form), weights, form)));
      }
      const last = maps.at(-1);
      const flat = withLabel(flatten(last === undefined ? x : fromForm(last, form)), label);
      const signals = body.signals(flat, weights);
      return { output: signals.at(-1) ?? flat, hidden: signals, maps, form };
    },
  };
}

/** Latent variables that a walk through the decoder meets at a stochastic layer: what the decoder holds there → [N, size]. */
export type LatentSource = (layer: StochasticLayer, signal: Tensor, form: ConvolutionForm) => Tensor;

export interface Decoder extends Part {
  /** Below the first, from the top to the data. */
  readonly stochasticLayers: readonly StochasticLayer[];
  /**
   * Runs as far as the last stochastic layer.
   * @param z of the first stochastic layer, [N, latent size], beside the class of each example where there are classes
   * @returns the rest of the way: → [N, K]
   */
  descend(z: Tensor, weights: Weights, form: ConvolutionForm, latents: LatentSource): () => Tensor;
  /** The form for a graph with latents such as z. */
  formFor(z: Tensor, weights: Weights): ConvolutionForm;
}

/** A layer of the decoder, and the latent variables that join what comes out of it. */
interface Stage extends Part {
  readonly output: SignalShape;
  readonly stochastic?: StochasticLayer;
  apply(signal: Tensor, weights: Weights, form: ConvolutionForm): Tensor;
}

/** What an example is, or came from, and its class: [N, F] and [N, classes], or [1, classes] → [N, F + classes]. */
export function withLabel(x: Tensor, label: Tensor | undefined): Tensor {
  if (label === undefined) return x;
  // One example may be drawn for many samples.
  const each = label.shape[0] === x.shape[0] ? label : add(label, zerosLike(slice(x, 1, 0, 1)));
  return concat([x, each], 1);
}

export interface DecoderOptions extends EncoderOptions {
  /** [K]: what the last layer's bias starts at, 0 unless given; one number a channel for a convolution. */
  readonly outputBias?: Float64Array | undefined;
}

/**
 * The whole decoder: dense layers, then transposed convolutions, each but the last followed by the activation, with
 * stochastic layers between them where the configuration asks for some. [N, latent size] → [N, K], with K the product of
 * `outputShape`.
 * @throws {ConfigurationError} where the convolutions or stochastic layers do not fit the data or the encoder
 */
export function decoderNetwork(
  configuration: Configuration,
  outputShape: readonly number[],
  encoder: Encoder,
  preferred: ConvolutionForm,
  options: DecoderOptions = {},
): Decoder {
  const layers = decoderLayers(configuration, outputShape, options);
  const activate = ACTIVATIONS[configuration.activation];
  const places = configuration.decoder.stochastic_layers ?? [];
  for (const [i, { after_layer: after }] of places.entries()) {
    const previous = places[i - 1]?.after_layer ?? -1;
    if (after > previous && after < layers.length - 1) continue;
    throw new ConfigurationError(
      `decoder.stochastic_layers.${i}.after_layer is ${after}; expected ${previous + 1} to ${layers.length - 2}: after one of the layers but the last, numbered from 0, and after the stochastic layer before`,
    );
  }
  const stages = layers.map((layer, i): Stage => {
    const place = places.find(({ after_layer }) => after_layer === i);
    if (place === undefined) return layer;
    const { log_variance_limit: limit } = configuration;
    const encoded = encoderSignal(encoder, layer.output, i);
    const shape = { signal: layer.output, encoded, latents: place.latents, limit };
    return { ...layer, stochastic: stochasticLayer(`decoder.${i}.stochastic`, shape, activate, options.make) };
  });
  const last = stages.findLastIndex(({ stochastic }) => stochastic !== undefined);
  const [firstMaps] = stages.filter(({ output }) => output.length === 3);
  return {
    ...joined(stages.flatMap((stage) => (stage.stochastic === undefined ? [stage] : [stage, stage.stochastic]))),
    stochasticLayers: stages.flatMap(({ stochastic }) => stochastic ?? []),
    formFor: (z, weights) =>
      firstMaps === undefined ? 'operators' : formFor(preferred, z, weights(firstMaps.parameters[0])),
    descend(z, weights, form, latents) {
      const run = (signal: Tensor, part: readonly Stage[]) =>
        part.reduce((x, { stochastic, apply }) => {
          const h = apply(x, weights, form);
          return stochastic === undefined ? h : stochastic.inject(h, latents(stochastic, h, form), weights, form);
        }, signal);
      const reached = run(z, stages.slice(0, last + 1));
      return () => {
        const output = run(reached, stages.slice(last + 1));
        // Convolutions of the encoder do not make maps of what a decoder of dense layers gives.
        return firstMaps === undefined ? output : flatten(fromForm(output, form));
      };
    },
  };
}

/** The layers of a decoder from the latent variables to the data. */
function decoderLayers(
  { decoder: { convolutions, hidden }, activation, latent_size: latentSize }: Configuration,
  outputShape: readonly number[],
  { outputBias, make = plain, classes = 0 }: DecoderOptions,
): readonly Stage[] {
  const activate = ACTIVATIONS[activation];
  const activated = (number: number, inputs: number, units: number): Stage => {
    const layer = dense(`decoder.${number}`, inputs, units, { make });
    return { ...layer, output: [units], apply: (x, weights) => activate(layer.apply(x, weights)) };
  };
  const hiddenLayers = hidden.map((units, i) => activated(i, hidden[i - 1] ?? latentSize + classes, units));
  const inputs = hidden.at(-1) ?? latentSize + classes;
  if (convolutions.length === 0) {
    const size = sizeOf(outputShape);
    const bias = outputBias === undefined ? zeros : startingAt(outputBias);
    return [...hiddenLayers, { ...dense('decoder.output', inputs, size, { bias, make }), output: [size] }];
  }

  const shapes = transposedShapes(convolutions, imageShape('decoder', outputShape));
  const [start] = shapes;
  // The last dense layer fills the first maps.
  const filling = activated(hidden.length, inputs, sizeOf(start));
  const maps = convolutions.map((geometry, i): Stage => {
    const isLast = i === convolutions.length - 1;
    const name = isLast ? 'decoder.output' : `decoder.${hidden.length + 1 + i}`;
    const bias = isLast && outputBias !== undefined ? channelMeans(outputBias, outputShape[0]) : zeros;
    const layer = transposedConvolution(name, geometry.channels, shapes[i + 1], geometry, { bias, make });
    if (isLast) return layer;
    return { ...layer, apply: (x, weights, form) => activate(layer.apply(x, weights, form)) };
  });
  return [
    ...hiddenLayers,
    {
      ...filling,
      output: start,
      apply(x, weights, form) {
        const units = filling.apply(x, weights, form);
        return toForm(reshape(units, [units.shape[0], ...start]), form);
      },
    },
    ...maps,
  ];
}

/**
 * What of the encoder tells a stochastic layer of an example: the last maps of its height and width, or among dense
 * layers the one that is as far from the latent variables.
 */
function encoderSignal(encoder: Encoder, [, height, width]: SignalShape, number: number): EncoderSignal {
  if (height !== undefined && width !== undefined) {
    const at = encoder.maps.findLastIndex((shape) => shape[1] === height && shape[2] === width);
    if (at >= 0) return { shape: encoder.maps[at], of: ({ maps }) => maps[at] };
    throw new ConfigurationError(
      `decoder.stochastic_layers: maps of ${height}x${width} come out of layer ${number}; expected a size that maps of the encoder have: ${encoder.maps.map(([, h, w]) => `${h}x${w}`).join(', ') || 'there are none'}`,
    );
  }
  const at = encoder.hidden.length - 1 - number;
  if (at < 0) return { shape: [encoder.outputs], of: ({ output }) => output };
  return { shape: [encoder.hidden[at]], of: ({ hidden }) => hidden[at] };
}

/** Shapes of the maps before each transposed convolution and after the last, worked out from the last. */
function transposedShapes(
  convolutions: readonly (Geometry & { readonly channels: number })[],
  output: MapShape,
): readonly [MapShape, ...MapShape[]] {
  let shapes: readonly [MapShape, ...MapShape[]] = [output];
  for (const [i, geometry] of [...convolutions.entries()].toReversed()) {
    const [[, ...sides]] = shapes;
    checkFit(`decoder.convolutions.${i}`, shapes[0], geometry);
    const [height, width] = sides.map((side) => convolvedLength(side, geometry));
    shapes = [[geometry.channels, height, width], ...shapes];
  }
  return shapes;
}

function checkFit(field: string, [, height, width]: MapShape, geometry: Geometry): void {
  if (Math.min(convolvedLength(height, geometry), convolvedLength(width, geometry)) >= 1) return;
  throw new ConfigurationError(
    `${field}: a kernel of ${geometry.kernel} with padding ${geometry.padding} does not fit maps of ${height}x${width}`,
  );
}

function imageShape(field: string, shape: readonly number[]): MapShape {
  const [channels, height, width] = shape;
  if (shape.length === 3) return [channels, height, width];
  throw new ConfigurationError(`${field}.convolutions take images; the data are rows of ${shape.join('x')} numbers`);
}

/** A transposed convolution has one bias for all pixels of a channel. */
function channelMeans(perPixel: Float64Array, channels: number): Initialiser {
  const size = perPixel.length / channels;
  return startingAt(
    Array.from({ length: channels }, (_, channel) => {
      const pixels = perPixel.subarray(channel * size, (channel + 1) * size);
      return pixels.reduce((sum, value) => sum + value, 0) / size;
    }),
  );
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, dimension) => product * dimension, 1);
}
