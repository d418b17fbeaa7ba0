import type { Calibration } from './manifest.js';

/**
 * Conformal p-value of a score: `(1 + #{held-out scores >= score}) / (n + 1)`.
 * Uniform on held-out normal data, whatever the distribution of the scores (Vovk et al., 2005).
 * @param sorted held-out scores in ascending order
 * @throws {RangeError} where the score is NaN, which no p-value can be stated for
 */
export function conformalPValue(sorted: Float32Array, score: number): number {
  if (Number.isNaN(score)) throw new RangeError('score is NaN; expected a number');
  // First index whose held-out score is >= score.
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as number) < score) low = middle + 1;
    else high = middle;
  }
  return (1 + sorted.length - low) / (sorted.length + 1);
}

/**
 * The threshold whose exceedance is the same event as `conformalPValue(sorted, score) <= falsePositiveRate`.
 * @param sorted held-out scores in ascending order
 * @throws {RangeError} where n scores are too few to state that rate: it must be at least 1 / (n + 1)
 */
export function conformalThreshold(sorted: Float32Array, falsePositiveRate: number): number {
  const n = sorted.length;
  const exceeding = Math.floor(falsePositiveRate * (n + 1) + 1e-9) - 1;
  if (!(exceeding >= 0 && exceeding < n)) {
    throw new RangeError(
      `false_positive_rate ${falsePositiveRate} cannot be stated from ${n} held-out scores; expected ${1 / (n + 1)} to 1 (exclusive)`,
    );
  }
  return sorted[n - 1 - exceeding] as number;
}

/**
 * The threshold at a false-positive rate: the one that the manifest states, so that its text is exact, else computed.
 * @param sorted held-out scores in ascending order
 * @throws {RangeError} where they are too few to state that rate
 */
export function thresholdAt({ thresholds }: Calibration, sorted: Float32Array, falsePositiveRate: number): number {
  const stated = thresholds.find((entry) => entry.false_positive_rate === falsePositiveRate);
  return stated?.threshold ?? conformalThreshold(sorted, falsePositiveRate);
}

/**
 * Kolmogorov-Smirnov distance of p-values to uniform.
 * @param sorted ascending, 0 to 1
 * @param step between p-values that can come: k · step stands for all that lies between (k − 1) · step and k · step
 */
export function distanceToUniform(sorted: Float64Array, step = 0): number {
  const n = sorted.length;
  return sorted.reduce((largest, value, i) => Math.max(largest, (i + 1) / n - value, value - step - i / n), 0);
}
