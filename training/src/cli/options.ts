import { availableParallelism } from 'node:os';
import { dirname, resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { ENGINES, type EngineName } from '../engines/create-engine.js';
import { DEVICES, type Device } from '../engines/onnxruntime.js';

// Options that several commands share, each with its check.

/** A parser for whole numbers of a range. */
export function integer(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isInteger(value) || value < low || value > high) {
      throw new InvalidArgumentError(`expected a whole number from ${low} to ${high}`);
    }
    return value;
  };
}

export const dataDirOption = () =>
  new Option('--data-dir <dir>', 'where data sets lie, such as DIR/mnist').env('ELBO_DATA_DIR').default('data');

export const cacheDirOption = () =>
  new Option(
    '--cache-dir <dir>',
    'where converted data beyond 128 MiB are kept; default: the user cache directory',
  ).env('ELBO_CACHE_DIR');

/** What `--image-size` gives. */
export interface ImageSize {
  readonly height: number;
  readonly width: number;
}

export const imageSizeOption = () =>
  new Option(
    '--image-size <HxW>',
    'bring the images of a folder to this size; default: their own, else 64x64',
  ).argParser((text: string): ImageSize => {
    const [, height, width] = /^([1-9]\d{0,3})x([1-9]\d{0,3})$/.exec(text) ?? [];
    if (height === undefined) throw new InvalidArgumentError('expected height x width in pixels, such as 64x64');
    return { height: Number(height), width: Number(width) };
  });

export const limitOption = () =>
  new Option('--limit <n>', 'use at most this many examples of each part').argParser(integer(1, 2 ** 31 - 1));

export const seedOption = (description: string) =>
  new Option('--seed <n>', description).argParser(integer(0, 2 ** 32 - 1));

const threadsOption = () =>
  new Option('--threads <n>', 'threads of the engine; with the seed, what makes runs repeat exactly')
    .argParser(integer(1, 1024))
    .default(availableParallelism(), 'all cores');

/** What runs the graphs of a command. */
export interface EngineFlags {
  readonly engine: EngineName;
  readonly device: Device;
  readonly threads: number;
}

/** Adds what chooses the engine to a command. */
export function withEngineOptions(command: Command): Command {
  return command
    .addOption(new Option('--engine <name>', 'what runs the graphs').choices(ENGINES).default(ENGINES[0]))
    .addOption(new Option('--device <name>', 'where the graphs run').choices(DEVICES).default(DEVICES[0]))
    .addOption(threadsOption());
}

export const storeOption = () => new Option('--out <dir>', 'model store to write to; default: the one of the model');

/** The store that the next version of a model goes to: the given one, else its own, <store>/<name>/<version>. */
export const storeFor = (directory: string, out: string | undefined): string =>
  out ?? dirname(dirname(resolve(directory)));

export const labelOption = (description = 'of a conditional model: the class of every row that comes without one') =>
  new Option('--label <n>', description).argParser(integer(0, 255));

export const jsonOption = () => new Option('--json', 'make the last line of stdout one JSON object');
