import { extname } from 'node:path';
import { readModel } from '@elbo/models';
import { Command, InvalidArgumentError, Option } from 'commander';
import { createEngine } from '../engines/create-engine.js';
import { fileWriter, ROW_FORMATS, type RowFormat, streamWriter } from '../offline/row-writers.js';
import { scoreFiles } from '../offline/score-files.js';
import { ServedModel } from '../offline/served-model.js';
import { ConfigurationError } from '../vae/configuration.js';
import { cacheDirOption, type EngineFlags, labelOption, withEngineOptions } from './options.js';
import { phasedProgress } from './progress.js';

interface ScoreFlags extends EngineFlags {
  readonly cacheDir?: string;
  readonly format?: RowFormat;
  readonly out?: string;
  readonly fpr?: number;
  readonly label?: number;
}

export function scoreCommand(): Command {
  return withEngineOptions(new Command('score'))
    .description('score rows or images as POST /anomaly-score does: the same numbers, without a service')
    .argument('<model>', 'directory of a version, such as models/mnist/1')
    .argument('<files...>', 'images, folders of images, .csv, .npz, .npy or IDX files')
    .addOption(
      new Option('--format <name>', 'of the results; default: by the name of --out, else ndjson').choices(ROW_FORMATS),
    )
    .option('--out <file>', 'where the results go; default: stdout')
    .addOption(
      new Option('--fpr <rate>', "false-positive rate of is_anomaly; default: the model's").argParser(parseRate),
    )
    .addOption(labelOption())
    .addOption(cacheDirOption())
    .action(run);
}

async function run(directory: string, files: readonly string[], flags: ScoreFlags): Promise<void> {
  const format = formatOf(flags);
  const loaded = await readModel(directory);
  const { manifest } = loaded;
  const display = phasedProgress(`${manifest.name}/${manifest.version}`);
  const model = await ServedModel.open(await createEngine(flags), loaded);
  const writer =
    flags.out === undefined
      ? streamWriter(format === 'npz' ? 'ndjson' : format, process.stdout)
      : await fileWriter(format, flags.out);
  let rows = 0;
  let anomalies = 0;
  try {
    const batches = scoreFiles(model, loaded, files, {
      label: flags.label,
      cacheDir: flags.cacheDir,
      falsePositiveRate: flags.fpr,
      onProgress: (done, total, text) => display.update(done, total, text),
    });
    for await (const batch of batches) {
      await writer.write(batch);
      rows += batch.count;
      const { is_anomaly: verdicts } = batch.fields;
      if (verdicts.kind === 'bool') anomalies += verdicts.values.reduce((sum, one) => sum + one, 0);
    }
    await writer.finish();
  } finally {
    display.stop();
    await writer.discard();
    await model.release();
  }
  const rate = flags.fpr ?? manifest.calibration.default_false_positive_rate;
  console.error(
    `${rows} scored, ${anomalies} called anomalous at a false-positive rate of ${rate}${flags.out === undefined ? '' : `: ${flags.out}`}`,
  );
}

/** @throws {ConfigurationError} where a binary format would go to stdout */
function formatOf({ format, out }: ScoreFlags): RowFormat {
  const byName = ROW_FORMATS.find((name) => out !== undefined && extname(out) === `.${name}`);
  const chosen = format ?? byName ?? 'ndjson';
  if (chosen === 'npz' && out === undefined) {
    throw new ConfigurationError('--format npz goes to a file; expected --out FILE.npz');
  }
  return chosen;
}

function parseRate(text: string): number {
  const rate = Number(text);
  if (text.trim() === '' || !(rate > 0 && rate < 1)) {
    throw new InvalidArgumentError('expected a number above 0 and below 1, such as 0.01');
  }
  return rate;
}
