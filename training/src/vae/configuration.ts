import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MODEL_NAME_PATTERN } from '@elbo/models';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { Errors } from 'typebox/value';
import { ACTIVATIONS } from '../nn/layers.js';
import { LIKELIHOODS } from './likelihoods.js';
import { PRIORS } from './priors.js';

/** A configuration that cannot be used; the message names the field and what it should hold. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
}

const oneOf = <T extends string>(names: readonly T[]) => Type.Enum(names as [T, ...T[]]);
const closed = { additionalProperties: false } as const;

const NetworkSchema = Type.Object(
  { hidden: Type.Array(Type.Integer({ minimum: 1, maximum: 65_536 }), { minItems: 1, maxItems: 32 }) },
  closed,
);

export const ConfigurationSchema = Type.Object(
  {
    name: Type.String({ pattern: MODEL_NAME_PATTERN, description: 'Name of the exported model' }),
    description: Type.String(),
    dataset: Type.String(),
    family: oneOf(['vae']),
    likelihood: oneOf(Object.keys(LIKELIHOODS) as (keyof typeof LIKELIHOODS)[]),
    prior: oneOf(Object.keys(PRIORS) as (keyof typeof PRIORS)[]),
    latent_size: Type.Integer({ minimum: 1, maximum: 65_536 }),
    activation: oneOf(Object.keys(ACTIVATIONS) as (keyof typeof ACTIVATIONS)[]),
    encoder: NetworkSchema,
    decoder: NetworkSchema,
    log_variance_limit: Type.Number({
      exclusiveMinimum: 0,
      maximum: 40,
      description: 'log variance is clamped to ±this',
    }),
    batch_size: Type.Integer({ minimum: 1, maximum: 65_536 }),
    epochs: Type.Integer({ minimum: 1, maximum: 1_000_000 }),
    kl_warm_up_fraction: Type.Number({
      minimum: 0,
      maximum: 1,
      description: 'The weight of the KL term rises from 0 to 1 over this part of the run',
    }),
    optimiser: Type.Object(
      {
        kind: oneOf(['adam']),
        learning_rate: Type.Number({ exclusiveMinimum: 0, maximum: 1 }),
        beta1: Type.Number({ minimum: 0, exclusiveMaximum: 1 }),
        beta2: Type.Number({ minimum: 0, exclusiveMaximum: 1 }),
        epsilon: Type.Number({ exclusiveMinimum: 0, maximum: 1 }),
        gradient_norm_limit: Type.Number({
          exclusiveMinimum: 0,
          description: 'Longer gradients are scaled down to it',
        }),
      },
      closed,
    ),
    learning_rate_schedule: Type.Object(
      {
        kind: oneOf(['constant', 'cosine']),
        final_fraction: Type.Number({ minimum: 0, maximum: 1, description: 'Of the learning rate, at the last step' }),
      },
      closed,
    ),
    validation_fraction: Type.Number({ exclusiveMinimum: 0, maximum: 0.5 }),
    seed: Type.Integer({ minimum: 0, maximum: 0xffff_ffff }),
  },
  closed,
);
/** A complete training run: everything but the data. */
export type Configuration = Static<typeof ConfigurationSchema>;

const validator = Compile(ConfigurationSchema);
const presetDirectory = fileURLToPath(new URL('../../presets/', import.meta.url));

/** @throws {ConfigurationError} naming the first field that is wrong */
export function parseConfiguration(json: unknown): Configuration {
  if (validator.Check(json)) return json;
  const [first] = Errors(ConfigurationSchema, json);
  if (first === undefined) throw new ConfigurationError('the configuration is not valid');
  const field = first.instancePath.slice(1).replaceAll('/', '.');
  if (first.keyword === 'boolean') throw new ConfigurationError(`${field} is not a field of a configuration`);
  throw new ConfigurationError(`${field === '' ? 'configuration' : field} ${first.message}${allowed(first.params)}`);
}

export function presetNames(): string[] {
  return readdirSync(presetDirectory)
    .filter((file) => file.endsWith('.json'))
    .map((file) => basename(file, '.json'))
    .sort();
}

/** @throws {ConfigurationError} for an unknown name, listing the known ones */
export function loadPreset(name: string): Configuration {
  if (!presetNames().includes(name)) {
    throw new ConfigurationError(`preset "${name}" is not known; there are: ${presetNames().join(', ')}`);
  }
  return parseConfiguration(JSON.parse(readFileSync(join(presetDirectory, `${name}.json`), 'utf8')));
}

/**
 * Applies `--set key=value` overrides: a dotted path to an existing field, and a JSON value or plain text.
 * @throws {ConfigurationError} naming the key that is unknown or the value that does not fit
 */
export function override(configuration: Configuration, assignments: readonly string[]): Configuration {
  const copy: Record<string, unknown> = structuredClone(configuration);
  for (const assignment of assignments) {
    const at = assignment.indexOf('=');
    if (at < 1) throw new ConfigurationError(`--set ${assignment}: expected key=value, for instance batch_size=64`);
    const path = assignment.slice(0, at).split('.');
    const last = path.pop() as string;
    let target: unknown = copy;
    for (const key of path) target = isRecord(target) && Object.hasOwn(target, key) ? target[key] : undefined;
    if (!isRecord(target) || !Object.hasOwn(target, last)) {
      throw new ConfigurationError(`--set ${assignment}: no such field; \`elbo presets NAME\` shows all of them`);
    }
    target[last] = parseValue(assignment.slice(at + 1));
  }
  return parseConfiguration(copy);
}

function parseValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function allowed(params: unknown): string {
  if (!isRecord(params)) return '';
  if (Array.isArray(params.allowedValues)) return `: ${params.allowedValues.join(', ')}`;
  if (Array.isArray(params.additionalProperties)) return `: ${params.additionalProperties.join(', ')}`;
  return '';
}
