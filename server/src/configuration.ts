import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { closestMatch } from 'leven';
import { type ApiKey, parseApiKey } from './api-keys.js';
import { availableCpus } from './cpu-quota.js';
import type { ProviderChoice } from './inference/provider.js';
import {
  type IntegerVariable,
  type LOG_LEVELS,
  OPENABLE_ROUTES,
  type REQUEST_LOGGING,
  VARIABLES,
  type VariableName,
  type VariablesWith,
} from './variables.js';

export type LogLevel = (typeof LOG_LEVELS)[number];
export type RequestLogging = (typeof REQUEST_LOGGING)[number];
export type OpenableRoute = (typeof OPENABLE_ROUTES)[number];

/** So many of something in so many milliseconds. */
export type Rate<Unit extends string> = { readonly [unit in Unit]: number } & { readonly windowMs: number };
export type RateLimit = Rate<'requests'>;
export type ItemRateLimit = Rate<'items'>;

/** Who may call, how often, and from which pages. */
export interface Security {
  /** None: routes are open to everybody. */
  readonly apiKeys: readonly ApiKey[];
  /** For routes that change what is served; none: these routes are not there. */
  readonly adminKeys: readonly ApiKey[];
  readonly openRoutes: readonly OpenableRoute[];
  /** Of each key, or each address where a request has none. */
  readonly rateLimit: RateLimit | undefined;
  /** The same, of the items in requests. */
  readonly itemRateLimit: ItemRateLimit | undefined;
  /** Origins of pages that may call, or `*`. */
  readonly corsOrigins: readonly string[];
  /** Addresses and networks of proxies whose X-Forwarded-For says who calls. */
  readonly trustedProxies: readonly string[];
}

/** Time that accepted requests have to finish once no more are taken; whoever ends the process must give as much. */
export const GRACE_MS = 25_000;

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
  /** Connections open at once at most; undefined: as many as the system gives. */
  readonly maxConnections: number | undefined;
  /** Seconds between a signal and the moment from which no more is accepted, for balancers to see that it isn't ready. */
  readonly shutdownDelaySeconds: number;
  readonly security: Security;
  readonly logLevel: LogLevel;
  readonly logRequests: RequestLogging;
  /** Spans are sent where OpenTelemetry's own variables say. */
  readonly tracing: boolean;
}

/** A variable that can't be used; the message is one line that names it and what it must be. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
}

/** The exporter reads the values itself; here they only switch tracing on. */
const TRACE_ENDPOINTS = ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'OTEL_EXPORTER_OTLP_ENDPOINT'] as const;

/**
 * Reads and checks the `ELBO_` variables; an empty one counts as unset.
 * @returns the configuration, and a warning for each `ELBO_` variable that means nothing here
 * @throws {ConfigurationError} for the first bad value
 */
export function readConfiguration(
  environment: Readonly<Record<string, string | undefined>>,
  cpus: number = availableCpus(),
): { configuration: Configuration; warnings: string[] } {
  const text = (name: VariableName | `OTEL_${string}`): string | undefined => {
    const value = environment[name]?.trim();
    return value === '' ? undefined : value;
  };
  const integerOr = <T>(name: IntegerVariable, fallback: T): number | T => {
    const value = text(name);
    if (value === undefined) return fallback;
    const { low, high } = VARIABLES[name];
    const number = /^[0-9]{1,15}$/.test(value) ? Number(value) : Number.NaN;
    if (!(number >= low && number <= high)) {
      throw new ConfigurationError(`${name}=${value}: expected an integer from ${low} to ${high}`);
    }
    return number;
  };
  const integer = (name: IntegerVariable & VariablesWith<{ readonly default: number }>): number =>
    integerOr<number>(name, VARIABLES[name].default);
  const oneOf = <T extends string>(
    name: VariableName,
    { choices, default: fallback }: { readonly choices: readonly T[]; readonly default: T },
  ): T => {
    const value = text(name) ?? fallback;
    const choice = choices.find((candidate) => candidate === value);
    if (choice === undefined) throw new ConfigurationError(`${name}=${value}: expected one of ${choices.join(', ')}`);
    return choice;
  };
  const list = (name: VariableName): string[] => (text(name) ?? '').split(',').flatMap((item) => item.trim() || []);
  const each = <T>(name: VariablesWith<{ readonly form: string }>, parse: (item: string) => T | undefined): T[] =>
    list(name).map((item) => {
      const parsed = parse(item);
      if (parsed === undefined)
        throw new ConfigurationError(`${name}=${text(name)}: expected ${VARIABLES[name].form}, not ${item}`);
      return parsed;
    });
  const keys = (name: 'ELBO_API_KEYS' | 'ELBO_ADMIN_KEYS'): ApiKey[] => {
    return list(name).map((entry, i) => {
      const key = parseApiKey(entry);
      // The entry isn't shown: it might be a key.
      if (key === undefined)
        throw new ConfigurationError(`${name}: expected entry ${i + 1} to be ${VARIABLES[name].form}`);
      return key;
    });
  };

  const rateLimit = <Unit extends 'requests' | 'items'>(unit: Unit): Rate<Unit> | undefined => {
    const name = unit === 'requests' ? 'ELBO_RATE_LIMIT' : 'ELBO_ITEM_RATE_LIMIT';
    const value = text(name);
    if (value === undefined) return undefined;
    const [, number = '', window = ''] = /^([0-9]{1,9})\/(s|min)$/.exec(value) ?? [];
    if (!(Number(number) >= 1)) {
      throw new ConfigurationError(`${name}=${value}: expected ${VARIABLES[name].form}`);
    }
    return { [unit]: Number(number), windowMs: window === 's' ? 1000 : 60_000 } as Rate<Unit>;
  };

  const orNever = (name: IntegerVariable & VariablesWith<{ readonly default: number }>): number | undefined =>
    integer(name) || undefined;

  const provider = oneOf('ELBO_PROVIDER', VARIABLES.ELBO_PROVIDER);
  const devices = deviceNumbers(text('ELBO_DEVICES'));
  // A GPU takes one run at a time, so more workers would only copy the weights there again.
  const fallbackWorkers = provider === 'cuda' || provider === 'webgpu' ? (devices?.length ?? 1) : cpus;
  const workers = integerOr('ELBO_WORKERS', fallbackWorkers);
  const configuration: Configuration = {
    host: text('ELBO_HOST') ?? VARIABLES.ELBO_HOST.default,
    port: integer('ELBO_PORT'),
    modelsDirectory: resolve(text('ELBO_MODELS_DIR') ?? VARIABLES.ELBO_MODELS_DIR.default),
    defaultModel: text('ELBO_DEFAULT_MODEL'),
    provider,
    workers,
    threads: integerOr('ELBO_THREADS', Math.max(1, Math.floor(cpus / workers))),
    maxBatch: integer('ELBO_MAX_BATCH'),
    maxQueue: integer('ELBO_MAX_QUEUE'),
    batchDelay: integer('ELBO_BATCH_DELAY_MS'),
    requestTimeout: orNever('ELBO_REQUEST_TIMEOUT_MS'),
    runTimeout: orNever('ELBO_RUN_TIMEOUT_MS'),
    storePollInterval: orNever('ELBO_STORE_POLL_MS'),
    devices,
    bodyLimit: integer('ELBO_BODY_LIMIT'),
    maxConnections: integerOr('ELBO_MAX_CONNECTIONS', undefined),
    shutdownDelaySeconds: integer('ELBO_SHUTDOWN_DELAY'),
    security: {
      apiKeys: keys('ELBO_API_KEYS'),
      adminKeys: keys('ELBO_ADMIN_KEYS'),
      openRoutes: each('ELBO_OPEN_ROUTES', (item) => OPENABLE_ROUTES.find((route) => route === item)),
      rateLimit: rateLimit('requests'),
      itemRateLimit: rateLimit('items'),
      corsOrigins: each('ELBO_CORS_ORIGINS', (item) => (isOrigin(item) ? item : undefined)),
      trustedProxies: each('ELBO_TRUSTED_PROXIES', (item) => (isNetwork(item) ? item : undefined)),
    },
    logLevel: oneOf('ELBO_LOG_LEVEL', VARIABLES.ELBO_LOG_LEVEL),
    logRequests: oneOf('ELBO_LOG_REQUESTS', VARIABLES.ELBO_LOG_REQUESTS),
    tracing:
      text('OTEL_SDK_DISABLED')?.toLowerCase() !== 'true' &&
      TRACE_ENDPOINTS.some((name) => isEndpoint(name, text(name))),
  };
  return { configuration, warnings: unknownVariables(environment) };
}

function deviceNumbers(list: string | undefined): number[] | undefined {
  if (list === undefined) return undefined;
  const numbers = list.split(',').map((number) => (/^\s*[0-9]{1,3}\s*$/.test(number) ? Number(number) : Number.NaN));
  if (numbers.some(Number.isNaN) || new Set(numbers).size < numbers.length) {
    throw new ConfigurationError(`ELBO_DEVICES=${list}: expected ${VARIABLES.ELBO_DEVICES.form}`);
  }
  return numbers;
}

function isOrigin(text: string): boolean {
  return text === '*' || (URL.canParse(text) && new URL(text).origin === text);
}

function isNetwork(text: string): boolean {
  const [address = '', bits, ...more] = text.split('/');
  const longest = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
  if (more.length > 0) return false;
  return bits === undefined ? longest > 0 : /^[0-9]{1,3}$/.test(bits) && Number(bits) <= longest;
}

function isEndpoint(name: string, value: string | undefined): boolean {
  if (value === undefined) return false;
  if (URL.canParse(value) && /^https?:$/.test(new URL(value).protocol)) return true;
  throw new ConfigurationError(`${name}=${value}: expected an http or https URL`);
}

function unknownVariables(environment: Readonly<Record<string, string | undefined>>): string[] {
  const known = Object.keys(VARIABLES);
  return Object.keys(environment)
    .filter((name) => name.startsWith('ELBO_') && !known.includes(name))
    .sort()
    .map((name) => {
      const nearest = closestMatch(name, known);
      return `${name} is not a setting of this server and is ignored; did you mean ${nearest}?`;
    });
}
