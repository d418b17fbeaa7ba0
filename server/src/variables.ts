import { KEY_ENTRY_FORM } from './api-keys.js';
import { PROVIDERS } from './inference/provider.js';

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

/** Which requests get a line of their own at level info; others have one at debug. */
export const REQUEST_LOGGING = ['failed', 'all', 'none'] as const;

/** Routes that need no key where others do; health checks never need one. */
export const OPENABLE_ROUTES = ['metrics', 'docs'] as const;

const MIB = 1 << 20;

/** What one environment variable may be, for who reads it and for who describes it. */
interface Variable {
  /** What it is about, as a sentence without its full stop. */
  readonly meaning: string;
  /** The value where it is not set. */
  readonly default?: string | number;
  /** Where there is no such value: what happens then. */
  readonly unset?: string;
  /** Of integers. */
  readonly low?: number;
  readonly high?: number;
  readonly choices?: readonly string[];
  /** What values look like, for messages. */
  readonly form?: string;
}

/** Every variable of the service. `readConfiguration` takes limits, choices and defaults from here, and so do its descriptions. */
export const VARIABLES = {
  ELBO_HOST: { default: '0.0.0.0', form: 'an address', meaning: 'Address that is listened on' },
  ELBO_PORT: { default: 8080, low: 0, high: 65_535, meaning: 'Port; `0`: one that the operating system chooses' },
  ELBO_MODELS_DIR: {
    default: 'models',
    form: 'a directory',
    meaning: 'The model store; relative to the folder that the service is started in',
  },
  ELBO_DEFAULT_MODEL: {
    unset: '`mnist`, else the first by name',
    form: 'the name of a model',
    meaning: 'Who answers without `?model=`',
  },
  ELBO_PROVIDER: {
    default: 'auto',
    choices: PROVIDERS,
    meaning: 'What ONNX Runtime runs on; `auto` takes CUDA where it loads, and says so where not',
  },
  ELBO_WORKERS: {
    unset: 'the CPU quota; of GPUs one each',
    low: 1,
    high: 256,
    meaning: 'Inference threads, each with its own copy of the models',
  },
  ELBO_THREADS: {
    unset: 'the CPU quota by workers',
    low: 1,
    high: 256,
    meaning: 'Threads that ONNX Runtime uses inside one run',
  },
  ELBO_MAX_BATCH: { default: 64, low: 1, high: 4096, meaning: 'Items in one run at most' },
  ELBO_MAX_QUEUE: {
    default: 4096,
    low: 1,
    high: 1_000_000,
    meaning: 'Items accepted and not yet answered at most; beyond it requests get 503 at once',
  },
  ELBO_BATCH_DELAY_MS: {
    default: 0,
    low: 0,
    high: 10_000,
    meaning: 'Milliseconds that a batch which is not full waits for more',
  },
  ELBO_REQUEST_TIMEOUT_MS: {
    default: 30_000,
    low: 0,
    high: 3_600_000,
    meaning: 'Milliseconds after which a request is given up with 503; `0`: never',
  },
  ELBO_RUN_TIMEOUT_MS: {
    default: 60_000,
    low: 0,
    high: 3_600_000,
    meaning: 'Milliseconds in one batch after which a worker counts as hung and is replaced; `0`: never',
  },
  ELBO_STORE_POLL_MS: {
    default: 5_000,
    low: 0,
    high: 3_600_000,
    meaning: 'Milliseconds between two looks at the store for other versions; `0`: it is read at the start alone',
  },
  ELBO_DEVICES: {
    unset: 'the first GPU',
    form: 'numbers of GPUs, each once, such as 0,1',
    meaning: 'GPUs, which workers take in turn',
  },
  ELBO_BODY_LIMIT: {
    default: 16 * MIB,
    low: 1024,
    high: 1024 * MIB,
    meaning:
      'Bytes of one body at most, decompressed; of a stream of lines, of one line. Less where the memory does not hold it',
  },
  ELBO_MAX_CONNECTIONS: {
    unset: 'no limit',
    low: 1,
    high: 1_000_000,
    meaning: 'Connections open at once at most; more are closed',
  },
  ELBO_SHUTDOWN_DELAY: {
    default: 0,
    low: 0,
    high: 300,
    meaning: 'Seconds after SIGTERM that it is not ready and still takes requests, for balancers to see it',
  },
  ELBO_API_KEYS: {
    unset: 'open to everybody',
    form: KEY_ENTRY_FORM,
    meaning: 'Keys that may call, separated by commas',
  },
  ELBO_ADMIN_KEYS: {
    unset: 'these routes are not there',
    form: KEY_ENTRY_FORM,
    meaning: 'The same, of keys that may change what is served',
  },
  ELBO_OPEN_ROUTES: {
    unset: 'none',
    choices: OPENABLE_ROUTES,
    form: `some of ${OPENABLE_ROUTES.join(', ')}`,
    meaning: 'Routes that need no key where others need one; `/health/…` never does',
  },
  ELBO_RATE_LIMIT: {
    unset: 'no limit',
    form: 'requests a second or minute, such as 50/s or 600/min',
    meaning: 'Requests of each key, or of each address where a request has none',
  },
  ELBO_ITEM_RATE_LIMIT: {
    unset: 'no limit',
    form: 'items a second or minute, such as 50/s or 600/min',
    meaning: 'The same of items, whatever requests they are in',
  },
  ELBO_CORS_ORIGINS: {
    unset: 'none',
    form: '* or origins such as https://example.org',
    meaning: 'Origins of pages that may call, separated by commas',
  },
  ELBO_TRUSTED_PROXIES: {
    unset: 'none',
    form: 'addresses or networks such as 10.0.0.0/8',
    meaning: 'Proxies whose `X-Forwarded-For` is believed, separated by commas',
  },
  ELBO_LOG_LEVEL: { default: 'info', choices: LOG_LEVELS, meaning: 'Least level of what is logged' },
  ELBO_LOG_REQUESTS: {
    default: 'failed',
    choices: REQUEST_LOGGING,
    meaning:
      'Requests with a line at `info`: `failed` are those answered with 500 or more; the others have one at `debug`',
  },
} as const satisfies Readonly<Record<string, Variable>>;

export type VariableName = keyof typeof VARIABLES;
/** Names of variables that have a property, such as those of integers. */
export type VariablesWith<Property> = {
  [Name in VariableName]: (typeof VARIABLES)[Name] extends Property ? Name : never;
}[VariableName];
export type IntegerVariable = VariablesWith<{ readonly low: number; readonly high: number }>;

/** What each variable may be and what happens where it is not set, in words. */
export const describedVariables: readonly {
  readonly name: string;
  readonly default: string;
  readonly values: string;
  readonly meaning: string;
}[] = Object.entries<Variable>(VARIABLES).map(([name, { meaning, ...variable }]) => ({
  name,
  default: variable.default === undefined ? (variable.unset ?? '') : `\`${variable.default}\``,
  values: valuesOf(variable),
  meaning,
}));

function valuesOf({ low, high, choices, form }: Omit<Variable, 'meaning'>): string {
  if (low !== undefined && high !== undefined) return `an integer from ${low} to ${high}`;
  return form ?? choices?.map((choice) => `\`${choice}\``).join(', ') ?? '';
}

/** What `--help` prints: the variables, in a line or two each. */
export function variablesHelp(): string {
  const plain = (text: string) => text.replaceAll('`', '');
  return [
    'Settings are environment variables:',
    ...describedVariables.map(
      ({ name, default: fallback, values, meaning }) =>
        `\n  ${name}  (default: ${plain(fallback)})\n      ${plain(meaning)}: ${plain(values)}`,
    ),
    "\nTraces go where OpenTelemetry's own variables say, such as OTEL_EXPORTER_OTLP_ENDPOINT.",
  ].join('\n');
}
