import { readManifest } from '@elbo/models';
import { Command, InvalidArgumentError, Option } from 'commander';
import { createEngine } from '../engines/create-engine.js';
import { type ModelCost, pruneModel } from '../prune/prune-model.js';
import { printChanges } from './changed-metrics.js';
import {
  cacheDirOption,
  dataDirOption,
  type EngineFlags,
  jsonOption,
  limitOption,
  storeFor,
  storeOption,
  withEngineOptions,
} from './options.js';
import { phasedProgress } from './progress.js';
import { loadDataFor } from './training-data.js';

interface PruneFlags extends EngineFlags {
  readonly dataDir: string;
  readonly cacheDir?: string;
  readonly limit?: number;
  readonly out?: string;
  readonly threshold: number;
  readonly json?: boolean;
}

export function pruneCommand(): Command {
  return withEngineOptions(new Command('prune'))
    .description('take the units out of a model that variational dropout left without weights')
    .argument('<model>', 'directory of a version, such as models/mnist/1')
    .addOption(dataDirOption())
    .addOption(cacheDirOption())
    .addOption(storeOption())
    .addOption(
      new Option('--threshold <t>', 'also count weights of at most this magnitude as 0')
        .argParser(parseThreshold)
        .default(0),
    )
    .addOption(limitOption())
    .addOption(jsonOption())
    .action(run);
}

async function run(directory: string, flags: PruneFlags): Promise<void> {
  const manifest = await readManifest(directory);
  const dataset = await loadDataFor(manifest, flags);
  const display = phasedProgress(manifest.name);
  const result = await pruneModel({
    directory,
    store: storeFor(directory, flags.out),
    dataset,
    engine: await createEngine(flags),
    threshold: flags.threshold,
    onProgress: (done, total, text) => display.update(done, total, text),
  }).finally(() => display.stop());
  const { before, after, speed } = result;
  const gone = Object.entries(result.removed).map(([field, units]) => `${units} of ${field}`);
  console.log(`${result.directory}: ${gone.length === 0 ? 'no unit is without use' : `without ${gone.join(', ')}`}`);
  const row = (name: string, of: (cost: ModelCost) => number) => {
    const [old, now] = [of(before), of(after)];
    const ratio = now === 0 ? '' : ` (${(old / now).toFixed(1)}x)`;
    console.log(`  ${name.padEnd(18)} ${old.toLocaleString('en')} → ${now.toLocaleString('en')}${ratio}`);
  };
  row('bytes of graphs', ({ bytes }) => bytes);
  row('weights', ({ weights }) => weights.weights);
  row('weights but 0', ({ weights }) => weights.non_zero);
  row('flops an example', ({ flops }) => flops);
  for (const { batch, before: old, after: now, ratio } of speed) {
    console.log(`  ${`ms, batch ${batch}`.padEnd(18)} ${old.toFixed(3)} → ${now.toFixed(3)} (${ratio.toFixed(2)}x)`);
  }
  printChanges(manifest.metrics, result.manifest.metrics, 2);
  if (flags.json) console.log(JSON.stringify({ ...result, manifest: undefined, metrics: result.manifest.metrics }));
}

function parseThreshold(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0) {
    throw new InvalidArgumentError('expected a number of at least 0');
  }
  return value;
}
