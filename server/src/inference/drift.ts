import { distanceToUniform } from '@elbo/models';

/** Scores that the distance to uniform is computed over: the last ones, whatever time they took to come. */
const WINDOW = 1000;

/** Below that, a distance says nothing. */
const FEWEST = 20;

export interface Drift {
  /** Items in the window: the last ones scored, at most 1,000. */
  readonly items: number;
  /** Kolmogorov-Smirnov distance of their p-values to uniform. */
  readonly distance: number;
  /** How likely so large a distance is while inputs are as in the calibration. */
  readonly pValue: number;
}

/**
 * Watches the p-values of a model. They are uniform while inputs are as those that the model was calibrated on; where the
 * inputs drift, their distance to uniform grows, long before single items are called anomalous.
 */
export class DriftMonitor {
  readonly #calibrationSize: number;
  readonly #window = new Float64Array(WINDOW);
  #seen = 0;

  /** @param calibrationSize held-out scores that p-values are computed from: their own sampling error counts, too */
  constructor(calibrationSize: number) {
    this.#calibrationSize = calibrationSize;
  }

  add(pValue: number): void {
    this.#window[this.#seen % WINDOW] = pValue;
    this.#seen++;
  }

  /** Undefined until 20 items were scored. */
  get drift(): Drift | undefined {
    const items = Math.min(this.#seen, WINDOW);
    if (items < FEWEST) return undefined;
    const distance = distanceToUniform(this.#window.slice(0, items).sort(), 1 / (this.#calibrationSize + 1));
    return { items, distance, pValue: kolmogorovTail(distance, items, this.#calibrationSize) };
  }
}

/**
 * The probability of a distance at least as large between samples of n and of m from one distribution, by the asymptotic
 * formula with Stephens' correction (Press et al., Numerical Recipes, 3rd ed., 14.3.3).
 */
export function kolmogorovTail(distance: number, n: number, m: number): number {
  const root = Math.sqrt((n * m) / (n + m));
  const lambda = (root + 0.12 + 0.11 / root) * distance;
  // The series converges slowly near 0, where the tail is 1 to many digits.
  if (lambda < 0.2) return 1;
  let sum = 0;
  for (let k = 1; k <= 100; k++) {
    const term = (k % 2 === 1 ? 2 : -2) * Math.exp(-2 * k * k * lambda * lambda);
    sum += term;
    if (Math.abs(term) < 1e-12) break;
  }
  return Math.min(1, Math.max(0, sum));
}
