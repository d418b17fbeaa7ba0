import { RandomSource } from '@elbo/models';
import type { Embedding } from './embedding.js';
import { ACTIVE_VARIANCE } from './latent-structure.js';

/** Votes that the classifier learns from, and as many that it is measured on (Kim & Mnih, 2018, appendix B). */
export const VOTES = 800;
/** Examples of a vote, as in `disentanglement_lib`. */
export const EXAMPLES_PER_VOTE = 64;
/** Examples that the variance of each dimension over all factors is taken of. */
export const VARIANCE_EXAMPLES = 10_000;
/** Votes that are embedded at once: bounds the memory. */
const VOTES_AT_ONCE = 50;

/** Draws examples with the given factors, [count, factors], and embeds them. */
export type EmbedFactors = (factors: Uint8Array) => Promise<Embedding>;

/**
 * The metric of FactorVAE (Kim & Mnih, 2018, section 4): examples are drawn with one factor fixed; the latent dimension
 * whose variance among them, as a share of its variance over all examples, is least votes for that factor. The score is
 * the accuracy, on as many new votes, of the classifier that gives each dimension the factor it voted for most.
 * Dimensions that are not active take no part, for a share of nothing is no vote.
 * @param cardinalities number of values of each factor
 * @returns from the chance of 1 / factors to 1; 0 where no dimension is active
 */
export async function factorVaeScore(
  embed: EmbedFactors,
  cardinalities: readonly number[],
  seed: number,
): Promise<number> {
  const random = RandomSource.derived(seed, 'factor-vae');
  const variance = await varianceOverAll(embed, cardinalities, random);
  const active = Array.from(variance.keys()).filter((j) => variance[j] > ACTIVE_VARIANCE);
  if (active.length === 0) return 0;
  const varying = Array.from(cardinalities.keys()).filter((factor) => cardinalities[factor] > 1);
  const votes = async () => {
    const result: Vote[] = [];
    while (result.length < VOTES) {
      const fixed = Array.from({ length: Math.min(VOTES_AT_ONCE, VOTES - result.length) }, () => {
        const factor = varying[random.integer(varying.length)];
        return { factor, value: random.integer(cardinalities[factor]) };
      });
      const factors = drawFactors(fixed.length * EXAMPLES_PER_VOTE, cardinalities, random);
      fixed.forEach(({ factor, value }, vote) => {
        for (let i = 0; i < EXAMPLES_PER_VOTE; i++) {
          factors[(vote * EXAMPLES_PER_VOTE + i) * cardinalities.length + factor] = value;
        }
      });
      const embedding = await embed(factors);
      fixed.forEach(({ factor }, vote) => {
        const within = variances(embedding, vote * EXAMPLES_PER_VOTE, (vote + 1) * EXAMPLES_PER_VOTE);
        const share = (j: number) => within[j] / variance[j];
        result.push({ factor, dimension: active.reduce((least, j) => (share(j) < share(least) ? j : least)) });
      });
    }
    return result;
  };
  const counts = Array.from(variance, () => new Int32Array(cardinalities.length));
  for (const { factor, dimension } of await votes()) counts[dimension][factor]++;
  const tested = await votes();
  const right = tested.filter(({ factor, dimension }) => {
    const mostVoted = counts[dimension].indexOf(Math.max(...counts[dimension]));
    return factor === mostVoted;
  });
  return right.length / tested.length;
}

interface Vote {
  readonly factor: number;
  readonly dimension: number;
}

async function varianceOverAll(
  embed: EmbedFactors,
  cardinalities: readonly number[],
  random: RandomSource,
): Promise<Float64Array> {
  const embedding = await embed(drawFactors(VARIANCE_EXAMPLES, cardinalities, random));
  return variances(embedding, 0, embedding.count);
}

/** Uniform and independent: [count, factors]. */
function drawFactors(count: number, cardinalities: readonly number[], random: RandomSource): Uint8Array {
  const width = cardinalities.length;
  return Uint8Array.from({ length: count * width }, (_, at) => random.integer(cardinalities[at % width]));
}

/** Of each dimension over the examples from `start` to `end`. */
function variances({ size, means }: Embedding, start: number, end: number): Float64Array {
  const count = end - start;
  return Float64Array.from({ length: size }, (_, j) => {
    let mean = 0;
    for (let i = start; i < end; i++) mean += means[i * size + j] / count;
    let variance = 0;
    for (let i = start; i < end; i++) variance += (means[i * size + j] - mean) ** 2 / count;
    return variance;
  });
}
