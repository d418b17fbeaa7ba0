import type { ConvolutionForm } from '../engines/engine.js';
import { conv, convTranspose, reshape, transpose } from '../onnx/ops.js';
import { isStatic, type Tensor } from '../onnx/tensor.js';
import { convolution as convolutionProduct, transposedConvolution as transposedProduct } from './convolution.js';
import { glorotUniform, type Initialiser, zeros } from './initialisers.js';
import { type Layer, type Parameter, parameter, type Weights } from './parameters.js';

/** Channels, height, width. */
export type MapShape = readonly [channels: number, height: number, width: number];

export interface ConvolutionGeometry {
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
}

/** A layer between feature maps, which know their layout: channels first for ONNX's operators, last for products. */
export interface MapLayer {
  readonly parameters: readonly Parameter[];
  readonly output: MapShape;
  apply(maps: FeatureMaps, weights: Weights): FeatureMaps;
}

export interface FeatureMaps {
  readonly form: ConvolutionForm;
  /** [N, channels, height, width] for operators, [N, height, width, channels] for products. */
  readonly tensor: Tensor;
}
