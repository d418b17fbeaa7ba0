import { isDeepStrictEqual } from 'node:util';
import type { Manifest } from '@elbo/models';
import { publishedDatasets } from '../data/fetch.js';
import { ENGINES } from '../engines/create-engine.js';
import { isClassifier, loadAnyPreset } from '../presets.js';
import { type Configuration, loadPreset, override, parseConfiguration, presetNames } from '../vae/configuration.js';

/**
 * The command that trains a model again: the nearest preset and what differs from it.
 * @param available training examples of the data set, where it was found: fewer in the record are a `--limit`
 * @returns undefined where the recorded configuration is none that this version of Elbo knows
 */
export function trainingCommand({ training }: Pick<Manifest, 'training'>, available?: number): string | undefined {
  const configuration = known(training.configuration);
  if (configuration === undefined) return undefined;
  const [nearest] = presetNames()
    // Classifiers are no models of a store.
    .filter((preset) => !isClassifier(loadAnyPreset(preset)))
    .map((preset) => ({ preset, changes: differences(loadPreset(preset), configuration) }))
    .filter(({ preset, changes }) => reproduces(preset, changes, configuration))
    .sort((a, b) => a.changes.length - b.changes.length);
  if (nearest === undefined) return undefined;

  const { dataset, engine, device, threads, started_from: start, kept_zeros: keptZeros } = training;
  const used = dataset.train_examples + dataset.validation_examples;
  const flags: (readonly [string, string])[] = [['--preset', nearest.preset]];
  for (const change of nearest.changes) {
    const option = OPTIONS.get(change.path);
    flags.push(option === undefined ? ['--set', assignment(change)] : [option, String(change.value)]);
  }
  // Of `name/version` and hashes; where the version stands now, nobody knows.
  if (start !== undefined) flags.push(['--from', `models/${start.split(' ')[0]}`]);
  if (publishedDatasets.has(configuration.dataset)) flags.push(['--data-dir', 'DIR']);
  if (available !== undefined && used < available) flags.push(['--limit', String(used)]);
  if (ENGINES.some((name) => name === engine && name !== ENGINES[0])) flags.push(['--engine', engine]);
  if (device !== undefined && device !== 'cpu') flags.push(['--device', device]);
  flags.push(['--threads', String(threads)]);
  const zeros = keptZeros ? ['--keep-zeros'] : [];
  return ['npx elbo train', ...zeros, ...flags.map(([flag, value]) => `${flag} ${shellWord(value)}`)].join(' ');
}

/** A word that a POSIX shell takes as it is, whatever stands in it. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

interface Change {
  readonly path: string;
  readonly value: unknown;
}

/** Fields that have an option of their own. */
const OPTIONS: ReadonlyMap<string, string> = new Map([
  ['name', '--name'],
  ['dataset', '--dataset'],
  ['epochs', '--epochs'],
  ['seed', '--seed'],
]);

/** A configuration as this version has it; fields that its family never reads are at their defaults. */
function known(json: unknown): Configuration | undefined {
  try {
    const { discriminator, ...configuration } = parseConfiguration(json);
    return parseConfiguration(configuration.family === 'vae-gan' ? { ...configuration, discriminator } : configuration);
  } catch {
    return undefined;
  }
}

function reproduces(preset: string, changes: readonly Change[], configuration: Configuration): boolean {
  try {
    return isDeepStrictEqual(override(loadPreset(preset), changes.map(assignment)), configuration);
  } catch {
    return false;
  }
}

function differences(from: object, to: object, prefix = ''): Change[] {
  const before = new Map<string, unknown>(Object.entries(from));
  return Object.entries(to).flatMap(([key, value]: [string, unknown]) => {
    const path = `${prefix}${key}`;
    const old = before.get(key);
    if (isDeepStrictEqual(old, value)) return [];
    return isPlainObject(old) && isPlainObject(value) ? differences(old, value, `${path}.`) : [{ path, value }];
  });
}

/** As `--set` reads it: JSON, or the text itself where it is not JSON of something else. */
function assignment({ path, value }: Change): string {
  return `${path}=${typeof value === 'string' && !isJson(value) ? value : JSON.stringify(value)}`;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function isPlainObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
