import type { ConvolutionForm } from '../engines/engine.js';
import { conv, convTranspose, reshape, transpose } from '../onnx/ops.js';
import { isStatic, type Tensor } from '../onnx/tensor.js';
import {
  onnxKernel,
  convolution as trainedConvolution,
  transposedConvolution as trainedTransposedConvolution,
} from './convolution.js';
import { glorotUniform, type Initialiser, zeros } from './initialisers.js';
import { type LayerMaker, type LinearLayer, plain } from './linear.js';
import { parameter } from './parameters.js';

// Layers between feature maps. Maps are [N, channels, height, width] where convolutions stand as operators, and
// [N, height, width, channels] where they stand as products; the parameters are the same.

export type MapShape = readonly [channels: number, height: number, width: number];

export interface Geometry {
  /** Side of the square kernel. */
  readonly kernel: number;
  readonly stride: number;
  /** Zeros at each side of an axis. */
  readonly padding: number;
}

export interface MapLayer extends LinearLayer {
  /** What comes out, for one example. */
  readonly output: MapShape;
}

/** Length of an axis after a convolution; below 1 where the kernel does not fit. */
export function convolvedLength(length: number, { kernel, stride, padding }: Geometry): number {
  return Math.floor((length + 2 * padding - kernel) / stride) + 1;
}

export function convolution(
  name: string,
  [channels, height, width]: MapShape,
  outputs: number,
  geometry: Geometry,
  { weight, make = plain }: { weight?: Initialiser; make?: LayerMaker } = {},
): MapLayer {
  const { kernel, stride, padding } = geometry;
  const area = kernel * kernel;
  // Each input takes part in so many outputs.
  const initialiser = weight ?? glorotUniform(channels * area, (outputs * area) / stride ** 2);
  const [rows, columns] = [convolvedLength(height, geometry), convolvedLength(width, geometry)];
  const options = { strides: [stride, stride], pads: [padding, padding, padding, padding] } as const;
  const layer = make({
    name,
    weight: parameter(`${name}.weight`, [kernel, kernel, channels, outputs], initialiser),
    bias: parameter(`${name}.bias`, [outputs], zeros),
    inputAxis: 2,
    output: [rows, columns, outputs],
    apply(maps, weight, bias, form) {
      if (form === 'operators') return conv(maps, onnxKernel(weight), bias, options);
      return trainedConvolution(maps, weight, bias, options);
    },
  });
  return { ...layer, output: [outputs, rows, columns] };
}

/**
 * The transpose of a convolution, which brings its sizes back.
 * @param output shape of what that convolution would take
 */
export function transposedConvolution(
  name: string,
  channels: number,
  output: MapShape,
  geometry: Geometry,
  { bias = zeros, make = plain }: { bias?: Initialiser; make?: LayerMaker } = {},
): MapLayer {
  const [outputs, ...sides] = output;
  const { kernel, stride, padding } = geometry;
  const area = kernel * kernel;
  const initialiser = glorotUniform((channels * area) / stride ** 2, outputs * area);
  // Rows and columns that a stride leaves open.
  const [bottom, right] = sides.map(
    (side) => side - ((convolvedLength(side, geometry) - 1) * stride - 2 * padding + kernel),
  );
  const options = {
    strides: [stride, stride],
    pads: [padding, padding, padding, padding],
    outputPadding: [bottom, right],
  } as const;
  const layer = make({
    name,
    weight: parameter(`${name}.weight`, [kernel, kernel, outputs, channels], initialiser),
    bias: parameter(`${name}.bias`, [outputs], bias),
    inputAxis: 3,
    output: [...sides, outputs],
    apply(maps, weight, bias, form) {
      if (form === 'operators') return convTranspose(maps, onnxKernel(weight), bias, options);
      return trainedTransposedConvolution(maps, weight, bias, options);
    },
  });
  return { ...layer, output };
}

/** [N, channels, height, width] in the form that layers take. */
export function toForm(x: Tensor, form: ConvolutionForm): Tensor {
  if (form === 'operators') return x;
  const [n, channels, height, width] = x.shape;
  return channels === 1 ? reshape(x, [n, height, width, 1]) : transpose(x, [0, 2, 3, 1]);
}

/** The inverse of `toForm`. */
export function fromForm(maps: Tensor, form: ConvolutionForm): Tensor {
  if (form === 'operators') return maps;
  const [n, height, width, channels] = maps.shape;
  return channels === 1 ? reshape(maps, [n, 1, height, width]) : transpose(maps, [0, 3, 1, 2]);
}

/**
 * The form that a graph takes: products are for training, with a fixed batch and changing weights; constants stand in
 * operators, for which every runtime has its fastest kernels.
 */
export function formFor(form: ConvolutionForm, x: Tensor, weight: Tensor): ConvolutionForm {
  return form === 'products' && isStatic(x.shape) && weight.constant === undefined ? 'products' : 'operators';
}
