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
  logSoftmax,
  mul,
  neg,
  oneHot,
  reduceSum,
  reshape,
  round,
  split,
} from '../../onnx/ops.js';
import { int64, type Tensor } from '../../onnx/tensor.js';
import { gaussian } from './gaussian.js';
import { dataSize, type Likelihood, type LikelihoodData, type LikelihoodFamily } from './likelihood.js';

/**
 * Each column of a table by what it holds: numbers have a Gaussian likelihood, all with one σ; codes of categories are
 * drawn from a softmax over the column's categories. The encoder sees numbers standardised and codes as one-hot vectors.
 * Of numbers alone, it is the Gaussian likelihood.
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
  /** Numbers that the encoder sees and the decoder gives for each column. */
  readonly width: number;
  readonly parameters: readonly Parameter[];
  /** [N, columns] → [N, columns · width] */
  present(x: Tensor, weights: Weights): Tensor;
  /** −log p(x | z): [N, columns], [N, columns · width] → [N]. */
  nats(x: Tensor, decoded: Tensor, weights: Weights): Tensor;
  /** [N, columns · width] → [N, columns] */
  mean(decoded: Tensor, weights: Weights): Tensor;
  /** [N, columns], [N, columns · width] → [N, columns] */
  deviance(x: Tensor, decoded: Tensor, weights: Weights): Tensor;
}

function columnwise(kind: string, data: LikelihoodData): Likelihood {
  const groups = groupsOf(data);
  const order = groups.flatMap(({ columns }) => columns);
  const places = order.map((_, column) => order.indexOf(column));
  const lengths = groups.map(({ columns, width }) => columns.length * width);
  const size = lengths.reduce((sum, length) => sum + length, 0);
  /** What a group makes of its columns and of its part of the decoder's output. */
  const ofEach = (decoded: Tensor, make: (group: Group, part: Tensor) => Tensor): Tensor[] => {
    const parts = groups.length === 1 ? [decoded] : split(decoded, 1, lengths);
    return groups.map((group, i) => make(group, parts[i]));
  };
  const own = (x: Tensor, { columns }: Group) => (groups.length === 1 ? x : picked(x, columns));
  /** Side by side, in the order of the data. */
  const joined = (parts: readonly Tensor[]) => (parts.length === 1 ? parts[0] : picked(concat(parts, 1), places));
  return {
    kind,
    parameters: groups.flatMap(({ parameters }) => parameters),
    presentedShape: [size],
    decodedShape: [size],
    codes: groups.flatMap(({ columns, width }) => (width > 1 ? columns : [])),
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
  const byCategories = new Map<number, number[]>();
  for (const [place, column] of columns.entries()) {
    const categories = column?.kind === 'categorical' ? column.categories.length : 0;
    byCategories.set(categories, [...(byCategories.get(categories) ?? []), place]);
  }
  return [...byCategories]
    .sort(([a], [b]) => a - b)
    .map(([categories, places]) => (categories === 0 ? numbers(places, data) : codes(places, categories)));
}

/** A table of these columns alone, under a Gaussian likelihood. */
function numbers(columns: readonly number[], { moments }: LikelihoodData): Group {
  const of = (values: Float64Array) => Float64Array.from(columns, (column) => values[column]);
  const { negativeLogLikelihood: nats, ...table } = gaussian.create({
    shape: [columns.length],
    moments: moments && { mean: of(moments.mean), variance: of(moments.variance) },
  });
  return { ...table, columns, width: 1, nats };
}

/** Softmax over the categories of each column; a number that is no code counts as the code next to it. */
function codes(columns: readonly number[], categories: number): Group {
  const count = columns.length;
  const hot = (x: Tensor) => oneHot(cast(clip(round(x), 0, categories - 1), 'int64'), categories);
  const byColumn = (decoded: Tensor) => reshape(decoded, [decoded.shape[0], count, categories]);
  const crossEntropy: Group['deviance'] = (x, decoded) =>
    reduceSum(mul(hot(x), neg(logSoftmax(byColumn(decoded)))), [2]);
  return {
    columns,
    width: categories,
    parameters: [],
    present: (x) => flatten(hot(x)),
    nats: (x, decoded, weights) => reduceSum(crossEntropy(x, decoded, weights), [1]),
    // The most probable code: the mean of codes would be no code, and codes that are neighbours have nothing in common.
    mean: (decoded) => cast(argMax(byColumn(decoded), 2), 'float32'),
    // A sure category has no entropy of its own to take off.
    deviance: crossEntropy,
  };
}

/** Columns of x at the given places. */
function picked(x: Tensor, places: readonly number[]): Tensor {
  return gather(x, x.graph.constant(int64(places)), 1);
}
