import type { Metric } from '@elbo/models';
import { DataError } from '../data/data-error.js';
import { type Examples, type Factors, inMemory, spread } from '../data/dataset.js';
import type { Engine } from '../engines/engine.js';
import type { WeightValues } from '../nn/parameters.js';
import { ConfigurationError } from '../vae/configuration-error.js';
import type { Model } from '../vae/model.js';
import { DEPTH, ROUNDS } from './boosted-trees.js';
import { dci, TREE_EXAMPLES } from './dci.js';
import { ElboEvaluator, negativeLogLikelihood, type OnProgress } from './elbo.js';
import { type Embedding, embed, NEIGHBOURS, nearestNeighbourAccuracy, QUERIES } from './embedding.js';
import { EXAMPLES_PER_VOTE, factorVaeScore, VARIANCE_EXAMPLES, VOTES } from './factor-vae.js';
import type { FactoredEmbedding } from './factors.js';
import { describeLatent, type LatentDescription } from './latent-structure.js';
import { linearProbeAccuracy, PROBE_EXAMPLES } from './linear-probe.js';
import { BINS, mutualInformationGap } from './mutual-information-gap.js';
import { SVM_COST, SVM_EXAMPLES, separatedAttributePredictability } from './separated-attributes.js';

/** What each metric of `elbo evaluate` says of a model, by the names it takes. */
export const METRIC_DESCRIPTIONS = {
  elbo: '−ELBO of held-out examples, with one draw of z each: reconstruction plus KL, in nats',
  nll: 'negative log likelihood, estimated by importance sampling (the bound of IWAE with `--samples` draws), in nats',
  'active-units':
    'latent dimensions whose posterior mean varies between examples (variance above 0.01), and how they lie',
  knn: 'accuracy of nearest neighbours in the space of posterior means; needs classes',
  'linear-probe': 'accuracy of logistic regression on posterior means; needs classes',
  mig: 'mutual information gap; needs known factors',
  sap: 'separated attribute predictability; needs known factors',
  dci: 'disentanglement, completeness and informativeness by boosted trees; needs known factors',
  'factor-vae': 'FactorVAE score; needs a data set that draws examples of given factors',
} as const;
export type MetricName = keyof typeof METRIC_DESCRIPTIONS;
export const METRICS = Object.keys(METRIC_DESCRIPTIONS) as readonly MetricName[];

/** Those whose classifiers learn from the training part. */
export const LEARNING_METRICS: readonly MetricName[] = ['linear-probe', 'sap', 'dci'];

/** Importance samples an example where none are asked for. */
export const DEFAULT_SAMPLES = 1000;

export interface EvaluateOptions {
  readonly engine: Engine;
  readonly model: Model;
  readonly weights: WeightValues;
  /** Held-out examples, and the name of their part of the data set. */
  readonly examples: Examples;
  readonly split: string;
  /** What the model was trained on, for the metrics of LEARNING_METRICS. */
  readonly training?: Examples;
  /** Draws examples of given factors for `factor-vae`, as generated data sets do. */
  readonly draw?: (factors: Uint8Array) => Promise<Uint8Array>;
  readonly metrics: readonly MetricName[];
  /** Samples of z an example for `nll`. */
  readonly samples?: number;
  readonly seed: number;
  /** Whether bytes are drawn as 0 or 1, as they were in training. */
  readonly binarise: boolean;
  /** Where it is known already: how the examples lie in the latent space. */
  readonly latent?: LatentDescription;
  readonly onProgress?: (metric: MetricName) => OnProgress;
}

/** A metric but for what all of one call have in common. */
type Measured = Pick<Metric, 'value' | 'unit' | 'protocol'> & Partial<Pick<Metric, 'split' | 'examples'>>;
type Measurement = (bench: Bench, onProgress?: OnProgress) => Promise<Readonly<Record<string, Measured>>>;

/**
 * Computes metrics of a trained model; the result has the form that manifests record. The metric `elbo` of an autoencoder
 * is its reconstruction alone.
 * @throws {DataError} where the data lack what a metric needs: classes, factors, a training part;
 *   {ConfigurationError} where the model does
 */
export async function evaluate(options: EvaluateOptions): Promise<Record<string, Metric>> {
  const { examples } = options;
  const bench = new Bench(options);
  const results: Record<string, Metric> = {};
  for (const metric of options.metrics) {
    const measured = await MEASUREMENTS[metric](bench, options.onProgress?.(metric));
    for (const [name, { split = options.split, ...rest }] of Object.entries(measured)) {
      results[`${split}_${name}`] = { examples: examples.count, split, ...rest };
    }
  }
  return results;
}

/** What the metrics of one call share: examples are embedded once. */
class Bench {
  readonly options: EvaluateOptions;
  readonly #embeddings = new Map<Examples, Promise<Embedding>>();

  constructor(options: EvaluateOptions) {
    this.options = options;
  }

  embedded(examples: Examples): Promise<Embedding> {
    const known = this.#embeddings.get(examples);
    if (known !== undefined) return known;
    const { engine, model, weights } = this.options;
    const embedding = embed(engine, model, weights, examples);
    this.#embeddings.set(examples, embedding);
    return embedding;
  }

  /** At most `limit` training examples. */
  training(metric: MetricName, limit: number): Examples {
    const { training } = this.options;
    if (training === undefined) throw new DataError(`metric ${metric} needs a training part, which was not given`);
    return spread(training, limit);
  }

  /** Held-out examples and at most `limit` training examples, with their factors. */
  async factored(metric: MetricName, limit: number): Promise<{ train: FactoredEmbedding; test: FactoredEmbedding }> {
    const training = this.training(metric, limit);
    const { examples } = this.options;
    const factors = { train: factorsOf(training, metric), test: factorsOf(examples, metric) };
    return {
      train: { embedding: await this.embedded(training), factors: factors.train },
      test: { embedding: await this.embedded(examples), factors: factors.test },
    };
  }
}

const MEASUREMENTS: Readonly<Record<MetricName, Measurement>> = {
  async elbo({ options }, onProgress): Promise<Record<string, Measured>> {
    const { engine, model, weights, examples, seed, binarise } = options;
    const evaluator = await ElboEvaluator.create(engine, model, { examples, seed, binarise });
    const { negativeElbo, reconstruction, kl } = await evaluator.evaluate(weights, onProgress);
    await evaluator.release();
    if (model.isDeterministic) {
      const protocol = `z the encoder's mean, ${pixels(options)}seed ${seed}`;
      return { reconstruction: { value: reconstruction, unit: 'nats', protocol } };
    }
    const protocol = `one sample of z, ${pixels(options)}seed ${seed}`;
    return {
      negative_elbo: { value: negativeElbo, unit: 'nats', protocol },
      reconstruction: { value: reconstruction, unit: 'nats', protocol },
      kl: { value: kl, unit: 'nats', protocol },
    };
  },

  async nll({ options }, onProgress) {
    const { engine, model, weights, examples, seed, binarise, samples = DEFAULT_SAMPLES } = options;
    if (model.isDeterministic) {
      throw new ConfigurationError('metric nll needs a distribution of z, which an autoencoder lacks');
    }
    const heldOut = { examples, seed, binarise };
    const { negativeLogLikelihood: value, standardError } = await negativeLogLikelihood(
      engine,
      model,
      weights,
      heldOut,
      { samples, ...(onProgress && { onProgress }) },
    );
    const protocol = `${samples} importance samples, ${pixels(options)}seed ${seed}; standard error ${standardError.toFixed(2)}`;
    return { negative_log_likelihood: { value, unit: 'nats', protocol } };
  },

  async 'active-units'({ options }) {
    const { engine, model, weights, examples } = options;
    const { activeUnits } = options.latent ?? (await describeLatent(engine, model, weights, examples));
    return {
      active_units: {
        value: activeUnits,
        unit: `of ${model.latentSize}`,
        protocol: 'variance of the posterior mean over examples > 0.01',
      },
    };
  },

  async knn(bench) {
    const { examples } = bench.options;
    const accuracy = nearestNeighbourAccuracy(await bench.embedded(examples), labelsOf(examples, 'knn'));
    return {
      knn_accuracy: {
        value: 100 * accuracy,
        unit: '%',
        protocol: `${NEIGHBOURS} nearest posterior means among all other examples, of the first ${Math.min(QUERIES, examples.count)}`,
      },
    };
  },

  async 'linear-probe'(bench) {
    const { examples } = bench.options;
    const training = bench.training('linear-probe', PROBE_EXAMPLES);
    const labels = { train: labelsOf(training, 'linear-probe'), test: labelsOf(examples, 'linear-probe') };
    const accuracy = linearProbeAccuracy(
      { embedding: await bench.embedded(training), labels: labels.train },
      { embedding: await bench.embedded(examples), labels: labels.test },
    );
    return {
      linear_probe_accuracy: {
        value: 100 * accuracy,
        unit: '%',
        protocol: `multinomial logistic regression on standardised posterior means of ${training.count} training examples, L2 penalty |W|² / (2n), L-BFGS`,
      },
    };
  },

  async mig(bench) {
    const { examples } = bench.options;
    const factors = factorsOf(examples, 'mig');
    return {
      mig: {
        value: mutualInformationGap(await bench.embedded(examples), factors),
        unit: '',
        protocol: `of ${factors.names.join(', ')}, by a histogram of ${BINS} bins of the posterior means`,
      },
    };
  },

  async sap(bench) {
    const { train, test } = await bench.factored('sap', SVM_EXAMPLES);
    return {
      sap: {
        value: separatedAttributePredictability(train, test),
        unit: '',
        protocol: `of ${test.factors.names.join(', ')}, all as classes: accuracy of linear support vector machines (C = ${SVM_COST}, balanced classes) on one posterior mean each, learnt from ${train.embedding.count} training examples`,
      },
    };
  },

  async dci(bench) {
    const { train, test } = await bench.factored('dci', TREE_EXAMPLES);
    const { disentanglement, completeness, informativeness } = dci(train, test);
    const protocol = `of ${test.factors.names.join(', ')}, by gradient-boosted trees (${ROUNDS} rounds, depth ${DEPTH}) on the posterior means of ${train.embedding.count} training examples`;
    return {
      dci_disentanglement: { value: disentanglement, unit: '', protocol },
      dci_completeness: { value: completeness, unit: '', protocol },
      dci_informativeness: { value: informativeness, unit: '', protocol: `${protocol}; mean accuracy` },
    };
  },

  async 'factor-vae'({ options }, onProgress) {
    const { engine, model, weights, examples, draw, seed } = options;
    const { names, cardinalities } = factorsOf(examples, 'factor-vae');
    if (draw === undefined) throw new DataError('metric factor-vae needs generated data, which only shapes is');
    const images = VARIANCE_EXAMPLES + 2 * VOTES * EXAMPLES_PER_VOTE;
    let done = 0;
    const score = await factorVaeScore(
      async (factors) => {
        const embedding = await embed(engine, model, weights, inMemory(await draw(factors), examples.shape));
        done += embedding.count;
        onProgress?.(done, images);
        return embedding;
      },
      cardinalities,
      seed,
    );
    return {
      factor_vae: {
        value: score,
        unit: '',
        // Drawn anew, whatever part is evaluated.
        split: 'generated',
        examples: images,
        protocol: `of ${names.join(', ')}: accuracy on ${VOTES} votes of ${EXAMPLES_PER_VOTE} examples, majority learnt from ${VOTES} others, variances relative to those over ${VARIANCE_EXAMPLES} examples, active dimensions only, seed ${seed}`,
      },
    };
  },
};

function pixels({ binarise }: EvaluateOptions): string {
  return binarise ? 'pixels binarised once, ' : '';
}

function labelsOf({ labels }: Examples, metric: MetricName): Uint8Array {
  if (labels === undefined) {
    throw new DataError(`metric ${metric} needs the class of each example, which the data lack`);
  }
  return labels;
}

function factorsOf({ factors }: Examples, metric: MetricName): Factors {
  if (factors === undefined) {
    throw new DataError(
      `metric ${metric} needs the factors that made each example, which only the data set shapes has`,
    );
  }
  return factors;
}
