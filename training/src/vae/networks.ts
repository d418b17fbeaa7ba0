import type { ConvolutionForm } from '../engines/engine.js';
import {
  convolution,
  convolvedLength,
  formFor,
  type Geometry,
  type MapLayer,
  type MapShape,
  throughMaps,
  transposedConvolution,
} from '../nn/feature-maps.js';
import { type Initialiser, startingAt, zeros } from '../nn/initialisers.js';
import { ACTIVATIONS, dense, mlp } from '../nn/layers.js';
import type { Layer } from '../nn/parameters.js';
import { flatten, reshape } from '../onnx/ops.js';
import { type Configuration, ConfigurationError } from './configuration.js';

export interface Encoder extends Layer {
  /** Features of an example. */
  readonly outputs: number;
}

/**
 * The part of the encoder before its heads: convolutions, then dense layers, each followed by the activation.
 * [N, …inputShape] → [N, outputs].
 * @param inputShape of an example, as the likelihood presents it
 * @throws {ConfigurationError} where the convolutions do not fit the data
 */
export function encoderNetwork(
  { encoder: { convolutions, hidden }, activation }: Configuration,
  inputShape: readonly number[],
  preferred: ConvolutionForm,
): Encoder {
  const activate = ACTIVATIONS[activation];
  const layers: MapLayer[] = [];
  if (convolutions.length > 0) {
    let maps = imageShape('encoder', inputShape);
    for (const [i, geometry] of convolutions.entries()) {
      checkFit(`encoder.convolutions.${i}`, maps, geometry);
      const layer = convolution(`encoder.${i}`, maps, geometry.channels, geometry);
      layers.push(layer);
      maps = layer.output;
    }
  }
  const features = sizeOf(layers.at(-1)?.output ?? inputShape);
  const body = mlp('encoder', features, hidden, activation, layers.length);
  return {
    outputs: hidden.at(-1) ?? features,
    parameters: [...layers, body].flatMap((layer) => layer.parameters),
    apply(x, weights) {
      const [first] = layers;
      if (first === undefined) return body.apply(x, weights);
      const form = formFor(preferred, x, weights(first.parameters[0]));
      const steps = layers.map((layer) => (maps: typeof x) => activate(layer.apply(maps, weights, form)));
      return body.apply(flatten(throughMaps(x, steps, form)), weights);
    },
  };
}

/**
 * The whole decoder: dense layers, then transposed convolutions, each but the last followed by the activation.
 * [N, latent size] → [N, K], with K the product of `outputShape`.
 * @param outputBias [K]: what the last layer's bias starts at, 0 unless given; one number a channel for a convolution
 * @throws {ConfigurationError} where the convolutions do not fit the data
 */
export function decoderNetwork(
  { decoder: { convolutions, hidden }, activation, latent_size: latentSize }: Configuration,
  outputShape: readonly number[],
  preferred: ConvolutionForm,
  outputBias?: Float64Array,
): Layer {
  const size = sizeOf(outputShape);
  if (convolutions.length === 0) {
    const body = mlp('decoder', latentSize, hidden, activation);
    const bias = outputBias === undefined ? zeros : startingAt(outputBias);
    const output = dense('decoder.output', hidden.at(-1) ?? latentSize, size, { bias });
    return {
      parameters: [...body.parameters, ...output.parameters],
      apply: (z, weights) => output.apply(body.apply(z, weights), weights),
    };
  }

  const activate = ACTIVATIONS[activation];
  const shapes = transposedShapes(convolutions, imageShape('decoder', outputShape));
  const [start] = shapes;
  // The last dense layer fills the first maps.
  const body = mlp('decoder', latentSize, [...hidden, sizeOf(start)], activation);
  const layers = convolutions.map((geometry, i) => {
    const isLast = i === convolutions.length - 1;
    const name = isLast ? 'decoder.output' : `decoder.${hidden.length + 1 + i}`;
    const bias = isLast && outputBias !== undefined ? channelMeans(outputBias, outputShape[0]) : zeros;
    return transposedConvolution(name, geometry.channels, shapes[i + 1], geometry, bias);
  });
  return {
    parameters: [body, ...layers].flatMap((layer) => layer.parameters),
    apply(z, weights) {
      const maps = reshape(body.apply(z, weights), [z.shape[0], ...start]);
      const form = formFor(preferred, z, weights(layers[0].parameters[0]));
      const steps = layers.map((layer, i) => (signal: typeof z) => {
        const result = layer.apply(signal, weights, form);
        return i === layers.length - 1 ? result : activate(result);
      });
      return flatten(throughMaps(maps, steps, form));
    },
  };
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
