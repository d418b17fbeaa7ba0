import { type Metric, RandomSource } from '@elbo/models';
import { DataError } from '../data/data-error.js';
import { classCount, type Dataset, type Examples, subset } from '../data/dataset.js';
import type { Engine } from '../engines/engine.js';
import { inputBatches } from '../evaluation/batches.js';
import type { OnProgress } from '../evaluation/elbo.js';
import type { TensorData } from '../onnx/tensor.js';
import { ConfigurationError } from '../vae/configuration.js';
import type { LikelihoodName } from '../vae/likelihoods.js';
import { type FeatureNetwork, type Features, featuresOf } from './features.js';
import { frechetDistance, momentsOf } from './frechet-distance.js';
import { FEWEST_IMAGES, kernelDistance } from './kernel-distance.js';
import { Manifolds, NEIGHBOURS } from './manifolds.js';
import { areBinary, type ImageSampler, sampledImages } from './sampled-images.js';

/** The metrics of `elbo evaluate` that compare samples with held-out images, by the names it takes. */
export const SAMPLE_METRIC_DESCRIPTIONS = {
  frechet: 'Fréchet distance of normals that are fitted to the features of samples and of held-out images',
  'kernel-distance': 'unbiased squared maximum mean discrepancy of these features, with a cubic kernel',
  precision: 'share of samples that lie within the manifold of held-out images',
  recall: 'share of held-out images that lie within the manifold of samples',
} as const;
export type SampleMetricName = keyof typeof SAMPLE_METRIC_DESCRIPTIONS;
export const SAMPLE_METRICS = Object.keys(SAMPLE_METRIC_DESCRIPTIONS) as readonly SampleMetricName[];

/** Samples where none are asked for, if there are as many held-out images. */
export const DEFAULT_SAMPLE_COUNT = 10_000;
/** Images of a set at the most: all of their features are held, and neighbours take time by the square. */
export const LARGEST_SAMPLE_COUNT = 50_000;
export { FEWEST_IMAGES };

export interface SampleQualityOptions {
  readonly engine: Engine;
  readonly sampler: ImageSampler;
  readonly likelihood: LikelihoodName;
  readonly classifier: FeatureNetwork;
  readonly dataset: Pick<Dataset, 'name' | 'input'>;
  /** What samples are compared with, and the name of their part of the data set. */
  readonly examples: Examples;
  readonly split: string;
  /** What is compared in place of samples, to show how near a perfect model comes. */
  readonly training: Examples;
  readonly metrics: readonly SampleMetricName[];
  /** FEWEST_IMAGES … LARGEST_SAMPLE_COUNT; unless given, as many as held-out images, at most DEFAULT_SAMPLE_COUNT. */
  readonly sampleCount?: number | undefined;
  /** Of the samples, of which images are taken where not all are, and of the blocks of the kernel distance. */
  readonly seed: number;
  readonly onProgress?: (images: string) => OnProgress;
}

/** A number that compares a set of images with the held-out ones. */
interface Comparison {
  readonly value: number;
  /** How it was made, and how sure it is. */
  readonly note: string;
}

/** What the metrics are called where they are recorded, so that nobody takes them for FID, KID and the like. */
const RECORDED: Readonly<Record<SampleMetricName, { readonly name: string; readonly unit: string }>> = {
  frechet: { name: 'classifier_frechet_distance', unit: '' },
  'kernel-distance': { name: 'classifier_kernel_distance', unit: '' },
  precision: { name: 'classifier_precision', unit: '%' },
  recall: { name: 'classifier_recall', unit: '%' },
};

/**
 * How near samples of a model come to held-out images in the features of a classifier that Elbo trained. These are not
 * FID, KID and the like, whose features are Inception's: they are comparable under the same classifier only.
 *
 * What is compared is the expected image of each draw from the prior. A grey image is itself the mean of the pixels
 * that a Bernoulli model is trained on, so that means are its like; where every held-out pixel is black or white, the pixels
 * of a Bernoulli model are drawn. The same numbers for training images in place of the samples stand in the protocol: what
 * a perfect model would come to, but that the classifier knows those images.
 * @returns in the form that manifests record
 * @throws {ConfigurationError} where the classifier takes other images or tells other classes apart, {DataError} where the
 *   data are no images or too few
 */
export async function sampleQuality(options: SampleQualityOptions): Promise<Record<string, Metric>> {
  const { engine, sampler, classifier, split, metrics, seed, onProgress } = options;
  checkSuits(classifier, options);
  const real = some(options.examples, LARGEST_SAMPLE_COUNT, seed, split);
  const { sampleCount = Math.min(real.count, DEFAULT_SAMPLE_COUNT) } = options;
  if (!(Number.isInteger(sampleCount) && sampleCount >= FEWEST_IMAGES && sampleCount <= LARGEST_SAMPLE_COUNT)) {
    throw new ConfigurationError(
      `sampleCount is ${sampleCount}; expected a whole number from ${FEWEST_IMAGES} to ${LARGEST_SAMPLE_COUNT}`,
    );
  }
  const training = some(options.training, sampleCount, seed, 'training');
  const drawsPixels = options.likelihood === 'bernoulli' && (await areBinary(real));

  const features = (name: string, images: AsyncIterable<TensorData>, count: number) =>
    featuresOf(classifier, images, count, onProgress?.(name));
  const reference = await features(`${split} images`, inputsOf(real), real.count);
  const sampled = sampledImages(sampler, sampleCount, { seed, drawsPixels });
  const ofSamples = await features('samples', sampled, sampleCount);
  const ofTraining = await features('training images', inputsOf(training), training.count);

  const compared = await comparisons(engine, reference, [ofSamples, ofTraining], metrics, seed);
  const { name, version, files, training: trained } = classifier.record;
  const protocol =
    `${sampleCount} ${drawsPixels ? 'images drawn pixel by pixel' : 'expected images'} of draws from the prior, seed ${seed}, ` +
    `against ${real.count} ${split} images; ${reference.size} features of classifier ${name}/${version}, trained on ` +
    `${trained.dataset.name}, SHA-256 ${files['classifier.onnx'].sha256}`;
  return Object.fromEntries(
    [...compared].map(([metric, [samples, floor]]) => {
      const { name, unit } = RECORDED[metric];
      const instead = `${training.count} training images in place of samples: ${described(floor, unit)}`;
      const { value, note } = samples;
      return [
        `${split}_${name}`,
        { value, unit, split, examples: real.count, protocol: `${protocol}; ${note}; ${instead}` },
      ];
    }),
  );
}

/** Each metric of several sets of images against the same others. */
async function comparisons(
  engine: Engine,
  reference: Features,
  sets: readonly [samples: Features, training: Features],
  metrics: readonly SampleMetricName[],
  seed: number,
): Promise<ReadonlyMap<SampleMetricName, readonly Comparison[]>> {
  const compared = new Map<SampleMetricName, readonly Comparison[]>();
  if (metrics.includes('frechet')) {
    const moments = momentsOf(reference);
    const note = 'Fréchet distance of Gaussians, squared, not FID';
    compared.set(
      'frechet',
      sets.map((set) => ({ value: frechetDistance(moments, momentsOf(set)), note })),
    );
  }
  if (metrics.includes('kernel-distance')) {
    compared.set(
      'kernel-distance',
      sets.map((set) => {
        const { value, standardError, blocks, blockSize } = kernelDistance(reference, set, seed);
        const error = `standard error ${significant(standardError)}`;
        return {
          value,
          note: `unbiased squared MMD of a cubic kernel, not KID, ${error} over ${blocks} blocks of ${blockSize}`,
        };
      }),
    );
  }
  if (metrics.includes('precision') || metrics.includes('recall')) {
    const manifolds = await Manifolds.create(engine, reference.size);
    try {
      const real = await manifolds.of(reference);
      const shares = [];
      for (const set of sets) shares.push(await manifolds.precisionAndRecall(real, await manifolds.of(set)));
      for (const metric of metrics) {
        if (metric !== 'precision' && metric !== 'recall') continue;
        const note = `${NEIGHBOURS} nearest neighbours`;
        compared.set(
          metric,
          shares.map((share) => ({ value: 100 * share[metric], note })),
        );
      }
    } finally {
      await manifolds.release();
    }
  }
  return compared;
}

/** @throws {ConfigurationError} where the classifier is of other data, {DataError} where these are no images */
function checkSuits(
  { record }: FeatureNetwork,
  { dataset: { name, input }, training }: Pick<SampleQualityOptions, 'dataset' | 'training'>,
): void {
  const classifier = `classifier ${record.name}/${record.version}`;
  if (input.kind !== 'image') {
    throw new DataError(
      `${name} has rows of ${input.shape.join('x')} numbers; expected images, whose samples are compared`,
    );
  }
  if (record.input.shape.join() !== input.shape.join()) {
    throw new ConfigurationError(
      `${classifier} takes ${record.input.kind === 'image' ? 'images' : 'rows'} of ${record.input.shape.join('x')}; expected one of ${input.shape.join('x')}, as ${name} has`,
    );
  }
  if (training.labels === undefined) return;
  const classes = classCount(training);
  if (record.classes === classes) return;
  throw new ConfigurationError(
    `${classifier} tells ${record.classes} classes apart; expected ${classes}, as the training part of ${name} has`,
  );
}

/** All examples, or so many of them, chosen by the seed. */
function some(examples: Examples, most: number, seed: number, part: string): Examples {
  if (examples.count < FEWEST_IMAGES) {
    throw new DataError(`${examples.count} ${part} images; expected at least ${FEWEST_IMAGES} to compare samples with`);
  }
  if (examples.count <= most) return examples;
  const order = RandomSource.derived(seed, 'images', part).permutation(examples.count);
  return subset(examples, order.subarray(0, most).sort());
}

async function* inputsOf(examples: Examples): AsyncGenerator<TensorData> {
  for await (const { feeds } of inputBatches(examples)) yield feeds.x;
}

function described({ value }: Comparison, unit: string): string {
  return `${significant(value)}${unit === '' ? '' : ` ${unit}`}`;
}

/** A number of unknown size, for people. */
export function significant(value: number): string {
  return String(Number(value.toPrecision(3)));
}
