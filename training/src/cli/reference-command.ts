import { MAX_REFERENCE_POINTS, type Manifest, type Reference, readManifest, referenceFiles } from '@elbo/models';
import { Command, Option } from 'commander';
import { addReferenceData } from '../add-reference.js';
import { createEngine } from '../engines/create-engine.js';
import {
  cacheDirOption,
  dataDirOption,
  type EngineFlags,
  integer,
  jsonOption,
  limitOption,
  withEngineOptions,
} from './options.js';
import { phasedProgress } from './progress.js';
import { loadDataFor } from './training-data.js';

interface ReferenceFlags extends EngineFlags {
  readonly dataDir: string;
  readonly cacheDir?: string;
  readonly limit?: number;
  readonly points?: number;
  readonly json?: boolean;
}

export function referenceCommand(): Command {
  return withEngineOptions(new Command('reference'))
    .description('add a map of the latent space and its examples to a version that was written without')
    .argument('<model>', 'directory of a version, such as models/mnist/1')
    .addOption(
      new Option('--points <n>', "validation examples at the most; default: the model's reference_points").argParser(
        integer(1, MAX_REFERENCE_POINTS),
      ),
    )
    .addOption(dataDirOption())
    .addOption(cacheDirOption())
    .addOption(limitOption())
    .addOption(jsonOption())
    .action(run);
}

async function run(directory: string, flags: ReferenceFlags): Promise<void> {
  const before = await readManifest(directory);
  const dataset = await loadDataFor(before, flags);
  const display = phasedProgress(before.name);
  const manifest = await addReferenceData({
    directory,
    dataset,
    engine: await createEngine(flags),
    points: flags.points,
    onProgress: (done, total, text) => display.update(done, total, text),
  }).finally(() => display.stop());
  const { reference, files } = manifest;
  if (reference === undefined) return;
  console.log(`${directory}: ${describeReference(reference, files)}`);
  if (flags.json) console.log(JSON.stringify({ directory, reference, files }));
}

/** In a line: how many examples there are, what of them, and how large it is. */
function describeReference(reference: Reference, files: Manifest['files']): string {
  const bytes = referenceFiles(reference).reduce((sum, file) => sum + (files[file]?.bytes ?? 0), 0);
  const parts = (['map', 'labels', 'items'] as const).filter((part) => reference[part] !== undefined);
  return `${reference.count} examples with codes${parts.map((part) => `, ${part}`).join('')}, ${(bytes / 1e3).toFixed(0)} kB`;
}
