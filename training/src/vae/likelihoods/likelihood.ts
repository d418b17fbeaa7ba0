import type { Column } from '@elbo/models';
import type { Parameter, Weights } from '../../nn/parameters.js';
import type { Tensor } from '../../onnx/tensor.js';

/**
 * p(x | z): what the decoder's output means, and how the encoder sees x. Examples are in the data's own units, flat
 * [N, D]; what a likelihood computes of an example is a sum over its D data dimensions, in nats.
 */
export interface Likelihood {
  readonly kind: string;
  /** Its own, besides those of encoder and decoder. */
  readonly parameters: readonly Parameter[];
  /** Shape of an example as the encoder sees it. */
  readonly presentedShape: readonly number[];
  /** Shape of what the decoder gives for an example, with K = its product: [maps, height, width] of images, else [K]. */
  readonly decodedShape: readonly number[];
  /** [K]: the decoder's output bias that starts training at the mean of the training data; 0 where there is none. */
  readonly outputBias?: Float64Array;
  /** Data dimensions whose mean is a code, which jumps where two codes are as probable; none where unset. */
  readonly codes?: readonly number[];
  /** What the encoder sees: [N, …shape of an example] → [N, …presentedShape]. */
  present(x: Tensor, weights: Weights): Tensor;
  /** −log p(x | z) of each example: [N, D], [N, K] → [N]. */
  negativeLogLikelihood(x: Tensor, decoded: Tensor, weights: Weights): Tensor;
  /** The value of x to expect: [N, K] → [N, D]. */
  mean(decoded: Tensor, weights: Weights): Tensor;
  /** Non-negative contribution of each data dimension to the misfit, zero for a perfect reconstruction: → [N, D]. */
  deviance(x: Tensor, decoded: Tensor, weights: Weights): Tensor;
}

/** Of the training examples; vectors are [D]. */
export interface DataMoments {
  readonly mean: Float64Array;
  readonly variance: Float64Array;
  /** Where the examples are counts. */
  readonly counts?: CountMoments;
}

export interface CountMoments {
  /** Of log(1 + x). */
  readonly logMean: Float64Array;
  readonly logVariance: Float64Array;
  /** The median over the examples of their sums. */
  readonly medianTotal: number;
}

/** The data that a likelihood is made for. */
export interface LikelihoodData {
  /** Of one example: [channels, height, width] or [columns]. */
  readonly shape: readonly number[];
  /** Bytes stand for 0 to 1. Unknown to a trained model that is read again. */
  readonly dtype?: 'uint8' | 'float32' | undefined;
  /** Of tables whose columns have names or categories. */
  readonly columns?: readonly Column[] | undefined;
  /** Unknown to a trained model, whose weights hold what comes of them. */
  readonly moments?: DataMoments | undefined;
}

/** How examples of a table must look: numbers, whole numbers from 0, codes of categories, or each column as it says. */
export type TableForm = 'numbers' | 'counts' | 'codes' | 'columns';

/** A likelihood by its name in a configuration. */
export interface LikelihoodFamily {
  /** Images that it suits. */
  readonly images: 'bytes' | 'any' | 'none';
  /** Tables that it suits. */
  readonly tables: TableForm | 'none';
  create(data: LikelihoodData): Likelihood;
}

/** D: the numbers in an example. */
export function dataSize({ shape }: Pick<LikelihoodData, 'shape'>): number {
  return shape.reduce((product, dimension) => product * dimension, 1);
}

export function isTable({ shape }: Pick<LikelihoodData, 'shape'>): boolean {
  return shape.length === 1;
}
