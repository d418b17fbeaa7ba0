import { recordMetrics } from '@elbo/models';
import { Command, InvalidArgumentError, Option } from 'commander';
import { DataError } from '../data/data-error.js';
import { loadDataset } from '../data/datasets.js';
import { createEngine } from '../engines/create-engine.js';
import { DEFAULT_SAMPLES, evaluate, METRICS } from '../evaluation/evaluate.js';
import { readTrainedModel } from '../evaluation/trained-model.js';
import { preparedFor } from '../prepared-data.js';
import {
  DEFAULT_SAMPLE_COUNT,
  FEWEST_IMAGES,
  LARGEST_SAMPLE_COUNT,
  SAMPLE_METRICS,
  significant,
} from '../sample-quality/sample-quality.js';
import { binarises, ConfigurationError } from '../vae/configuration.js';
import { checkSampleFlags, evaluateSamples, type SampleFlags } from './evaluate-samples.js';
import {
  cacheDirOption,
  dataDirOption,
  type EngineFlags,
  integer,
  jsonOption,
  limitOption,
  seedOption,
  withEngineOptions,
} from './options.js';
import { phasedProgress, progressDisplay } from './progress.js';

/** What is measured of a model, and what of its samples. */
const ANY_METRICS = [...METRICS, ...SAMPLE_METRICS] as const;
type AnyMetricName = (typeof ANY_METRICS)[number];

interface EvaluateFlags extends EngineFlags, SampleFlags {
  readonly dataDir: string;
  readonly cacheDir?: string;
  readonly dataset?: string;
  readonly metrics: readonly AnyMetricName[];
  readonly samples: number;
  readonly limit?: number;
  readonly seed?: number;
  readonly record?: boolean;
  readonly json?: boolean;
}

export function evaluateCommand(): Command {
  return withEngineOptions(new Command('evaluate'))
    .description('measure a model on the test part of its data set')
    .argument('<model>', 'directory of a version, such as models/mnist/1')
    .addOption(dataDirOption())
    .addOption(cacheDirOption())
    .option('--dataset <name>', 'data set instead of the one that the model was trained on')
    .addOption(
      new Option('--metrics <list>', `comma-separated: ${ANY_METRICS.join(', ')}`)
        .argParser(parseMetrics)
        .default(['elbo', 'active-units'] satisfies AnyMetricName[], 'elbo,active-units'),
    )
    .addOption(
      new Option('--samples <n>', 'importance samples an example for nll')
        .argParser(integer(1, 1_000_000))
        .default(DEFAULT_SAMPLES),
    )
    .option('--classifier <dir>', `classifiers/NAME/VERSION, whose features ${SAMPLE_METRICS.join(', ')} compare`)
    .addOption(
      new Option(
        '--sample-count <n>',
        `samples to compare; default: as many as test images, at most ${DEFAULT_SAMPLE_COUNT}`,
      ).argParser(integer(FEWEST_IMAGES, LARGEST_SAMPLE_COUNT)),
    )
    .addOption(limitOption())
    .addOption(seedOption("of noise, samples and binarisation instead of the training run's"))
    .option('--record', "write the results into the model's manifest")
    .addOption(jsonOption())
    .action(run);
}

async function run(directory: string, flags: EvaluateFlags): Promise<void> {
  if (flags.record && (flags.dataset !== undefined || flags.limit !== undefined)) {
    throw new ConfigurationError(
      '--record is for the whole test part of the own data set: leave out --dataset and --limit',
    );
  }
  checkSampleFlags(flags.metrics, flags);
  const trained = await readTrainedModel(directory);
  const { manifest, configuration, model, weights } = trained;
  const { input } = manifest;
  const loading = phasedProgress(manifest.name);
  const loaded = await loadDataset(flags.dataset ?? configuration.dataset, {
    dataDir: flags.dataDir,
    cacheDir: flags.cacheDir,
    // Images of a folder become what the model was trained on.
    ...(input.kind === 'vector' && { columns: input.columns }),
    ...(input.kind === 'image' && { image: { height: input.shape[1], width: input.shape[2], colour: input.colour } }),
    limit: flags.limit,
    seed: configuration.seed,
    onProgress: (done, total, text) => loading.update(done, total, text),
  }).finally(() => loading.stop());
  if (loaded.input.shape.join() !== input.shape.join()) {
    throw new DataError(
      `${loaded.name} has ${loaded.input.kind}s of ${loaded.input.shape.join('x')}; ${manifest.name} takes ${input.shape.join('x')}`,
    );
  }
  const dataset = await preparedFor(configuration.likelihood, loaded, input);
  const display = progressDisplay(manifest.name);
  const engine = await createEngine(flags);
  const seed = flags.seed ?? configuration.seed;
  const measured = await evaluate({
    engine,
    model,
    weights,
    examples: dataset.test,
    split: 'test',
    metrics: METRICS.filter((metric) => flags.metrics.includes(metric)),
    samples: flags.samples,
    seed,
    binarise: binarises(configuration, dataset.test.dtype),
    onProgress: (metric) => (done, total) => display.update(done, total, metric),
  });
  const ofSamples =
    flags.classifier === undefined
      ? {}
      : await evaluateSamples(trained, flags.classifier, {
          engine,
          dataset,
          metrics: SAMPLE_METRICS.filter((metric) => flags.metrics.includes(metric)),
          sampleCount: flags.sampleCount,
          seed,
          onProgress: (images) => (done, total) => display.update(done, total, images),
        });
  const metrics = { ...measured, ...ofSamples };
  display.stop();
  if (flags.record) await recordMetrics(directory, metrics);
  for (const [name, { value, unit, examples, protocol }] of Object.entries(metrics)) {
    // What has no unit may be of any size.
    const number = unit ? value.toFixed(2) : significant(value);
    console.log(`${name} ${number} ${unit ?? ''} (${examples} examples; ${protocol})`);
  }
  if (flags.json) {
    console.log(JSON.stringify({ name: manifest.name, version: manifest.version, dataset: dataset.name, metrics }));
  }
}

function parseMetrics(text: string): AnyMetricName[] {
  return text.split(',').map((name) => {
    const known = ANY_METRICS.find((metric) => metric === name.trim());
    if (known === undefined) throw new InvalidArgumentError(`expected some of ${ANY_METRICS.join(', ')}`);
    return known;
  });
}
