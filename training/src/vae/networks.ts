import type { ConvolutionForm } from '../engines/engine.js';
import { type Initialiser, startingAt, zeros } from '../nn/initialisers.js';
import { dense, mlp } from '../nn/layers.js';
import type { Layer } from '../nn/parameters.js';
import type { Configuration } from './configuration.js';

export interface Encoder extends Layer {
  /** Features of an example. */
  readonly outputs: number;
}

/** The part of the encoder before its heads: [N, …inputShape] → [N, outputs]. */
export function encoderNetwork(
  { encoder, activation }: Configuration,
  inputShape: readonly number[],
  _form: ConvolutionForm,
): Encoder {
  const size = inputShape.reduce((product, dimension) => product * dimension, 1);
  return { ...mlp('encoder', size, encoder.hidden, activation), outputs: encoder.hidden.at(-1) ?? size };
}

/**
 * The whole decoder: [N, latent size] → [N, D].
 * @param outputBias [D]: what the last layer's bias starts at; 0 unless given
 */
export function decoderNetwork(
  { decoder, activation, latent_size: latentSize }: Configuration,
  inputShape: readonly number[],
  _form: ConvolutionForm,
  outputBias?: Float64Array,
): Layer {
  const size = inputShape.reduce((product, dimension) => product * dimension, 1);
  const bias: Initialiser = outputBias === undefined ? zeros : startingAt(outputBias);
  const hidden = mlp('decoder', latentSize, decoder.hidden, activation);
  const output = dense('decoder.output', decoder.hidden.at(-1) ?? latentSize, size, { bias });
  return {
    parameters: [...hidden.parameters, ...output.parameters],
    apply: (z, weights) => output.apply(hidden.apply(z, weights), weights),
  };
}
