import type { Metric } from '@elbo/models';
import { DataError } from '../data/data-error.js';
import type { Examples } from '../data/dataset.js';
import type { Engine } from '../engines/engine.js';
import type { WeightValues } from '../nn/parameters.js';
import { ConfigurationError } from '../vae/configuration-error.js';
import type { Model } from '../vae/model.js';
import { BINS, mutualInformationGap } from './disentanglement.js';
import { ElboEvaluator, negativeLogLikelihood, type OnProgress } from './elbo.js';
import { type Embedding, embed, NEIGHBOURS, nearestNeighbourAccuracy, QUERIES } from './embedding.js';
import { latentStructure } from './latent-structure.js';

/** The metrics of `elbo evaluate`, by the names it takes. */
export const METRICS = ['elbo', 'nll', 'active-units', 'knn', 'mig'] as const;
export type MetricName = (typeof METRICS)[number];

/** Importance samples an example where none are asked for. */
export const DEFAULT_SAMPLES = 1000;

export interface EvaluateOptions {
  readonly engine: Engine;
  readonly model: Model;
  readonly weights: WeightValues;
  /** Held-out examples, and the name of their part of the data set. */
  readonly examples: Examples;
  readonly split: string;
  readonly metrics: readonly MetricName[];
  /** Samples of z an example for `nll`. */
  readonly samples?: number;
  readonly seed: number;
  /** Whether bytes are drawn as 0 or 1, as they were in training. */
  readonly binarise: boolean;
  readonly onProgress?: (metric: MetricName) => OnProgress;
}

/**
 * Computes metrics of a trained model; the result has the form that manifests record. The metric `elbo` of an autoencoder
 * is its reconstruction alone.
 * @throws {DataError} where the data lack what a metric needs, {ConfigurationError} where the model does
 */
export async function evaluate(options: EvaluateOptions): Promise<Record<string, Metric>> {
  const { engine, model, weights, examples, split, seed, binarise } = options;
  const heldOut = { examples, seed, binarise };
  const pixels = binarise ? 'pixels binarised once, ' : '';
  const results: Record<string, Metric> = {};
  const record = (name: string, metric: Pick<Metric, 'value' | 'unit' | 'protocol'>) => {
    results[`${split}_${name}`] = { ...metric, split, examples: examples.count };
  };
  let embedded: Promise<Embedding> | undefined;
  const embedding = () => {
    embedded ??= embed(engine, model, weights, examples);
    return embedded;
  };
  for (const metric of options.metrics) {
    const onProgress = options.onProgress?.(metric);
    switch (metric) {
      case 'elbo': {
        const evaluator = await ElboEvaluator.create(engine, model, heldOut);
        const { negativeElbo, reconstruction, kl } = await evaluator.evaluate(weights, onProgress);
        await evaluator.release();
        if (model.isDeterministic) {
          record('reconstruction', {
            value: reconstruction,
            unit: 'nats',
            protocol: `z the encoder's mean, ${pixels}seed ${seed}`,
          });
          break;
        }
        const protocol = `one sample of z, ${pixels}seed ${seed}`;
        record('negative_elbo', { value: negativeElbo, unit: 'nats', protocol });
        record('reconstruction', { value: reconstruction, unit: 'nats', protocol });
        record('kl', { value: kl, unit: 'nats', protocol });
        break;
      }
      case 'nll': {
        if (model.isDeterministic) {
          throw new ConfigurationError('metric nll needs a distribution of z, which an autoencoder lacks');
        }
        const { samples = DEFAULT_SAMPLES } = options;
        const { negativeLogLikelihood: value, standardError } = await negativeLogLikelihood(
          engine,
          model,
          weights,
          heldOut,
          { samples, ...(onProgress === undefined ? {} : { onProgress }) },
        );
        const protocol = `${samples} importance samples, ${pixels}seed ${seed}; standard error ${standardError.toFixed(2)}`;
        record('negative_log_likelihood', { value, unit: 'nats', protocol });
        break;
      }
      case 'active-units': {
        const { activeUnits } = await latentStructure(engine, model, weights, examples);
        record('active_units', {
          value: activeUnits,
          unit: `of ${model.latentSize}`,
          protocol: 'variance of the posterior mean over examples > 0.01',
        });
        onProgress?.(examples.count, examples.count);
        break;
      }
      case 'knn': {
        const { labels } = examples;
        if (labels === undefined)
          throw new DataError('metric knn needs the class of each example, which the data lack');
        const accuracy = nearestNeighbourAccuracy(await embedding(), labels);
        record('knn_accuracy', {
          value: 100 * accuracy,
          unit: '%',
          protocol: `${NEIGHBOURS} nearest posterior means among all other examples, of the first ${Math.min(QUERIES, examples.count)}`,
        });
        break;
      }
      case 'mig': {
        const { factors } = examples;
        if (factors === undefined) {
          throw new DataError(
            'metric mig needs the factors that made each example, which only the data set shapes has',
          );
        }
        record('mig', {
          value: mutualInformationGap(await embedding(), factors),
          unit: '',
          protocol: `of ${factors.names.join(', ')}, by a histogram of ${BINS} bins of the posterior means`,
        });
      }
    }
  }
  return results;
}
