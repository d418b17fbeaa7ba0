import { Command } from 'commander';
import { createEngine } from '../engines/create-engine.js';
import { calibrate } from '../offline/calibrate.js';
import {
  cacheDirOption,
  type EngineFlags,
  jsonOption,
  labelOption,
  storeFor,
  storeOption,
  withEngineOptions,
} from './options.js';
import { phasedProgress } from './progress.js';

interface CalibrateFlags extends EngineFlags {
  readonly cacheDir?: string;
  readonly out?: string;
  readonly label?: number;
  readonly json?: boolean;
}

export function calibrateCommand(): Command {
  return withEngineOptions(new Command('calibrate'))
    .description('write the next version of a model, with p-values and thresholds of your own normal data')
    .argument('<model>', 'directory of a version, such as models/mnist/1')
    .argument('<files...>', 'normal data, not those that it was trained on: as elbo score reads them')
    .addOption(storeOption())
    .addOption(labelOption())
    .addOption(cacheDirOption())
    .addOption(jsonOption())
    .action(run);
}

async function run(directory: string, files: readonly string[], flags: CalibrateFlags): Promise<void> {
  const display = phasedProgress('calibrate');
  const result = await calibrate({
    directory,
    store: storeFor(directory, flags.out),
    files,
    engine: await createEngine(flags),
    label: flags.label,
    cacheDir: flags.cacheDir,
    onProgress: (done, total, text) => display.update(done, total, text),
  }).finally(() => display.stop());
  const { calibration } = result.manifest;
  const { anomalousShare, distance, calibration: old } = result.before;
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  console.log(`${result.directory}: calibrated on ${calibration.size} rows`);
  for (const { false_positive_rate: rate, threshold } of calibration.thresholds) {
    const before = old.thresholds.find((entry) => entry.false_positive_rate === rate)?.threshold;
    console.log(
      `  threshold at ${percent(rate)} ${before === undefined ? '' : `${before.toFixed(3)} → `}${threshold.toFixed(3)}`,
    );
  }
  console.log(
    `  before, ${percent(anomalousShare)} of them were called anomalous at ${percent(old.default_false_positive_rate)} (distance of p-values to uniform ${distance.toFixed(3)})`,
  );
  if (flags.json) console.log(JSON.stringify({ directory: result.directory, calibration, before: result.before }));
}
