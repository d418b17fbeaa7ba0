import { type Calibration, conformalThreshold } from '@elbo/models';
import { errorFunction, quantileSorted } from 'simple-statistics';

/** How component values become one score; constants of the scorer graph. Rows are components. */
export interface ScoreCombination {
  /** z = offset + Σ slope · clamp(value − start, low, high), one term a segment between two quantiles. */
  readonly knots: {
    readonly start: readonly (readonly number[])[];
    readonly low: readonly (readonly number[])[];
    readonly high: readonly (readonly number[])[];
    readonly slope: readonly (readonly number[])[];
    readonly offset: readonly number[];
  };
}

/** Rates that thresholds are stated for, where the held-out sample is large enough. */
const FALSE_POSITIVE_RATES = [0.001, 0.01, 0.05] as const;
const DEFAULT_FALSE_POSITIVE_RATE = 0.01;

/** Larger than any component, and still a float32. */
const UNBOUNDED = 1e30;

/**
 * Between the two outer segments. Their number together is a multiple of 4: ONNX Runtime's sum over a row of another
 * length rounds differently at different places of a batch, and a score must not depend on its batch mates.
 */
const INNER_SEGMENTS = 42;

/** Of an outer segment, as a share of a component's range or size, or of one nat or deviation. */
const LEAST_WIDTH = 1e-3;

/** Held-out examples that calibration takes at the least: half fit the combination, half state p-values. */
export const MINIMUM_HELD_OUT = 20;

/**
 * Fits the map of each component to a standard normal.
 * @param components one array of n values for each component, on held-out normal data
 */
export function fitCombination(components: readonly Float32Array[]): ScoreCombination {
  const maps = components.map((values) => quantileMap(Float64Array.from(values).sort()));
  return {
    knots: {
      start: maps.map((map) => map.start),
      low: maps.map((map) => map.start.map((_, i) => (i === 0 ? -UNBOUNDED : 0))),
      high: maps.map((map) => map.width.map((width, i) => (i === map.width.length - 1 ? UNBOUNDED : width))),
      slope: maps.map((map) => map.slope),
      offset: maps.map((map) => map.offset),
    },
  };
}

/**
 * The manifest's account of held-out scores.
 * @param sorted held-out scores in ascending order
 */
export function describeCalibration(sorted: Float32Array, dataset: string): Calibration {
  const stateable = FALSE_POSITIVE_RATES.filter((rate) => rate * (sorted.length + 1) >= 1);
  const fallback = 2 / (sorted.length + 1);
  const rates: readonly number[] = stateable.length > 0 ? stateable : [fallback];
  const defaultRate = rates.includes(DEFAULT_FALSE_POSITIVE_RATE) ? DEFAULT_FALSE_POSITIVE_RATE : Math.max(...rates);
  return {
    dataset,
    size: sorted.length,
    default_false_positive_rate: defaultRate,
    thresholds: rates.map((rate) => ({ false_positive_rate: rate, threshold: conformalThreshold(sorted, rate) })),
    score_quantiles: [0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1].map((probability) => ({
      probability,
      score: quantileSorted(Array.from(sorted), probability),
    })),
  };
}

interface QuantileMap {
  readonly start: readonly number[];
  readonly width: readonly number[];
  readonly slope: readonly number[];
  readonly offset: number;
}

/**
 * Piecewise linear from the quantiles of a sample to those of a standard normal. The outer segments are wide (one unit
 * of z) and go on beyond the sample with their slope, so that the few most extreme values do not set it.
 */
function quantileMap(sorted: Float64Array): QuantileMap {
  // The largest |z| with at least two held-out values beyond it.
  const reach = Math.min(3, largestZ(2 / sorted.length));
  const inner = reach - 1;
  const z = [
    -reach,
    ...Array.from({ length: INNER_SEGMENTS + 1 }, (_, i) => -inner + (2 * inner * i) / INNER_SEGMENTS),
    reach,
  ];
  const sample = Array.from(sorted);
  const quantiles = z.map((value) => quantileSorted(sample, (1 + errorFunction(value / Math.SQRT2)) / 2));
  // Where the outer quantiles are equal, as of rows that repeat, a value beyond them must not count as one of them.
  const last = quantiles.length - 1;
  const least =
    LEAST_WIDTH * Math.max(1, quantiles[last] - quantiles[0], Math.abs(quantiles[0]), Math.abs(quantiles[last]));
  quantiles[0] = Math.min(quantiles[0], quantiles[1] - least);
  quantiles[last] = Math.max(quantiles[last], quantiles[last - 1] + least);
  const width = quantiles.slice(1).map((quantile, i) => quantile - quantiles[i]);
  const rise = z.slice(1).map((value, i) => value - z[i]);
  // Between equal quantiles nothing is known of the slope; the value stays between theirs.
  const slope = width.map((length, i) => (length > 0 ? rise[i] / length : 0));
  const skipped = rise.reduce((sum, step, i) => sum + (width[i] > 0 ? 0 : step), 0);
  return { start: quantiles.slice(0, -1), width, slope, offset: -reach + skipped / 2 };
}

/** z with Φ(−z) = tail, by bisection. */
function largestZ(tail: number): number {
  let [low, high] = [1.1, 8];
  for (let i = 0; i < 50; i++) {
    const middle = (low + high) / 2;
    if ((1 - errorFunction(middle / Math.SQRT2)) / 2 > tail) low = middle;
    else high = middle;
  }
  return low;
}
