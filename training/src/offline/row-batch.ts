/** One column of results: `size` values a row, one after another. */
export type RowField =
  | { readonly kind: 'float32'; readonly size: number; readonly values: Float32Array }
  | { readonly kind: 'float64'; readonly size: number; readonly values: Float64Array }
  | { readonly kind: 'int32'; readonly size: number; readonly values: Int32Array }
  | { readonly kind: 'bool'; readonly size: number; readonly values: Uint8Array }
  | { readonly kind: 'text'; readonly size: 1; readonly values: readonly string[] };

/** Results of some rows, by name; a dot in a name means a part of a whole, as in `components.kl`. */
export interface RowBatch {
  readonly count: number;
  readonly fields: Readonly<Record<string, RowField>>;
}
