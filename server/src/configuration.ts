import { isAbsolute, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { closestMatch } from 'leven';
import { availableCpus } from './cpu-quota.js';
import { PROVIDERS, type ProviderChoice } from './inference/provider.js';

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Everything that the environment decides about the service. */
export interface Configuration {
  readonly host: string;
  /** 0 lets the operating system choose. */
  readonly port: number;
  readonly modelsDirectory: string;
  /** Unset: `mnist` where it is loaded, else the first by name. */
  readonly defaultModel: string | undefined;
  readonly provider: ProviderChoice;
  /** Inference threads, each with its own sessions. */
  readonly workers: number;
  /** Threads that ONNX Runtime uses inside one run. */
  readonly threads: number;
  /** Items in one run at most. */
  readonly maxBatch: number;
  /** Items accepted and not yet answered at most; beyond it requests are refused with 503. */
  readonly maxQueue: number;
  /** Milliseconds that a batch which is not full waits for more. */
  readonly batchDelay: number;
  /** Milliseconds after which a request is given up; undefined: never. */
  readonly requestTimeout: number | undefined;
  /** Milliseconds that one batch may run before its worker counts as hung and is replaced; undefined: no limit. */
  readonly runTimeout: number | undefined;
  /** Milliseconds between two looks at the store; undefined: it is read at the start alone. */
  readonly storePollInterval: number | undefined;
  /** Numbers of the GPUs that are used, one worker each in turn; undefined: the first. */
  readonly devices: readonly number[] | undefined;
  /** Bytes of one request body at most. */
  readonly bodyLimit: number;
  readonly logLevel: LogLevel;
}

/** A variable that can't be used; the message is one line that names it and what it must be. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
}

const VARIABLES = [
  'ELBO_HOST',
  'ELBO_PORT',
  'ELBO_MODELS_DIR',
  'ELBO_DEFAULT_MODEL',
  'ELBO_PROVIDER',
  'ELBO_WORKERS',
  'ELBO_THREADS',
  'ELBO_MAX_BATCH',
  'ELBO_MAX_QUEUE',
  'ELBO_BATCH_DELAY_MS',
  'ELBO_REQUEST_TIMEOUT_MS',
  'ELBO_RUN_TIMEOUT_MS',
  'ELBO_STORE_POLL_MS',
  'ELBO_DEVICES',
  'ELBO_BODY_LIMIT',
  'ELBO_LOG_LEVEL',
] as const;
type Variable = (typeof VARIABLES)[number];

const MIB = 1 << 20;

/**
 * Reads and checks the `ELBO_` variables; an empty one counts as unset.
 * @returns the configuration, and a warning for each `ELBO_` variable that means nothing here
 * @throws {ConfigurationError} for the first bad value
 */
export function readConfiguration(
  environment: Readonly<Record<string, string | undefined>>,
  cpus: number = availableCpus(),
): { configuration: Configuration; warnings: string[] } {
  const text = (name: Variable): string | undefined => {
    const value = environment[name]?.trim();
    return value === '' ? undefined : value;
  };
  const integer = (name: Variable, fallback: number, low: number, high: number): number => {
    const value = text(name);
    if (value === undefined) return fallback;
    const number = /^[0-9]{1,15}$/.test(value) ? Number(value) : Number.NaN;
    if (!(number >= low && number <= high)) {
      throw new ConfigurationError(`${name}=${value}: expected an integer from ${low} to ${high}`);
    }
    return number;
  };
  const oneOf = <T extends string>(name: Variable, choices: readonly T[], fallback: T): T => {
    const value = text(name) ?? fallback;
    const choice = choices.find((candidate) => candidate === value);
    if (choice === undefined) throw new ConfigurationError(`${name}=${value}: expected one of ${choices.join(', ')}`);
    return choice;
  };

  const orNever = (name: Variable, fallback: number, high: number): number | undefined =>
    integer(name, fallback, 0, high) || undefined;

  const provider = oneOf('ELBO_PROVIDER', PROVIDERS, 'auto');
  const devices = deviceNumbers(text('ELBO_DEVICES'));
  // A GPU takes one run at a time, so more workers would only copy the weights there again.
  const fallbackWorkers = provider === 'cuda' || provider === 'webgpu' ? (devices?.length ?? 1) : cpus;
  const workers = integer('ELBO_WORKERS', fallbackWorkers, 1, 256);
  const modelsDirectory = text('ELBO_MODELS_DIR');
  const configuration: Configuration = {
    host: text('ELBO_HOST') ?? '0.0.0.0',
    port: integer('ELBO_PORT', 8080, 0, 65_535),
    modelsDirectory:
      modelsDirectory === undefined
        ? fileURLToPath(new URL('../../models', import.meta.url))
        : isAbsolute(modelsDirectory)
          ? modelsDirectory
          : resolve(modelsDirectory),
    defaultModel: text('ELBO_DEFAULT_MODEL'),
    provider,
    workers,
    threads: integer('ELBO_THREADS', Math.max(1, Math.floor(cpus / workers)), 1, 256),
    maxBatch: integer('ELBO_MAX_BATCH', 64, 1, 4096),
    maxQueue: integer('ELBO_MAX_QUEUE', 4096, 1, 1_000_000),
    batchDelay: integer('ELBO_BATCH_DELAY_MS', 0, 0, 10_000),
    requestTimeout: orNever('ELBO_REQUEST_TIMEOUT_MS', 30_000, 3_600_000),
    runTimeout: orNever('ELBO_RUN_TIMEOUT_MS', 60_000, 3_600_000),
    storePollInterval: orNever('ELBO_STORE_POLL_MS', 5_000, 3_600_000),
    devices,
    bodyLimit: integer('ELBO_BODY_LIMIT', 16 * MIB, 1024, 1024 * MIB),
    logLevel: oneOf('ELBO_LOG_LEVEL', LOG_LEVELS, 'info'),
  };
  return { configuration, warnings: unknownVariables(environment) };
}

function deviceNumbers(list: string | undefined): number[] | undefined {
  if (list === undefined) return undefined;
  const numbers = list.split(',').map((number) => (/^\s*[0-9]{1,3}\s*$/.test(number) ? Number(number) : Number.NaN));
  if (numbers.some(Number.isNaN) || new Set(numbers).size < numbers.length) {
    throw new ConfigurationError(`ELBO_DEVICES=${list}: expected numbers of GPUs, each once, such as 0,1`);
  }
  return numbers;
}

function unknownVariables(environment: Readonly<Record<string, string | undefined>>): string[] {
  const known: readonly string[] = VARIABLES;
  return Object.keys(environment)
    .filter((name) => name.startsWith('ELBO_') && !known.includes(name))
    .sort()
    .map((name) => {
      const nearest = closestMatch(name, known);
      return `${name} is not a setting of this server and is ignored; did you mean ${nearest}?`;
    });
}
