import { extent } from 'simple-statistics';
import type { Factors } from '../data/dataset.js';
import type { Embedding } from './embedding.js';
import { factorColumns, latentColumn, varyingFactors } from './factors.js';

/** Of equal width, from the least to the greatest mean of a dimension (Locatello et al., 2019, appendix B). */
export const BINS = 20;

/**
 * The mutual information gap (Chen et al., 2018, eq. 6): for each factor, how much more the latent dimension that knows
 * most of it knows than the second, as a share of the factor's entropy; their mean over the factors that vary.
 * Estimated from a histogram of the posterior means.
 * @returns from 0, where two dimensions know as much, to 1, where one knows all
 */
export function mutualInformationGap(embedding: Embedding, factors: Factors): number {
  const binned = Array.from({ length: embedding.size }, (_, j) => bins(latentColumn(embedding, j)));
  const columns = factorColumns(factors);
  const gaps = varyingFactors(factors).map((factor) => {
    const { cardinality, values } = columns[factor];
    const entropy = entropyOf(values, cardinality);
    const information = binned
      .map((places) => {
        const joint = places.map((place, i) => place * cardinality + values[i]);
        return entropyOf(places, BINS) + entropy - entropyOf(joint, BINS * cardinality);
      })
      .sort((a, b) => b - a);
    return (information[0] - (information[1] ?? 0)) / entropy;
  });
  return gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
}

/** The bin of each value. */
function bins(values: Float64Array): Uint16Array {
  const [low, high] = extent(Array.from(values));
  return Uint16Array.from(values, (value) =>
    high === low ? 0 : Math.min(BINS - 1, Math.floor((BINS * (value - low)) / (high - low))),
  );
}

/** In nats, of how often each of some numbers comes. */
function entropyOf(values: ArrayLike<number>, cardinality: number): number {
  const counts = new Float64Array(cardinality);
  for (let i = 0; i < values.length; i++) counts[values[i]]++;
  return counts.reduce((sum, count) => {
    const share = count / values.length;
    return count === 0 ? sum : sum - share * Math.log(share);
  }, 0);
}
