/** What every field of results has. */
interface Numbers {
  /** Values a row. */
  readonly size: number;
  /** Of one row, where its values are more than a list: [channels, height, width]. */
  readonly shape?: readonly number[];
  /** Of the columns that a row's values are, where they have some. */
  readonly names?: readonly string[];
}

/** One field of results: `size` values a row, one after another. */
export type RowField =
  | (Numbers & { readonly kind: 'float32'; readonly values: Float32Array })
  | (Numbers & { readonly kind: 'float64'; readonly values: Float64Array })
  | (Numbers & { readonly kind: 'int32'; readonly values: Int32Array })
  | (Numbers & { readonly kind: 'bool'; readonly values: Uint8Array })
  | { readonly kind: 'text'; readonly size: 1; readonly values: readonly string[] };

export type NumericField = Exclude<RowField, { kind: 'text' }>;

/** Results of some rows, by name; a dot in a name means a part of a whole, as in `components.kl`. */
export interface RowBatch {
  readonly count: number;
  readonly fields: Readonly<Record<string, RowField>>;
}

/** One float32 number a row. */
export const scalars = (values: Float32Array): NumericField => ({ kind: 'float32', size: 1, values });

/** One whole number a row. */
export const wholeNumbers = (values: Int32Array): NumericField => ({ kind: 'int32', size: 1, values });
