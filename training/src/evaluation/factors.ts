import { DataError } from '../data/data-error.js';
import type { Factors } from '../data/dataset.js';
import type { Embedding } from './embedding.js';

/** Embedded examples, and the factors that made each. */
export interface FactoredEmbedding {
  readonly embedding: Embedding;
  readonly factors: Factors;
}

/** One factor of all examples. */
export interface FactorColumn {
  readonly name: string;
  readonly cardinality: number;
  /** [count] */
  readonly values: Uint8Array;
}

/** The columns of factors, in their order. */
export function factorColumns({ names, cardinalities, values }: Factors): FactorColumn[] {
  const width = names.length;
  return names.map((name, factor) => ({
    name,
    cardinality: cardinalities[factor],
    values: Uint8Array.from({ length: values.length / width }, (_, i) => values[i * width + factor]),
  }));
}

/**
 * The numbers of the factors that take more than one value over the examples; nothing can be told of the others.
 * @throws {DataError} where there is none
 */
export function varyingFactors(factors: Factors): number[] {
  const varying = factorColumns(factors).flatMap(({ values }, factor) =>
    values.some((value) => value !== values[0]) ? [factor] : [],
  );
  if (varying.length === 0) throw new DataError('no factor varies over the examples; expected at least one that does');
  return varying;
}

/** One latent dimension of all examples: [count]. */
export function latentColumn({ count, size, means }: Embedding, dimension: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => means[i * size + dimension]);
}
