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
  return largestPlaces(errors, count).map((place) => {
    const column = columns?.[place];
    return {
      column: column?.name ?? String(place),
      observed: plain(observed[place] as number, column),
      expected: plain(expected[place] as number, column),
      nats: errors[place] as number,
    };
  });
}

/** Places of the largest values, the largest first, equal ones in their order; few of many, and so without a sort of all. */
function largestPlaces(values: Float32Array, count: number): number[] {
  const places: number[] = [];
  const valueAt = (rank: number) => values[places[rank] as number] as number;
  for (const [place, value] of values.entries()) {
    if (places.length === count && !(value > valueAt(count - 1))) continue;
    let rank = places.length;
    while (rank > 0 && value > valueAt(rank - 1)) rank--;
    places.splice(rank, 0, place);
    if (places.length > count) places.pop();
  }
  return places;
}

/** A value as people know it. */
function plain(value: number, column: Column | undefined): number | string | null {
  if (Number.isNaN(value)) return null;
  return column?.kind === 'categorical' ? (column.categories[value] ?? value) : value;
}
