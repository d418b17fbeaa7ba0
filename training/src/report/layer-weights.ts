import type { LoadedModel } from '@elbo/models';
import { float32Initialisers, summarise } from '../onnx/decode.js';
import { isStatic } from '../onnx/tensor.js';

/** Decades of a weight's magnitude that are told apart: below 1e-6, 1e-6 to 1e-5, … and from 10 on. */
export const SMALLEST_DECADE = -6;
export const DECADES = 8;
/** Bins of a decade. */
export const BINS_A_DECADE = 4;

/** The weights of one layer: a matrix or the kernels of a convolution, without biases. */
export interface LayerWeights {
  readonly name: string;
  readonly shape: readonly number[];
  readonly count: number;
  /** Weights that are exactly 0. */
  readonly zeros: number;
  /** How many of the others have a magnitude in each bin of log10, from SMALLEST_DECADE on; outer bins take what is beyond. */
  readonly magnitudes: readonly number[];
}

export interface Weights {
  /** Numbers that training learned, biases and scales among them. */
  readonly parameters: number;
  readonly layers: readonly LayerWeights[];
}

/** What the graph builder names that is not learned. */
const CONSTANT = /^constant_\d+$/;

/**
 * Counts the weights in the encoder's and the decoder's files, as they are served.
 * @throws {GraphError} where a file is not an ONNX model that Elbo can read
 */
export function weightsOf({ graphs }: Pick<LoadedModel, 'graphs'>): Weights {
  const layers = new Map<string, LayerWeights>();
  const sizes = new Map<string, number>();
  for (const bytes of [graphs.encoder, graphs.decoder]) {
    const { initialisers } = summarise(bytes);
    for (const [name, values] of float32Initialisers(bytes)) {
      if (CONSTANT.test(name)) continue;
      sizes.set(name, values.length);
      const { shape } = initialisers[name];
      if (shape.length >= 2 && isStatic(shape)) layers.set(name, layerOf(name, shape, values));
    }
  }
  return { parameters: [...sizes.values()].reduce((sum, size) => sum + size, 0), layers: [...layers.values()] };
}

function layerOf(name: string, shape: readonly number[], values: Float32Array): LayerWeights {
  const magnitudes = new Array<number>(DECADES * BINS_A_DECADE).fill(0);
  let zeros = 0;
  for (const value of values) {
    if (value === 0) zeros++;
    else {
      const bin = Math.floor((Math.log10(Math.abs(value)) - SMALLEST_DECADE) * BINS_A_DECADE);
      magnitudes[Math.min(Math.max(bin, 0), magnitudes.length - 1)]++;
    }
  }
  return { name, shape, count: values.length, zeros, magnitudes };
}
