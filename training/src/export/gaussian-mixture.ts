import { RandomSource } from '@elbo/models';

export interface FitOptions {
  /** K */
  readonly components: number;
  /** Z */
  readonly size: number;
  readonly seed: number;
}

/** Log weights [K], means and log variances [K, Z]. */
export interface FittedMixture {
  readonly logWeight: Float32Array;
  readonly mean: Float32Array;
  readonly logVariance: Float32Array;
}

const MAX_ITERATIONS = 100;
/** In nats an example: less progress than this ends the fit. */
const TOLERANCE = 1e-4;
/** No narrower than this share of the variance of all: a component of one example would be infinitely dense. */
const SMALLEST_VARIANCE = 1e-3;

/**
 * A mixture of normals with diagonal covariances by expectation maximisation (Dempster et al., 1977; Bishop, 2006,
 * section 9.2.2), from centres that are spread as k-means++ does (Arthur & Vassilvitskii, 2007).
 * @param samples [n, size], finite; with fewer samples than components, those that are left over weigh nothing
 */
export function fitGaussianMixture(samples: Float32Array, { components, size, seed }: FitOptions): FittedMixture {
  const count = samples.length / size;
  const overall = momentsOf(samples, size);
  const floor = overall.variance.map((variance) => Math.max(SMALLEST_VARIANCE * variance, 1e-8));
  const mean = Float64Array.from(spreadCentres(samples, { components, size, seed }));
  const variance = Float64Array.from({ length: components * size }, (_, i) =>
    Math.max(overall.variance[i % size], floor[i % size]),
  );
  const weight = new Float64Array(components).fill(1 / components);
  const responsibility = new Float64Array(components);
  let before = Number.NEGATIVE_INFINITY;

  for (let iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
    const constant = weight.map((share, k) => {
      let sum = Math.log(share) - 0.5 * size * Math.log(2 * Math.PI);
      for (let j = 0; j < size; j++) sum -= 0.5 * Math.log(variance[k * size + j]);
      return sum;
    });
    const precision = variance.map((value) => 1 / value);
    const total = new Float64Array(components);
    const sums = new Float64Array(components * size);
    const squares = new Float64Array(components * size);
    let logLikelihood = 0;
    for (let i = 0; i < count; i++) {
      let largest = Number.NEGATIVE_INFINITY;
      for (let k = 0; k < components; k++) {
        let distance = 0;
        for (let j = 0; j < size; j++) {
          const difference = samples[i * size + j] - mean[k * size + j];
          distance += difference * difference * precision[k * size + j];
        }
        responsibility[k] = constant[k] - 0.5 * distance;
        largest = Math.max(largest, responsibility[k]);
      }
      let sum = 0;
      for (let k = 0; k < components; k++) {
        responsibility[k] = Math.exp(responsibility[k] - largest);
        sum += responsibility[k];
      }
      logLikelihood += largest + Math.log(sum);
      for (let k = 0; k < components; k++) {
        const share = responsibility[k] / sum;
        if (share < 1e-12) continue;
        total[k] += share;
        for (let j = 0; j < size; j++) {
          const value = samples[i * size + j];
          sums[k * size + j] += share * value;
          squares[k * size + j] += share * value * value;
        }
      }
    }
    for (let k = 0; k < components; k++) {
      weight[k] = total[k] / count;
      if (total[k] < 1e-9) continue;
      for (let j = 0; j < size; j++) {
        const at = k * size + j;
        mean[at] = sums[at] / total[k];
        variance[at] = Math.max(squares[at] / total[k] - mean[at] ** 2, floor[j]);
      }
    }
    if (logLikelihood / count - before < TOLERANCE) break;
    before = logLikelihood / count;
  }
  return {
    // A weight of 0 stays finite in a graph.
    logWeight: Float32Array.from(weight, (share) => Math.log(Math.max(share, 1e-30))),
    mean: Float32Array.from(mean),
    logVariance: Float32Array.from(variance, Math.log),
  };
}

function momentsOf(samples: Float32Array, size: number): { mean: Float64Array; variance: Float64Array } {
  const count = samples.length / size;
  const mean = new Float64Array(size);
  const variance = new Float64Array(size);
  for (const [i, value] of samples.entries()) mean[i % size] += value / count;
  for (const [i, value] of samples.entries()) variance[i % size] += (value - mean[i % size]) ** 2 / count;
  return { mean, variance };
}

/** Samples drawn one after the other, each with a probability as the square of its distance to the nearest so far. */
function spreadCentres(samples: Float32Array, { components, size, seed }: FitOptions): Float32Array {
  const count = samples.length / size;
  const random = RandomSource.derived(seed, 'mixture');
  const centres = new Float32Array(components * size);
  const distance = new Float64Array(count).fill(Number.POSITIVE_INFINITY);
  let next = random.integer(count);
  for (let k = 0; k < components; k++) {
    centres.set(samples.subarray(next * size, (next + 1) * size), k * size);
    let total = 0;
    for (let i = 0; i < count; i++) {
      let square = 0;
      for (let j = 0; j < size; j++) square += (samples[i * size + j] - centres[k * size + j]) ** 2;
      distance[i] = Math.min(distance[i], square);
      total += distance[i];
    }
    let left = random.uniform() * total;
    next = distance.findIndex((square) => {
      left -= square;
      return left < 0;
    });
    if (next < 0) next = random.integer(count);
  }
  return centres;
}
