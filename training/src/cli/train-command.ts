import { readFile } from 'node:fs/promises';
import { readManifest } from '@elbo/models';
import { Command, Option } from 'commander';
import { loadDataset } from '../data/datasets.js';
import { createEngine } from '../engines/create-engine.js';
import { TfjsEngine } from '../engines/tfjs.js';
import { duration } from '../pictures/numbers.js';
import { isClassifier, loadAnyPreset, parseAnyConfiguration } from '../presets.js';
import { type TrainOptions, train } from '../train.js';
import { CHECKPOINT_SECONDS } from '../trainer/epochs.js';
import type { Progress } from '../trainer/trainer.js';
import { ConfigurationError, override, withSettings } from '../vae/configuration.js';
import { describeEpoch, describeTerms } from './loss-terms.js';
import {
  cacheDirOption,
  dataDirOption,
  type EngineFlags,
  type ImageSize,
  imageSizeOption,
  integer,
  jsonOption,
  limitOption,
  seedOption,
  withEngineOptions,
} from './options.js';
import { type ProgressDisplay, phasedProgress, progressDisplay } from './progress.js';
import { skippedSteps } from './skipped-steps.js';
import { runClassifier } from './train-classifier.js';
import { printTrained } from './trained-line.js';
import { describeWeights, ofWeights } from './weights.js';

interface TrainFlags extends EngineFlags {
  readonly preset?: string;
  readonly dataset?: string;
  readonly dataDir: string;
  readonly cacheDir?: string;
  readonly imageSize?: ImageSize;
  readonly name?: string;
  readonly out?: string;
  readonly epochs?: number;
  readonly limit?: number;
  readonly seed?: number;
  readonly from?: string;
  readonly keepZeros?: boolean;
  readonly resume?: boolean;
  readonly resumeIfAny?: boolean;
  readonly checkpointSeconds: number;
  readonly settings?: string;
  readonly set: readonly string[];
  readonly json?: boolean;
}

/** Exit code of a process that SIGINT ended, by the shell's convention. */
const INTERRUPTED = 130;

export function trainCommand(): Command {
  return withEngineOptions(new Command('train'))
    .description('train a model and write its next version to a model store')
    .option('--preset <name>', 'named configuration (`elbo presets` lists them); default: that of the model in --from')
    .option('--dataset <name>', "data set instead of the preset's: a name (`elbo datasets` lists them) or a path")
    .addOption(dataDirOption())
    .addOption(cacheDirOption())
    .addOption(imageSizeOption())
    .option('--name <name>', "name of the model instead of the preset's")
    .option('--out <dir>', 'store to write to; default: models, and classifiers for a classifier')
    .option('--epochs <n>', 'passes over the training examples', integer(1, 1_000_000))
    .addOption(limitOption())
    .addOption(seedOption('of initial weights, shuffles, noise and the validation split'))
    .option('--from <model>', 'directory of a version whose weights training starts from, such as models/mnist/1')
    .option('--keep-zeros', 'weights that are 0 in the model of --from stay 0, as after elbo prune')
    .option('--resume', 'go on from the newest checkpoint of an interrupted run')
    .addOption(
      new Option(
        '--resume-if-any',
        'the same where there is a checkpoint, else begin: for jobs that are started again',
      ).conflicts('resume'),
    )
    .addOption(
      new Option('--checkpoint-seconds <n>', 'time between checkpoints; 0: one after every second or so of training')
        .argParser(integer(0, 86_400))
        .default(CHECKPOINT_SECONDS),
    )
    .option('--settings <file>', 'JSON object of fields that replace those of the preset, before --set does')
    .option('--set <key=value>', 'change one field of the preset; repeatable', append, [])
    .addOption(jsonOption())
    .action(run);
}

async function run(flags: TrainFlags): Promise<void> {
  const preset = await startingConfiguration(flags);
  const configuration = override(
    flags.settings === undefined ? preset : withSettings(preset, await readSettings(flags.settings), flags.settings),
    [
      ...(flags.name === undefined ? [] : [`name=${JSON.stringify(flags.name)}`]),
      ...(flags.dataset === undefined ? [] : [`dataset=${JSON.stringify(flags.dataset)}`]),
      ...(flags.epochs === undefined ? [] : [`epochs=${flags.epochs}`]),
      ...(flags.seed === undefined ? [] : [`seed=${flags.seed}`]),
      ...flags.set,
    ],
    parseAnyConfiguration,
  );
  if (isClassifier(configuration) && (flags.from !== undefined || flags.keepZeros)) {
    throw new ConfigurationError('--from and --keep-zeros are for models of the store; expected none for a classifier');
  }
  const engine = await createEngine(flags);
  if (engine instanceof TfjsEngine)
    console.error(`engine: ${engine.backend}${engine.note === undefined ? '' : ` (${engine.note})`}`);
  const loading = phasedProgress(configuration.dataset);
  const dataset = await loadDataset(configuration.dataset, {
    dataDir: flags.dataDir,
    cacheDir: flags.cacheDir,
    image: flags.imageSize ?? (isClassifier(configuration) ? undefined : configuration.image_size),
    limit: flags.limit,
    seed: configuration.seed,
    onProgress: (done, total, text) => loading.update(done, total, text),
  }).finally(() => loading.stop());

  const interruption = new AbortController();
  const interrupt = () => interruption.abort();
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const display = progressDisplay(configuration.name);
  const describeSkipped = skippedSteps();
  const shared = {
    engine,
    dataset,
    store: flags.out ?? (isClassifier(configuration) ? 'classifiers' : 'models'),
    resume: flags.resumeIfAny ? ('if-any' as const) : (flags.resume ?? false),
    checkpointSeconds: flags.checkpointSeconds,
    signal: interruption.signal,
    onProgress(progress: Progress) {
      for (const line of describeSkipped(progress)) display.line(line);
    },
  };
  const json = flags.json ?? false;
  try {
    const isDone = isClassifier(configuration)
      ? await runClassifier({ ...shared, configuration }, display, json)
      : await runVae({ ...shared, configuration, from: flags.from, keepZeros: flags.keepZeros }, display, json);
    if (isDone) return;
    console.error('interrupted; the same command with --resume goes on from here');
    process.exitCode = INTERRUPTED;
  } finally {
    display.stop();
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

/** @throws {ConfigurationError} where nothing names a configuration */
async function startingConfiguration({ preset, from }: TrainFlags) {
  if (preset !== undefined) return loadAnyPreset(preset);
  if (from === undefined) {
    throw new ConfigurationError('--preset is missing; expected a name (`elbo presets` lists them), or --from MODEL');
  }
  return parseAnyConfiguration((await readManifest(from)).training.configuration);
}

/** @throws {ConfigurationError} where the file is not JSON */
async function readSettings(file: string): Promise<unknown> {
  const text = await readFile(file, 'utf8');
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ConfigurationError(`${file}: not JSON (${(error as Error).message})`, { cause: error });
  }
}

/** Trains a VAE, showing how it goes; false where it was interrupted. */
async function runVae(options: TrainOptions, display: ProgressDisplay, json: boolean): Promise<boolean> {
  const { configuration, onProgress } = options;
  let wasCollapsed = false;
  const exporting = phasedProgress(configuration.name);
  const result = await train({
    ...options,
    onProgress(progress) {
      onProgress?.(progress);
      const { epoch, step, totalSteps, metrics } = progress;
      const terms = `${describeTerms(configuration, metrics)}${ofWeights(metrics)}`;
      display.update(step, totalSteps, `epoch ${epoch + 1}/${configuration.epochs} · ${terms}`);
    },
    onEpoch(record) {
      const { epoch, activeUnits, weights } = record;
      display.line(`${describeEpoch(configuration, record)}${describeWeights(weights)}`);
      const hasCollapsed =
        configuration.family !== 'autoencoder' &&
        activeUnits === 0 &&
        epoch > Math.max(1, configuration.kl_warm_up_fraction * configuration.epochs);
      if (hasCollapsed && !wasCollapsed) display.line(COLLAPSED);
      wasCollapsed = hasCollapsed;
    },
    onExport(epoch) {
      display.line(`measuring and exporting the weights of epoch ${epoch}`);
      display.stop();
    },
    onExportProgress: (done, total, text) => exporting.update(done, total, text),
  }).finally(() => exporting.stop());
  display.stop();
  if (result === undefined) return false;
  const { directory, manifest, bestEpoch, parity, secondsPerStep } = result;
  console.log(
    `${directory}: epoch ${bestEpoch}, ${duration(manifest.training.seconds)}, ${(1000 * secondsPerStep).toFixed(1)} ms a step, ` +
      `${manifest.latent.active_units} of ${manifest.latent.size} latent dimensions active, exported graphs within ${parity.toExponential(1)}`,
  );
  for (const [name, { value, unit }] of Object.entries(manifest.metrics)) {
    console.log(`  ${name} ${value.toFixed(2)} ${unit ?? ''}`);
  }
  if (json) printTrained(result, manifest, { parity });
  return true;
}

/** What can be done where the decoder ignores z (Bowman et al., 2016). */
const COLLAPSED =
  'posterior collapse: no latent dimension says anything of the examples; try objective.free_bits, a longer kl_warm_up_fraction, a smaller objective.beta or a smaller decoder';

function append(value: string, all: readonly string[]): string[] {
  return [...all, value];
}
