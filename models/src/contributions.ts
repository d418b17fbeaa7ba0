import type { Column } from './manifest.js';

/** What one column of a row adds to its error. */
export interface Contribution {
  readonly column: string;
  /** The number, the text of a category, or null where the value is missing. */
  readonly observed: number | string | null;
  readonly expected: number | string | null;
  /** Its part of the reconstruction error. */
  readonly nats: number;
}

/**
 * The columns of a table's row that the model is most surprised by, most first.
 * @param row.observed, row.expected, row.errors one number a column
 * @param columns without: columns go by their numbers from 0
 * @param count at most
 */
export function largestContributions(
  { observed, expected, errors }: Readonly<Record<'observed' | 'expected' | 'errors', Float32Array>>,
  columns: readonly Column[] | undefined,
  count: number,
): Contribution[] {
  return Array.from(errors, (nats, place) => ({ nats, place }))
    .sort((a, b) => b.nats - a.nats || a.place - b.place)
    .slice(0, count)
    .map(({ nats, place }) => {
      const column = columns?.[place];
      return {
        column: column?.name ?? String(place),
        observed: plain(observed[place] as number, column),
        expected: plain(expected[place] as number, column),
        nats,
      };
    });
}

/** A value as people know it. */
function plain(value: number, column: Column | undefined): number | string | null {
  if (Number.isNaN(value)) return null;
  return column?.kind === 'categorical' ? (column.categories[value] ?? value) : value;
}
