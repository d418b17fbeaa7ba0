import { extname } from 'node:path';
import { type LoadedModel, readModel } from '@elbo/models';
import { type Command, Option } from 'commander';
import { createEngine } from '../engines/create-engine.js';
import type { RowBatch } from '../offline/row-batch.js';
import { fileWriter, type RowFormat, streamWriter, type TextFormat } from '../offline/row-writers.js';
import { ServedModel } from '../offline/served-model.js';
import { ConfigurationError } from '../vae/configuration.js';
import { type EngineFlags, withEngineOptions } from './options.js';
import { phasedProgress } from './progress.js';

/** What says where results of a command go. */
export interface OutputFlags extends EngineFlags {
  readonly format?: RowFormat;
  readonly out?: string;
}

/** A command that runs a model of the store and writes rows of results in one of these formats. */
export function rowCommand(command: Command, formats: readonly RowFormat[]): Command {
  return withEngineOptions(command)
    .argument('<model>', 'directory of a version, such as models/mnist/1')
    .addOption(
      new Option('--format <name>', 'of the results; default: by the name of --out, else ndjson').choices(formats),
    )
    .option('--out <file>', 'where the results go; default: stdout');
}

export type Progress = (done: number, total: number, text: string) => void;

/**
 * Opens a model and writes what `rows` makes of it: to stdout as it comes, to a file that appears when all is done.
 * @param formats those that the command has
 * @returns the number of rows
 * @throws {ConfigurationError} where the format does not suit the place or the model
 */
export async function writeRows(
  directory: string,
  flags: OutputFlags,
  formats: readonly RowFormat[],
  rows: (model: ServedModel, loaded: LoadedModel, onProgress: Progress) => AsyncIterable<RowBatch>,
): Promise<number> {
  const format = formatOf(flags, formats);
  const loaded = await readModel(directory);
  const { name, version, input } = loaded.manifest;
  if (format === 'png' && input.kind !== 'image') {
    throw new ConfigurationError('--format png is for images; expected ndjson, csv or npz for rows of a table');
  }
  const display = phasedProgress(`${name}/${version}`);
  const model = await ServedModel.open(await createEngine(flags), loaded);
  const writer =
    flags.out === undefined ? streamWriter(format as TextFormat, process.stdout) : await fileWriter(format, flags.out);
  let count = 0;
  try {
    for await (const batch of rows(model, loaded, (done, total, text) => display.update(done, total, text))) {
      await writer.write(batch);
      count += batch.count;
    }
    await writer.finish();
  } finally {
    display.stop();
    await writer.discard();
    await model.release();
  }
  return count;
}

/** @throws {ConfigurationError} where a binary format would go to stdout */
function formatOf({ format, out }: OutputFlags, formats: readonly RowFormat[]): RowFormat {
  const byName = formats.find((name) => out !== undefined && extname(out) === `.${name}`);
  const chosen = format ?? byName ?? 'ndjson';
  if (out === undefined && chosen !== 'ndjson' && chosen !== 'csv') {
    throw new ConfigurationError(`--format ${chosen} goes to a file; expected --out FILE.${chosen}`);
  }
  return chosen;
}
