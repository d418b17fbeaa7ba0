import { type FactoredEmbedding, factorColumns, latentColumn, varyingFactors } from './factors.js';
import { minimise } from './lbfgs.js';

/** C of the support vector machine, and examples that it learns from at the most, both as in `disentanglement_lib`. */
export const SVM_COST = 0.01;
export const SVM_EXAMPLES = 10_000;

/**
 * The separated attribute predictability (Kumar et al., 2018, section 3): for each factor, how much better the best
 * single latent dimension predicts it than the second best; their mean over the factors that vary.
 * A prediction's score is the accuracy, on the test examples, of a linear support vector machine on that dimension alone,
 * as in `disentanglement_lib` (Locatello et al., 2019, appendix B): one class against the rest, squared hinge loss.
 * @returns from 0, where two dimensions predict as well, to 1 − 1 / (values of a factor)
 */
export function separatedAttributePredictability(train: FactoredEmbedding, test: FactoredEmbedding): number {
  const factors = { train: factorColumns(train.factors), test: factorColumns(test.factors) };
  const dimensions = Array.from({ length: train.embedding.size }, (_, j) => ({
    train: latentColumn(train.embedding, j),
    test: latentColumn(test.embedding, j),
  }));
  const gaps = varyingFactors(test.factors).map((factor) => {
    const { cardinality, values } = factors.train[factor];
    const scores = dimensions
      .map((dimension) => {
        const lines = Array.from({ length: cardinality }, (_, c) => supportVectorLine(dimension.train, values, c));
        const right = dimension.test.filter((z, i) => highest(lines, z) === factors.test[factor].values[i]);
        return right.length / dimension.test.length;
      })
      .sort((a, b) => b - a);
    return scores[0] - (scores[1] ?? 0);
  });
  return gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
}

interface Line {
  readonly slope: number;
  readonly intercept: number;
}

/**
 * Separates one class from the rest along a dimension, as LIBLINEAR does with balanced classes:
 * ½ (w² + b²) + C Σ c_i max(0, 1 − y_i (w z_i + b))², c_i = count / (classes · examples of its class) of the class, 1 of
 * the rest (Fan et al., 2008).
 */
function supportVectorLine(z: Float64Array, classes: Uint8Array, positive: number): Line {
  const members = classes.reduce((sum, value) => sum + (value === positive ? 1 : 0), 0);
  const present = new Set(classes).size;
  // A class that training lacks must never be named.
  if (members === 0) return { slope: 0, intercept: Number.NEGATIVE_INFINITY };
  const weight = z.length / (present * members);
  const [slope, intercept] = minimise((point) => {
    const [w, b] = point;
    const gradient = Float64Array.of(w, b);
    let value = (w * w + b * b) / 2;
    for (let i = 0; i < z.length; i++) {
      const isMember = classes[i] === positive;
      const sign = isMember ? 1 : -1;
      const slack = 1 - sign * (w * z[i] + b);
      if (slack <= 0) continue;
      const cost = SVM_COST * (isMember ? weight : 1);
      value += cost * slack * slack;
      gradient[0] -= 2 * cost * slack * sign * z[i];
      gradient[1] -= 2 * cost * slack * sign;
    }
    return { value, gradient };
  }, new Float64Array(2));
  return { slope, intercept };
}

function highest(lines: readonly Line[], z: number): number {
  let best = 0;
  let score = Number.NEGATIVE_INFINITY;
  for (const [c, { slope, intercept }] of lines.entries()) {
    const value = slope * z + intercept;
    if (value > score) {
      best = c;
      score = value;
    }
  }
  return best;
}
