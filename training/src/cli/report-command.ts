import { Command, Option } from 'commander';
import { createEngine } from '../engines/create-engine.js';
import { DEFAULT_LIMIT, writeReport } from '../report/write-report.js';
import { cacheDirOption, dataDirOption, type EngineFlags, integer, jsonOption, withEngineOptions } from './options.js';
import { phasedProgress } from './progress.js';

interface ReportFlags extends EngineFlags {
  readonly dataDir: string;
  readonly cacheDir?: string;
  readonly dataset?: string;
  readonly out?: string;
  readonly limit: number;
  readonly json?: boolean;
}

export function reportCommand(): Command {
  return withEngineOptions(new Command('report'))
    .description('write one self-contained HTML page about a model')
    .argument('<model>', 'directory of a version, such as models/mnist/1')
    .addOption(dataDirOption())
    .addOption(cacheDirOption())
    .option('--dataset <name>', 'data set instead of the one that the model was trained on')
    .option('--out <file>', 'the page; default: NAME-VERSION-report.html in the current directory')
    .addOption(
      new Option('--limit <n>', 'look at the first n test examples')
        .argParser(integer(1, 2 ** 31 - 1))
        .default(DEFAULT_LIMIT),
    )
    .addOption(jsonOption())
    .action(run);
}

async function run(directory: string, flags: ReportFlags): Promise<void> {
  const display = phasedProgress('report');
  const { manifest, file, bytes, examples, missing } = await writeReport({
    directory,
    file: flags.out,
    dataset: flags.dataset,
    data: {
      dataDir: flags.dataDir,
      cacheDir: flags.cacheDir,
      onProgress: (done, total, text) => display.update(done, total, text),
    },
    limit: flags.limit,
    engine: await createEngine(flags),
    onProgress: (done, total) => display.update(done, total, 'examples'),
  }).finally(() => display.stop());
  if (missing !== undefined) {
    console.error(`${missing}; the page is without the parts that need data`);
  }
  console.log(`${file}: ${(bytes / 1e6).toFixed(2)} MB, ${examples} test examples`);
  if (flags.json) {
    const { name, version } = manifest;
    console.log(JSON.stringify({ name, version, file, bytes, examples, ...(missing !== undefined && { missing }) }));
  }
}
