import { Command, InvalidArgumentError, Option } from 'commander';
import { NUMBER_FORMATS } from '../offline/row-writers.js';
import { scoreFiles } from '../offline/score-files.js';
import { cacheDirOption, labelOption } from './options.js';
import { type OutputFlags, rowCommand, writeRows } from './row-output.js';

interface ScoreFlags extends OutputFlags {
  readonly cacheDir?: string;
  readonly fpr?: number;
  readonly label?: number;
}

/** What commands that read files say of them. */
export const FILES = 'images, folders of images, .csv, .npz, .npy or IDX files';

export function scoreCommand(): Command {
  return rowCommand(new Command('score'), NUMBER_FORMATS)
    .description('score rows or images as POST /anomaly-score does: the same numbers, without a service')
    .argument('<files...>', FILES)
    .addOption(
      new Option('--fpr <rate>', "false-positive rate of is_anomaly; default: the model's").argParser(parseRate),
    )
    .addOption(labelOption())
    .addOption(cacheDirOption())
    .action(run);
}

async function run(directory: string, files: readonly string[], flags: ScoreFlags): Promise<void> {
  let anomalies = 0;
  let rate = flags.fpr;
  const rows = await writeRows(directory, flags, NUMBER_FORMATS, async function* (model, loaded, onProgress) {
    rate ??= loaded.manifest.calibration.default_false_positive_rate;
    const options = { label: flags.label, cacheDir: flags.cacheDir, falsePositiveRate: rate, onProgress };
    for await (const batch of scoreFiles(model, loaded, files, options)) {
      const { is_anomaly: verdicts } = batch.fields;
      if (verdicts.kind === 'bool') anomalies += verdicts.values.reduce((sum, one) => sum + one, 0);
      yield batch;
    }
  });
  const place = flags.out === undefined ? '' : `: ${flags.out}`;
  console.error(`${rows} scored, ${anomalies} called anomalous at a false-positive rate of ${rate}${place}`);
}

function parseRate(text: string): number {
  const rate = Number(text);
  if (text.trim() === '' || !(rate > 0 && rate < 1)) {
    throw new InvalidArgumentError('expected a number above 0 and below 1, such as 0.01');
  }
  return rate;
}
