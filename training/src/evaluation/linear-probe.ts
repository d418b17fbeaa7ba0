import type { Embedding } from './embedding.js';
import { minimise } from './lbfgs.js';

/** Examples that a probe learns from at the most: bounds its memory and its time. */
export const PROBE_EXAMPLES = 50_000;

/** Embedded examples and the class of each. */
export interface Labelled {
  readonly embedding: Embedding;
  /** [count], whole numbers from 0. */
  readonly labels: ArrayLike<number>;
}

/**
 * How well a linear classifier tells classes from an embedding (Alain & Bengio, 2017): multinomial logistic regression on
 * standardised dimensions, the mean cross-entropy plus |W|² / (2 count), which is convex, solved by L-BFGS. Biases are
 * not penalised.
 * @param train what it learns from, and @param test what it is measured on, of the same size
 * @returns the share of the test examples whose class it names, from 0 to 1
 */
export function linearProbeAccuracy(train: Labelled, test: Labelled): number {
  const { size } = train.embedding;
  const classes = 1 + largest(train.labels);
  const scale = standardisation(train.embedding);
  const x = standardised(train.embedding, scale);
  const weights = minimise(
    (point) => crossEntropy(point, x, train.labels, { size, classes }),
    new Float64Array(classes * (size + 1)),
    { tolerance: 1e-5 },
  );
  const tested = standardised(test.embedding, scale);
  const scores = new Float64Array(classes);
  let right = 0;
  for (let i = 0; i < test.embedding.count; i++) {
    scoresOf(weights, tested, i, size, scores);
    let best = 0;
    for (let c = 1; c < classes; c++) if (scores[c] > scores[best]) best = c;
    if (best === test.labels[i]) right++;
  }
  return right / test.embedding.count;
}

/** The penalised mean cross-entropy of weights [classes, size + 1], the bias last, and its gradient. */
function crossEntropy(
  weights: Float64Array,
  x: Float64Array,
  labels: ArrayLike<number>,
  { size, classes }: { size: number; classes: number },
): { value: number; gradient: Float64Array } {
  const count = labels.length;
  const gradient = new Float64Array(weights.length);
  const scores = new Float64Array(classes);
  let value = 0;
  for (let i = 0; i < count; i++) {
    scoresOf(weights, x, i, size, scores);
    let highest = scores[0];
    for (let c = 1; c < classes; c++) highest = Math.max(highest, scores[c]);
    let total = 0;
    for (let c = 0; c < classes; c++) total += Math.exp(scores[c] - highest);
    value += (highest + Math.log(total) - scores[labels[i]]) / count;
    for (let c = 0; c < classes; c++) {
      const error = (Math.exp(scores[c] - highest) / total - (c === labels[i] ? 1 : 0)) / count;
      const row = c * (size + 1);
      for (let j = 0; j < size; j++) gradient[row + j] += error * x[i * size + j];
      gradient[row + size] += error;
    }
  }
  for (let at = 0; at < weights.length; at++) {
    if (at % (size + 1) === size) continue;
    value += weights[at] ** 2 / (2 * count);
    gradient[at] += weights[at] / count;
  }
  return { value, gradient };
}

function scoresOf(weights: Float64Array, x: Float64Array, row: number, size: number, scores: Float64Array): void {
  for (let c = 0; c < scores.length; c++) {
    const start = c * (size + 1);
    let score = weights[start + size];
    for (let j = 0; j < size; j++) score += weights[start + j] * x[row * size + j];
    scores[c] = score;
  }
}

interface Standardisation {
  readonly mean: Float64Array;
  readonly deviation: Float64Array;
}

function standardisation({ count, size, means }: Embedding): Standardisation {
  const mean = new Float64Array(size);
  const deviation = new Float64Array(size);
  for (let at = 0; at < means.length; at++) mean[at % size] += means[at] / count;
  for (let at = 0; at < means.length; at++) deviation[at % size] += (means[at] - mean[at % size]) ** 2 / count;
  // A dimension that never varies stays 0 rather than 0 / 0.
  return { mean, deviation: deviation.map((variance) => (variance === 0 ? 1 : Math.sqrt(variance))) };
}

function standardised({ size, means }: Embedding, { mean, deviation }: Standardisation): Float64Array {
  return Float64Array.from(means, (value, at) => (value - mean[at % size]) / deviation[at % size]);
}

function largest(labels: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < labels.length; i++) most = Math.max(most, labels[i]);
  return most;
}
