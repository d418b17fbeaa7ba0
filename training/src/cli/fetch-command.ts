import { Command, Option } from 'commander';
import { fetchDataset, publishedDatasets } from '../data/fetch.js';
import { dataDirOption, integer, jsonOption } from './options.js';
import { progressDisplay } from './progress.js';

interface FetchFlags {
  readonly dataDir: string;
  readonly mirror?: string;
  readonly timeout: number;
  readonly json?: boolean;
}

export function fetchCommand(): Command {
  return new Command('fetch')
    .description('download a data set from public mirrors and check its SHA-256')
    .argument('<name>', `one of ${[...publishedDatasets.keys()].join(', ')}`)
    .addOption(dataDirOption())
    .addOption(
      new Option('--mirror <url>', 'where URL/NAME/ holds the files, in place of the public mirrors').env(
        'ELBO_MIRROR',
      ),
    )
    .addOption(
      new Option('--timeout <seconds>', 'give a mirror up when no byte comes for so long')
        .argParser(integer(1, 86_400))
        .default(30),
    )
    .addOption(jsonOption())
    .action(run);
}

async function run(name: string, { dataDir, mirror, timeout, json }: FetchFlags): Promise<void> {
  const display = progressDisplay(name);
  try {
    const { directory, present, downloaded } = await fetchDataset(name, {
      dataDir,
      mirror,
      timeout: timeout * 1000,
      onProgress: (done, total, text) => display.update(done, total, text),
    });
    display.stop();
    const parts = [
      ...(downloaded.length > 0 ? [`${downloaded.length} files downloaded`] : []),
      ...(present.length > 0 ? [`${present.length} there already`] : []),
    ];
    console.log(`${directory}: ${parts.join(', ')}, SHA-256 as published`);
    if (json) console.log(JSON.stringify({ name, directory, downloaded, present }));
  } finally {
    display.stop();
  }
}
