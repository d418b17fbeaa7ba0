import type { AggregatePosterior } from '../evaluation/aggregate-posterior.js';
import type { Weights } from '../nn/parameters.js';
import { add, averagePool, exp, flatten, logSumExp, neg, reduceMax, reduceSum, sqrt, sub } from '../onnx/ops.js';
import { float32, type Tensor } from '../onnx/tensor.js';
import { logDensities } from '../vae/mixture-prior.js';
import type { Model } from '../vae/model.js';
import type { Posterior } from '../vae/posterior.js';
import { lengths, transformed } from './distance.js';
import type { FittedMixture } from './gaussian-mixture.js';
import { byDetail, type ImageDetail, imageDetail } from './image-detail.js';
import { hasInputDistance, type InputDistribution, inputComponents } from './input-distance.js';

/** What the scorer measures of an example, one number each; most are large where an input is anomalous. */
export type Component =
  /** Sum of the error map, in nats. */
  | 'reconstruction'
  /** The error map where it is largest: of images after a mean over 3 x 3 pixels, of tables one column. */
  | 'reconstruction_peak'
  /** Of the posterior and the prior, in nats. */
  | 'kl'
  /** Reconstruction and KL, of an autoencoder the reconstruction, for each unit of the image's contrast. */
  | 'nats_by_contrast'
  /** The same for each unit of its total variation. */
  | 'nats_by_variation'
  /** Of the posterior mean, to the latents of normal data. */
  | 'mahalanobis'
  /** The length of σ: wide posteriors are what inputs get that the encoder has no use for. */
  | 'posterior_scale'
  /** −log density of the posterior mean in a mixture that is fitted to those of normal images, in nats. */
  | 'latent_density'
  /** Of a row, to where most rows of the table lie. */
  | 'input_distance'
  /** How easily random cuts set a row apart from the table's others: the score of an isolation forest, from 0 to 1. */
  | 'isolation';

/** What the scorer knows of normal data, besides the weights. */
export interface NormalData {
  readonly latents: AggregatePosterior;
  /** Of images: the posterior means. */
  readonly means?: FittedMixture | undefined;
  /** Of images: the detail of one. */
  readonly detail?: ImageDetail<number> | undefined;
  /** Of tables, where `hasInputDistance`. */
  readonly inputs?: InputDistribution | undefined;
}

/**
 * Those that a model's score is made of, which won on average on data that no benchmark reports: tables of the KEEL repository,
 * letters, sprites and clothes of which a class was left out, changed images of them. bench/anomaly/RESULTS.md has what others gave.
 */
export function scoredComponents(model: Pick<Model, 'inputShape' | 'likelihood'>): readonly Component[] {
  if (isImage(model)) return ['nats_by_contrast', 'nats_by_variation', 'reconstruction_peak'];
  return [
    'reconstruction',
    'kl',
    ...(hasInputDistance(model) ? (['input_distance', 'isolation'] as const) : (['mahalanobis'] as const)),
  ];
}

/** All components of a model, [N] each; what a model has no use for is left out. */
export function componentTensors(
  { x, posterior, errorMap }: { readonly x: Tensor; readonly posterior: Posterior; readonly errorMap: Tensor },
  model: Model,
  weights: Weights,
  { latents, means, detail, inputs }: NormalData,
): Partial<Record<Component, Tensor>> {
  const { graph } = x;
  const centred = sub(posterior.mean, graph.constant(float32(latents.mean, [model.latentSize])));
  const reconstruction = reduceSum(flatten(errorMap), [1]);
  const kl = model.prior.divergence(posterior, weights);
  return {
    reconstruction,
    reconstruction_peak: reduceMax(flatten(isImage(model) ? smoothed(errorMap) : errorMap), [1]),
    kl,
    ...(detail && natsByDetail(model.isDeterministic ? reconstruction : add(reconstruction, kl), x, detail)),
    mahalanobis: lengths(transformed(centred, latents.whitening)),
    // A constant where nothing is drawn.
    ...(!model.isDeterministic && { posterior_scale: sqrt(reduceSum(exp(posterior.logVariance), [1])) }),
    ...(means && { latent_density: negativeLogDensity(posterior.mean, means) }),
    ...(inputs && inputComponents(x, model, weights, inputs)),
  };
}

export function isImage({ inputShape }: Pick<Model, 'inputShape'>): boolean {
  return inputShape.length > 1;
}

/** [N, channels, height, width] → [N, 1, height, width]: summed over channels, and a mean over each pixel and its neighbours. */
function smoothed(errorMap: Tensor): Tensor {
  return averagePool(reduceSum(errorMap, [1], true), [3, 3], { pads: [1, 1, 1, 1] });
}

function natsByDetail(nats: Tensor, x: Tensor, usual: ImageDetail<number>) {
  const { contrast, variation } = imageDetail(x);
  return {
    nats_by_contrast: byDetail(nats, contrast, usual.contrast),
    nats_by_variation: byDetail(nats, variation, usual.variation),
  };
}

function negativeLogDensity(z: Tensor, { logWeight, mean, logVariance }: FittedMixture): Tensor {
  const { graph } = z;
  const count = logWeight.length;
  const table = (values: Float32Array) => graph.constant(float32(values, [count, values.length / count]));
  const weight = graph.constant(float32(logWeight, [count]));
  const densities = logDensities(z, { logWeight: weight, mean: table(mean), logVariance: table(logVariance) });
  return neg(logSumExp(add(densities, weight), [1]));
}
