import type { AggregatePosteriorRecord, Latent } from '@elbo/models';
import type { LatentDescription } from './latent-structure.js';

/** Latent dimensions up to which a manifest holds the whole covariance: a thousand numbers. */
const LARGEST_COVARIANCE = 32;
const SIGNIFICANT_DIGITS = 4;

/** What a manifest records of a latent space beyond its summary. */
export function latentRecord(
  description: LatentDescription,
  split: string,
): Required<Pick<Latent, 'aggregate_posterior' | 'traversal_ranges'>> {
  const { count, moments, traversalRanges } = description;
  const { mean, covariance, varianceOfMeans } = moments;
  const size = mean.length;
  const isSmall = size <= LARGEST_COVARIANCE;
  return {
    aggregate_posterior: {
      split,
      examples: count,
      mean: Array.from(mean, rounded),
      standard_deviation_of_means: Array.from(varianceOfMeans, (variance) => rounded(Math.sqrt(variance))),
      variance: Array.from(mean, (_, i) => rounded(covariance[i * size + i])),
      strongest_correlations: strongestCorrelations(covariance, size),
      ...(isSmall && {
        covariance: Array.from(mean, (_, i) => Array.from(covariance.subarray(i * size, (i + 1) * size), rounded)),
      }),
    },
    traversal_ranges: traversalRanges.map(([low, high]) => [rounded(low), rounded(high)]),
  };
}

/**
 * With which other dimension each correlates most, in either direction.
 * @param covariance [size, size], row-major, its diagonal above 0
 */
function strongestCorrelations(
  covariance: Float64Array,
  size: number,
): AggregatePosteriorRecord['strongest_correlations'] {
  if (size === 1) return [];
  const deviation = (i: number) => Math.sqrt(covariance[i * size + i]);
  return Array.from({ length: size }, (_, i) => {
    let strongest = { dimension: i === 0 ? 1 : 0, correlation: 0 };
    for (let j = 0; j < size; j++) {
      if (j === i) continue;
      const correlation = covariance[i * size + j] / (deviation(i) * deviation(j));
      if (Math.abs(correlation) > Math.abs(strongest.correlation)) strongest = { dimension: j, correlation };
    }
    return { ...strongest, correlation: rounded(strongest.correlation) };
  });
}

function rounded(value: number): number {
  return Number(value.toPrecision(SIGNIFICANT_DIGITS));
}
