import type { Column } from '@elbo/models';
import type { Parameter, Weights } from '../../nn/parameters.js';
import {
  add,
  argMax,
  cast,
  clip,
  concat,
  flatten,
  gather,
  isNan,
  logSoftmax,
  mul,
  neg,
  oneHot,
  reduceSum,
  reshape,
  round,
  slice,
  softplus,
  split,
  sub,
  where,
  zerosLike,
} from '../../onnx/ops.js';
import { int64, type Tensor } from '../../onnx/tensor.js';
import { normals } from './gaussian.js';
import { dataSize, type Likelihood, type LikelihoodData, type LikelihoodFamily } from './likelihood.js';

/**
 * Each column of a table by what it holds: numbers have a Gaussian likelihood, all with one σ; codes of categories are
 * drawn from a softmax over the column's categories. The encoder sees numbers standardised and codes as one-hot vectors.
 * Of numbers alone, it is the Gaussian likelihood. A missing code is a category of its own. Whether a number is missing has
 * a Bernoulli likelihood; the encoder sees the column's mean then, and that it is missing, and nothing more is asked of it.
 */
export const mixed: LikelihoodFamily = {
  images: 'none',
  tables: 'columns',
  create: (data) => columnwise('mixed', data),
};

/** Codes of categories alone. A column that is not described has as many as its largest code in training says. */
export const categorical: LikelihoodFamily = {
  images: 'none',
  tables: 'codes',
  create: (data) => columnwise('categorical', data),
};

/** Columns that are computed as one tensor, of those that the decoder's output and the encoder's input hold side by side. */
interface Group {
  /** Their places in an example. */
  readonly columns: readonly number[];
  /** Those among them, by place in the example, that hold codes. */
  readonly codes: readonly number[];
  /** K: numbers that the encoder sees, and that the decoder gives. */
  readonly size: number;
  readonly parameters: readonly Parameter[];
  /** [N, columns] → [N, K] */
  present(x: Tensor, weights: Weights): Tensor;
  /** −log p(x | z): [N, columns], [N, K] → [N]. */
  nats(x: Tensor, decoded: Tensor, weights: Weights): Tensor;
  /** [N, K] → [N, columns] */
  mean(decoded: Tensor, weights: Weights): Tensor;
  /** [N, columns], [N, K] → [N, columns] */
  deviance(x: Tensor, decoded: Tensor, weights: Weights): Tensor;
}

function columnwise(kind: string, data: LikelihoodData): Likelihood {
  const groups = groupsOf(data);
  const order = groups.flatMap(({ columns }) => columns);
  const places = order.map((_, column) => order.indexOf(column));
  const sizes = groups.map(({ size }) => size);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  /** What a group makes of its columns and of its part of the decoder's output. */
  const ofEach = (decoded: Tensor, make: (group: Group, part: Tensor) => Tensor): Tensor[] => {
    const parts = groups.length === 1 ? [decoded] : split(decoded, 1, sizes);
    return groups.map((group, i) => make(group, parts[i]));
  };
  const own = (x: Tensor, { columns }: Group) => (groups.length === 1 ? x : picked(x, columns));
  /** Side by side, in the order of the data. */
  const joined = (parts: readonly Tensor[]) => (parts.length === 1 ? parts[0] : picked(concat(parts, 1), places));
  return {
    kind,
    parameters: groups.flatMap(({ parameters }) => parameters),
    presentedShape: [total],
    decodedShape: [total],
    codes: groups.flatMap(({ codes }) => codes),
    present(x, weights) {
      const parts = groups.map((group) => group.present(own(x, group), weights));
      return parts.length === 1 ? parts[0] : concat(parts, 1);
    },
    negativeLogLikelihood: (x, decoded, weights) =>
      ofEach(decoded, (group, part) => group.nats(own(x, group), part, weights)).reduce((sum, nats) => add(sum, nats)),
    mean: (decoded, weights) => joined(ofEach(decoded, (group, part) => group.mean(part, weights))),
    deviance: (x, decoded, weights) =>
      joined(ofEach(decoded, (group, part) => group.deviance(own(x, group), part, weights))),
  };
}

/** Numeric columns together, and columns of as many categories together, so that the graph stays small. */
function groupsOf(data: LikelihoodData): Group[] {
  const columns: readonly (Column | undefined)[] = data.columns ?? new Array<undefined>(dataSize(data)).fill(undefined);
  const numeric: number[] = [];
  const coded = new Map<string, { categories: number; mayMiss: boolean; places: number[] }>();
  for (const [place, column] of columns.entries()) {
    if (column?.kind !== 'categorical') {
      numeric.push(place);
      continue;
    }
    const [categories, mayMiss] = [column.categories.length, column.missing === true];
    const group = coded.get(`${categories} ${mayMiss}`) ?? { categories, mayMiss, places: [] };
    group.places.push(place);
    coded.set(`${categories} ${mayMiss}`, group);
  }
  const order = (a: { categories: number; mayMiss: boolean }) => 2 * a.categories + (a.mayMiss ? 1 : 0);
  return [
    ...(numeric.length === 0 ? [] : [numbers(numeric, data)]),
    ...[...coded.values()].sort((a, b) => order(a) - order(b)).map(codes),
  ];
}

/** Normals of these columns alone, and which of their values are missing. */
function numbers(columns: readonly number[], { columns: described, moments }: LikelihoodData): Group {
  const of = (values: Float64Array) => Float64Array.from(columns, (column) => values[column]);
  const count = columns.length;
  const table = normals({
    shape: [count],
    moments: moments && { mean: of(moments.mean), variance: of(moments.variance) },
  });
  const missing = columns.flatMap((column, place) => (described?.[column]?.missing ? [place] : []));
  if (missing.length === 0) {
    const nats: Group['nats'] = (x, decoded, weights) => reduceSum(table.nats(x, decoded, weights), [1]);
    return { ...table, columns, codes: [], size: count, nats };
  }
  const isMissing = (x: Tensor) => cast(isNan(picked(x, missing)), 'float32');
  const observed = (x: Tensor, values: Tensor) => where(isNan(x), 0, values);
  // A NaN would pass through the arithmetic into gradients, where a factor of 0 does not stop it.
  const filled = (x: Tensor) => observed(x, x);
  const parts = (decoded: Tensor) => split(decoded, 1, [count, missing.length]);
  /** −log p of whether each of the columns that may miss does: [N, missing]. */
  const presence = (x: Tensor, logits: Tensor) => sub(softplus(logits), mul(isMissing(x), logits));
  // A column that never misses takes the column of zeros at the end.
  const spread = columns.map((_, place) => (missing.includes(place) ? missing.indexOf(place) : missing.length));
  return {
    columns,
    codes: [],
    size: count + missing.length,
    parameters: table.parameters,
    present: (x, weights) => concat([observed(x, table.present(filled(x), weights)), isMissing(x)], 1),
    nats(x, decoded, weights) {
      const [values, logits] = parts(decoded);
      const nats = observed(x, table.nats(filled(x), values, weights));
      return add(reduceSum(nats, [1]), reduceSum(presence(x, logits), [1]));
    },
    mean: (decoded, weights) => table.mean(parts(decoded)[0], weights),
    deviance(x, decoded, weights) {
      const [values, logits] = parts(decoded);
      const unlikely = presence(x, logits);
      const none = zerosLike(picked(unlikely, [0]));
      return add(observed(x, table.deviance(filled(x), values, weights)), picked(concat([unlikely, none], 1), spread));
    },
  };
}

/**
 * Softmax over the categories of each column, and over missing as one more where values may miss; a number that is no code
 * counts as the code next to it.
 */
function codes({
  categories,
  mayMiss,
  places: columns,
}: {
  readonly categories: number;
  readonly mayMiss: boolean;
  readonly places: readonly number[];
}): Group {
  const count = columns.length;
  const classes = categories + (mayMiss ? 1 : 0);
  const known = (x: Tensor) => clip(round(x), 0, categories - 1);
  const hot = (x: Tensor) => oneHot(cast(mayMiss ? where(isNan(x), categories, known(x)) : known(x), 'int64'), classes);
  const byColumn = (decoded: Tensor) => reshape(decoded, [decoded.shape[0], count, classes]);
  const crossEntropy: Group['deviance'] = (x, decoded) =>
    reduceSum(mul(hot(x), neg(logSoftmax(byColumn(decoded)))), [2]);
  return {
    columns,
    codes: columns,
    size: count * classes,
    parameters: [],
    present: (x) => flatten(hot(x)),
    nats: (x, decoded, weights) => reduceSum(crossEntropy(x, decoded, weights), [1]),
    // The most probable code: the mean of codes would be no code, and codes that are neighbours have nothing in common.
    mean: (decoded) =>
      cast(argMax(mayMiss ? slice(byColumn(decoded), 2, 0, categories) : byColumn(decoded), 2), 'float32'),
    // A sure category has no entropy of its own to take off.
    deviance: crossEntropy,
  };
}

/** Columns of x at the given places. */
function picked(x: Tensor, places: readonly number[]): Tensor {
  return gather(x, x.graph.constant(int64(places)), 1);
}
