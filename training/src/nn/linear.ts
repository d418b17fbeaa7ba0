import type { ConvolutionForm } from '../engines/engine.js';
import type { Tensor } from '../onnx/tensor.js';
import type { Layer, Parameter, Weights } from './parameters.js';

/** What dense layers and convolutions have in common: a map that is linear in its input and in its weight, and a bias. */
export interface LinearMap {
  readonly name: string;
  readonly weight: Parameter;
  readonly bias: Parameter;
  /** The axis of the weight that counts what comes in: units, or channels. */
  readonly inputAxis: number;
  /** What comes out for one example: [units], or [height, width, channels]. */
  readonly output: readonly number[];
  apply(x: Tensor, weight: Tensor, bias: Tensor, form: ConvolutionForm): Tensor;
}

/** A layer of one linear map. */
export interface LinearLayer extends Layer {
  /** @param form what maps of x are laid out for; of no account where x is [N, units] */
  apply(x: Tensor, weights: Weights, form?: ConvolutionForm): Tensor;
}

/** Makes a layer of a linear map: plainly, or with noise in training. */
export type LayerMaker = (map: LinearMap) => LinearLayer;

/** The map itself. */
export const plain: LayerMaker = ({ weight, bias, apply }) => ({
  parameters: [weight, bias],
  apply: (x, weights, form = 'operators') => apply(x, weights(weight), weights(bias), form),
});
