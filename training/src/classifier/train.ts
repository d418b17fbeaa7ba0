import type { Metric } from '@elbo/models';
import { classCount, type Dataset, type Examples, meanPerFeature, splitValidation } from '../data/dataset.js';
import { loadDataset } from '../data/datasets.js';
import type { Engine } from '../engines/engine.js';
import { OnnxRuntimeEngine } from '../engines/onnxruntime.js';
import { constantWeights, type WeightValues } from '../nn/parameters.js';
import { sparsityOf, type WeightsSummary } from '../nn/sparsity.js';
import { encodeModel } from '../onnx/encode.js';
import { Graph } from '../onnx/graph.js';
import type { CheckpointStore } from '../trainer/checkpoint.js';
import { checkpointsIn, type EpochOptions, type TrainedRun, trainEpochs, trainingRecord } from '../trainer/epochs.js';
import { meanNetwork } from '../trainer/mean-network.js';
import { Trainer } from '../trainer/trainer.js';
import type { DataMoments } from '../vae/likelihoods.js';
import { type ClassifierConfiguration, parseClassifierConfiguration } from './configuration.js';
import { classifierProgram, classify } from './evaluate.js';
import { buildClassifier, type Classifier, classifierObjective } from './model.js';
import { type ClassifierRecord, writeClassifier } from './record.js';

/** What an epoch of a classifier came to. */
export interface ClassifierEpoch {
  readonly epoch: number;
  /** Mean cross entropy of the epoch's minibatches, in nats, with noise on weights that have a distribution. */
  readonly crossEntropy: number;
  readonly validation: { readonly error: number; readonly crossEntropy: number };
  readonly weights?: WeightsSummary;
}

export interface TrainClassifierOptions extends EpochOptions<ClassifierEpoch> {
  readonly configuration: ClassifierConfiguration;
  /** Directory that the version is written to. */
  readonly store: string;
  /** Instead of the one that the configuration names. */
  readonly dataset?: Dataset;
  readonly dataDir?: string;
  /** ONNX Runtime on all cores unless given. */
  readonly engine?: Engine;
}

export interface TrainClassifierResult {
  /** Of the new version. */
  readonly directory: string;
  readonly record: ClassifierRecord;
  /** From 1, as a VAE's is chosen: by the validation part's cross entropy and an example's share of the weights' KL. */
  readonly bestEpoch: number;
  readonly secondsPerStep: number;
}

/**
 * A whole run of a classifier: split off a validation part, train, keep the weights that are best on it, export them with
 * the errors on the validation and the test part.
 * @returns what was written, or undefined where the signal stopped the run
 * @throws {ConfigurationError} where the configuration does not suit the data, {DataError} where the data is unusable or
 *   has no classes, {TrainingError} where the loss diverges, {CheckpointError} as `train` does
 */
export async function trainClassifier(options: TrainClassifierOptions): Promise<TrainClassifierResult | undefined> {
  const { store, engine = new OnnxRuntimeEngine() } = options;
  const configuration = parseClassifierConfiguration(options.configuration);
  const { seed, validation_fraction: fraction } = configuration;
  const dataset = options.dataset ?? (await loadDataset(configuration.dataset, { dataDir: options.dataDir, seed }));
  const { train: examples, validation } = splitValidation(dataset.train, fraction, seed);
  const classes = classCount(dataset.train);
  const checkpoints = await checkpointsIn<ClassifierEpoch>(store, configuration, dataset, options.resume);
  const build = (dropout: ClassifierConfiguration['dropout'], moments?: DataMoments) =>
    buildClassifier({ ...configuration, dropout }, dataset.input.shape, classes, {
      moments,
      convolutions: engine.convolutions,
    });
  const classifier = build(configuration.dropout, await meanPerFeature(examples));
  // What is evaluated and exported knows no noise.
  const plain = build({ ...configuration.dropout, kind: 'none' });
  const run = await trainedRun(
    { ...options, configuration, engine },
    { classifier, plain, examples, validation, checkpoints },
  );
  if (run === undefined) return undefined;

  const { weights } = run.best;
  const graph = encodeModel(classifierGraph(plain, weights), configuration.description);
  const program = await engine.load(graph);
  try {
    const { directory, record } = await writeClassifier(
      store,
      {
        name: configuration.name,
        description: configuration.description,
        input: dataset.input,
        classes,
        features: plain.features,
        sparsity: sparsityOf(plain.parameters, weights),
        training: trainingRecord(configuration, dataset, { examples, validation }, engine, run),
        metrics: {
          ...metricsOf('validation', validation, await classify(program, validation)),
          ...metricsOf('test', dataset.test, await classify(program, dataset.test)),
        },
      },
      graph,
    );
    await checkpoints.clear();
    return { directory, record, bestEpoch: run.best.epoch, secondsPerStep: run.secondsPerStep };
  } finally {
    await program.release();
  }
}

/** x [N, …] → logits [N, classes], features [N, features]. */
function classifierGraph(classifier: Classifier, values: WeightValues): Graph {
  const graph = new Graph('classifier');
  const x = graph.input('x', 'float32', ['N', ...classifier.inputShape]);
  const { features, logits } = classifier.apply(x, constantWeights(graph, values));
  graph.output(logits, 'logits');
  graph.output(features, 'features');
  return graph;
}

async function trainedRun(
  options: TrainClassifierOptions & { readonly engine: Engine },
  parts: {
    readonly classifier: Classifier;
    readonly plain: Classifier;
    readonly examples: Examples;
    readonly validation: Examples;
    readonly checkpoints: CheckpointStore<ClassifierEpoch>;
  },
): Promise<TrainedRun<ClassifierEpoch> | undefined> {
  const { configuration, engine } = options;
  const { classifier, plain, examples, validation, checkpoints } = parts;
  const objective = classifierObjective(classifier, configuration, examples.count);
  const trainer = await Trainer.create(engine, objective, configuration, examples);
  const network = await meanNetwork(engine, classifier, plain, {
    dropout: configuration.dropout,
    examples: examples.count,
  });
  const program = await classifierProgram(engine, plain);
  try {
    return await trainEpochs(
      trainer,
      checkpoints,
      objective.terms,
      async (means) => {
        const { weights, penalty, summary } = await network.of(trainer.weights, trainer.step / trainer.totalSteps);
        const { error, crossEntropy } = await classify(program, validation, { of: plain, values: weights });
        return {
          record: {
            epoch: trainer.epoch,
            crossEntropy: means.cross_entropy,
            validation: { error, crossEntropy },
            ...(summary && { weights: summary }),
          },
          loss: crossEntropy + penalty,
          weights,
        };
      },
      options,
    );
  } finally {
    await trainer.release();
    await network.release();
    await program.release();
  }
}

function metricsOf(
  split: string,
  { count: examples }: Examples,
  { error, crossEntropy }: { readonly error: number; readonly crossEntropy: number },
): Record<string, Metric> {
  return {
    [`${split}_error`]: { value: 100 * error, unit: '%', split, examples },
    [`${split}_cross_entropy`]: { value: crossEntropy, unit: 'nats', split, examples },
  };
}
