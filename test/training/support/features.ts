import type { Features } from '@elbo/training/sample-quality/features';

/** Features of images, a row each. */
export function featuresFrom(rows: readonly (readonly number[])[]): Features {
  return { count: rows.length, size: rows[0]?.length ?? 0, values: Float32Array.from(rows.flat()) };
}
