import { type Manifest, recordMetrics } from '@elbo/models';
import { Command, InvalidArgumentError, Option } from 'commander';
import { DataError } from '../data/data-error.js';
import { type Dataset, splitHeldOut } from '../data/dataset.js';
import { createEngine } from '../engines/create-engine.js';
import { DEFAULT_SAMPLES, evaluate, LEARNING_METRICS, METRIC_DESCRIPTIONS, METRICS } from '../evaluation/evaluate.js';
import { latentRecord } from '../evaluation/latent-record.js';
import { describeLatent } from '../evaluation/latent-structure.js';
import { readTrainedModel } from '../evaluation/trained-model.js';
import { preparedFor } from '../prepared-data.js';
import {
  DEFAULT_SAMPLE_COUNT,
  FEWEST_IMAGES,
  LARGEST_SAMPLE_COUNT,
  SAMPLE_METRIC_DESCRIPTIONS,
  SAMPLE_METRICS,
  significant,
} from '../sample-quality/sample-quality.js';
import { binarises, ConfigurationError } from '../vae/configuration.js';
import { checkSampleFlags, evaluateSamples, type SampleFlags } from './evaluate-samples.js';
import { latentTable } from './latent-table.js';
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
import { progressDisplay } from './progress.js';
import { loadDataFor } from './training-data.js';

/** Parts of a data set that a model can be measured on: choices are made on the first, the second is kept for the end. */
const SPLITS = ['validation', 'test'] as const;
type Split = (typeof SPLITS)[number];

/** What is measured of a model, and what of its samples. */
const ANY_METRICS = [...METRICS, ...SAMPLE_METRICS] as const;
type AnyMetricName = (typeof ANY_METRICS)[number];

interface EvaluateFlags extends EngineFlags, SampleFlags {
  readonly dataDir: string;
  readonly cacheDir?: string;
  readonly dataset?: string;
  readonly split: Split;
  readonly metrics: readonly AnyMetricName[];
  readonly samples: number;
  readonly limit?: number;
  readonly seed?: number;
  readonly record?: boolean;
  readonly json?: boolean;
}

export function evaluateCommand(): Command {
  return withEngineOptions(new Command('evaluate'))
    .description('measure a model on the test part of its data set, or on the validation part')
    .argument('<model>', 'directory of a version, such as models/mnist/1')
    .addOption(dataDirOption())
    .addOption(cacheDirOption())
    .option('--dataset <name>', 'data set instead of the one that the model was trained on')
    .addOption(
      new Option('--split <part>', 'validation: what training split off by its seed')
        .choices(SPLITS)
        .default('test' satisfies Split),
    )
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
        `samples to compare; default: as many as held-out images, at most ${DEFAULT_SAMPLE_COUNT}`,
      ).argParser(integer(FEWEST_IMAGES, LARGEST_SAMPLE_COUNT)),
    )
    .addOption(limitOption())
    .addOption(seedOption("of noise, samples and binarisation instead of the training run's"))
    .option('--record', "write the results into the model's manifest")
    .addOption(jsonOption())
    .addHelpText('after', metricsHelp)
    .action(run);
}

function metricsHelp(): string {
  const described = Object.entries({ ...METRIC_DESCRIPTIONS, ...SAMPLE_METRIC_DESCRIPTIONS });
  return `\nMetrics:\n${described.map(([name, text]) => `  ${name.padEnd(16)} ${text.replaceAll('`', '')}`).join('\n')}`;
}

async function run(directory: string, flags: EvaluateFlags): Promise<void> {
  if (flags.record && (flags.dataset !== undefined || flags.limit !== undefined)) {
    throw new ConfigurationError('--record is for a whole part of the own data set: leave out --dataset and --limit');
  }
  checkSampleFlags(flags.metrics, flags);
  const trained = await readTrainedModel(directory);
  const { manifest, configuration, model, weights } = trained;
  const { input } = manifest;
  const loaded = await loadDataFor(manifest, flags);
  if (loaded.input.shape.join() !== input.shape.join()) {
    throw new DataError(
      `${loaded.name} has ${loaded.input.kind}s of ${loaded.input.shape.join('x')}; ${manifest.name} takes ${input.shape.join('x')}`,
    );
  }
  const dataset = await preparedFor(configuration.likelihood, loaded, input);
  if (flags.split === 'validation') checkTrainedOn(dataset, manifest);
  // A few examples under --limit can be measured, but not split.
  const isSplit = flags.split === 'validation' || LEARNING_METRICS.some((metric) => flags.metrics.includes(metric));
  const { seed } = configuration;
  const parts = isSplit ? splitHeldOut(dataset.train, configuration) : undefined;
  const examples = flags.split === 'validation' && parts ? parts.validation : dataset.test;
  const display = progressDisplay(manifest.name);
  const engine = await createEngine(flags);
  const own = METRICS.filter((metric) => flags.metrics.includes(metric));
  const isDescribed = own.includes('active-units');
  const latent = isDescribed ? await describeLatent(engine, model, weights, examples) : undefined;
  const recorded = latent && latentRecord(latent, flags.split);
  const noiseSeed = flags.seed ?? seed;
  const measured = await evaluate({
    engine,
    model,
    weights,
    examples,
    split: flags.split,
    ...(parts && { training: parts.train }),
    ...(dataset.draw && { draw: dataset.draw }),
    ...(latent && { latent }),
    metrics: own,
    samples: flags.samples,
    seed: noiseSeed,
    binarise: binarises(configuration, examples.dtype),
    onProgress: (metric) => (done, total) => display.update(done, total, metric),
  });
  const ofSamples =
    flags.classifier === undefined
      ? {}
      : await evaluateSamples(trained, flags.classifier, {
          engine,
          dataset,
          examples,
          split: flags.split,
          training: flags.split === 'validation' && parts ? parts.train : dataset.train,
          metrics: SAMPLE_METRICS.filter((metric) => flags.metrics.includes(metric)),
          sampleCount: flags.sampleCount,
          seed: noiseSeed,
          onProgress: (images) => (done, total) => display.update(done, total, images),
        });
  const metrics = { ...measured, ...ofSamples };
  display.stop();
  if (flags.record) await recordMetrics(directory, metrics, recorded);
  for (const [name, { value, unit, examples: count, protocol }] of Object.entries(metrics)) {
    // What has no unit may be of any size.
    const number = unit ? value.toFixed(2) : significant(value);
    console.log(`${name} ${number} ${unit ?? ''} (${count} examples; ${protocol})`);
  }
  if (latent && recorded) for (const line of latentTable(latent, recorded)) console.log(line);
  if (flags.json) {
    console.log(
      JSON.stringify({
        name: manifest.name,
        version: manifest.version,
        dataset: dataset.name,
        metrics,
        ...(recorded && { latent: recorded }),
      }),
    );
  }
}

/** @throws {DataError} where the data are not what the model was trained on, so that no part is known to be held out */
function checkTrainedOn(dataset: Dataset, { name, training }: Manifest): void {
  if (dataset.sha256 === training.dataset.sha256) return;
  throw new DataError(
    `--split validation: the training part of ${dataset.name} is not the one that ${name} was trained on, whose SHA-256 is ${training.dataset.sha256}; expected the same data, --data-dir and --limit as in training`,
  );
}

function parseMetrics(text: string): AnyMetricName[] {
  return text.split(',').map((name) => {
    const known = ANY_METRICS.find((metric) => metric === name.trim());
    if (known === undefined) throw new InvalidArgumentError(`expected some of ${ANY_METRICS.join(', ')}`);
    return known;
  });
}
