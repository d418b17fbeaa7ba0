import { ConfigurationError } from './configuration-error.js';
import { bernoulli } from './likelihoods/bernoulli.js';
import { categorical, mixed } from './likelihoods/columns.js';
import { discretisedLogistic } from './likelihoods/discretised-logistic.js';
import { gaussian } from './likelihoods/gaussian.js';
import { isTable, type Likelihood, type LikelihoodData, type LikelihoodFamily } from './likelihoods/likelihood.js';
import { negativeBinomial } from './likelihoods/negative-binomial.js';

export type { CountMoments, DataMoments, Likelihood, LikelihoodData } from './likelihoods/likelihood.js';

/** By their name in a configuration. */
export const LIKELIHOODS = {
  bernoulli,
  gaussian,
  'discretised-logistic': discretisedLogistic,
  'negative-binomial': negativeBinomial,
  categorical,
  mixed,
} as const satisfies Readonly<Record<string, LikelihoodFamily>>;
export type LikelihoodName = keyof typeof LIKELIHOODS;

/**
 * The likelihood of a configuration for some data.
 * @throws {ConfigurationError} where it does not suit them, naming those that do
 */
export function likelihoodFor(name: LikelihoodName, data: LikelihoodData): Likelihood {
  const suiting = Object.entries<LikelihoodFamily>(LIKELIHOODS)
    .filter(([, family]) => suits(family, data))
    .map(([other]) => other);
  if (suiting.includes(name)) return LIKELIHOODS[name].create(data);
  throw new ConfigurationError(`likelihood is ${name}; expected ${suiting.join(' or ')} for ${described(data)}`);
}

function suits({ images, tables }: LikelihoodFamily, data: LikelihoodData): boolean {
  if (!isTable(data)) return images === 'any' || (images === 'bytes' && data.dtype !== 'float32');
  const kinds = new Set(data.columns?.map(({ kind }) => kind));
  switch (tables) {
    case 'none':
      return false;
    case 'columns':
      return true;
    case 'codes':
      return kinds.size === 1 && kinds.has('categorical');
    default:
      return !kinds.has('categorical');
  }
}

function described(data: LikelihoodData): string {
  if (!isTable(data)) return data.dtype === 'float32' ? 'images of numbers' : 'images of bytes';
  const column = data.columns?.find(({ kind }) => kind === 'categorical');
  return column === undefined ? 'rows of numbers' : `columns with categories, such as ${JSON.stringify(column.name)}`;
}
