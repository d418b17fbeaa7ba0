import { randomInt } from 'node:crypto';
import { Command, InvalidArgumentError, Option } from 'commander';
import { encodeFiles, reconstructFiles } from '../offline/encode-files.js';
import { NUMBER_FORMATS, ROW_FORMATS, type RowFormat } from '../offline/row-writers.js';
import { sampleRows } from '../offline/sample-rows.js';
import { ConfigurationError } from '../vae/configuration.js';
import { cacheDirOption, integer, labelOption, seedOption } from './options.js';
import { type OutputFlags, rowCommand, writeRows } from './row-output.js';
import { FILES } from './score-command.js';

// What the service does, without one: commands that encode, reconstruct and sample.

interface FileFlags extends OutputFlags {
  readonly cacheDir?: string;
  readonly label?: number;
}

interface SampleFlags extends OutputFlags {
  readonly count: number;
  readonly seed?: number;
  readonly temperature: number;
  readonly label?: number;
}

export function encodeCommand(): Command {
  return ofFiles(
    'encode',
    NUMBER_FORMATS,
    'the posterior of rows or images: mean and log_variance, as POST /encode',
    encodeFiles,
  );
}

export function reconstructCommand(): Command {
  const description = 'rows or images as the model sees them, as POST /reconstruct; also a .png of images';
  return ofFiles('reconstruct', ROW_FORMATS, description, reconstructFiles);
}

function ofFiles(
  name: string,
  formats: readonly RowFormat[],
  description: string,
  batches: typeof encodeFiles,
): Command {
  return rowCommand(new Command(name), formats)
    .description(description)
    .argument('<files...>', FILES)
    .addOption(labelOption())
    .addOption(cacheDirOption())
    .action(async (directory: string, files: readonly string[], flags: FileFlags) => {
      const { label, cacheDir } = flags;
      const rows = await writeRows(directory, flags, formats, (model, _, onProgress) =>
        batches(model, files, { label, cacheDir, onProgress }),
      );
      if (flags.out !== undefined) console.error(`${rows} rows: ${flags.out}`);
    });
}

export function sampleCommand(): Command {
  return rowCommand(new Command('sample'), ROW_FORMATS)
    .description('draw from the prior and decode, as POST /sample for the same seed; also a .png of images')
    .addOption(new Option('--count <n>', 'samples').argParser(integer(1, 10_000_000)).default(16))
    .addOption(seedOption('the same seed gives the same samples; default: a random one, which is told'))
    .addOption(
      new Option('--temperature <t>', 'standard deviation of the latents').argParser(parseTemperature).default(1),
    )
    .addOption(labelOption('of a conditional model: the class of all samples; default: as often as in training'))
    .action(async (directory: string, flags: SampleFlags) => {
      const { count, temperature, label, seed = randomInt(2 ** 32) } = flags;
      const rows = await writeRows(directory, flags, ROW_FORMATS, (model, loaded, onProgress) => {
        const { condition } = loaded.manifest;
        if (label !== undefined && !(condition !== undefined && label < condition.classes)) {
          const expected =
            condition === undefined ? 'none, since the model is not conditional' : `0 to ${condition.classes - 1}`;
          throw new ConfigurationError(`--label is ${label}; expected ${expected}`);
        }
        const progress = (done: number, total: number) => onProgress(done, total, 'samples');
        return sampleRows(model, { count, seed, temperature, label, onProgress: progress });
      });
      console.error(`${rows} samples of seed ${seed}${flags.out === undefined ? '' : `: ${flags.out}`}`);
    });
}

function parseTemperature(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 10))
    throw new InvalidArgumentError('expected a number from 0 to 10');
  return value;
}
