import { MAX_REFERENCE_POINTS, readManifest } from '@elbo/models';
import { Command, Option } from 'commander';
import { createEngine } from '../engines/create-engine.js';
import { exportWith } from '../export-again.js';
import { WEIGHT_PRECISIONS, type WeightPrecision } from '../vae/configuration.js';
import { printChanges } from './changed-metrics.js';
import {
  cacheDirOption,
  dataDirOption,
  type EngineFlags,
  integer,
  jsonOption,
  limitOption,
  storeFor,
  storeOption,
  withEngineOptions,
} from './options.js';
import { phasedProgress } from './progress.js';
import { loadDataFor } from './training-data.js';

interface ExportFlags extends EngineFlags {
  readonly dataDir: string;
  readonly cacheDir?: string;
  readonly limit?: number;
  readonly out?: string;
  readonly name?: string;
  readonly weights?: WeightPrecision;
  readonly referencePoints?: number;
  readonly json?: boolean;
}

export function exportCommand(): Command {
  return withEngineOptions(new Command('export'))
    .description('write the next version of a model from its weights: in half the bytes, or under another name')
    .argument('<model>', 'directory of a version, such as models/mnist/1')
    .addOption(
      new Option('--weights <precision>', 'float16 rounds weights and halves the files').choices(WEIGHT_PRECISIONS),
    )
    .addOption(
      new Option('--reference-points <n>', 'validation examples for a map of the latent space; 0: none').argParser(
        integer(0, MAX_REFERENCE_POINTS),
      ),
    )
    .option('--name <name>', 'of the new model; default: its own')
    .addOption(dataDirOption())
    .addOption(cacheDirOption())
    .addOption(storeOption())
    .addOption(limitOption())
    .addOption(jsonOption())
    .action(run);
}

async function run(directory: string, flags: ExportFlags): Promise<void> {
  const before = await readManifest(directory);
  const dataset = await loadDataFor(before, flags);
  const display = phasedProgress(before.name);
  const { manifest, ...written } = await exportWith({
    directory,
    store: storeFor(directory, flags.out),
    dataset,
    engine: await createEngine(flags),
    ...(flags.name !== undefined && { name: flags.name }),
    ...(flags.weights !== undefined && { weight_precision: flags.weights }),
    ...(flags.referencePoints !== undefined && { reference_points: flags.referencePoints }),
    onProgress: (done, total, text) => display.update(done, total, text),
  }).finally(() => display.stop());
  const bytes = { before: bytesOf(before), after: bytesOf(manifest) };
  console.log(`${written.directory}: ${(bytes.before / 1e6).toFixed(2)} → ${(bytes.after / 1e6).toFixed(2)} MB`);
  printChanges(before.metrics, manifest.metrics, 3);
  if (flags.json) console.log(JSON.stringify({ directory: written.directory, bytes, metrics: manifest.metrics }));
}

const bytesOf = ({ files }: { readonly files: Readonly<Record<string, { readonly bytes: number }>> }): number =>
  Object.values(files).reduce((sum, file) => sum + file.bytes, 0);
