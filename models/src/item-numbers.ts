import type { Column, InputDescription } from './manifest.js';

/** What the numbers of one item must be; NaN stands for a missing value, where a column may have such. */
export interface NumbersDescription {
  readonly shape: readonly number[];
  /** Both ends included; any finite float32 where unset. */
  readonly range?: readonly [number, number] | undefined;
  /** Of an item's numbers; those of categories must be codes. */
  readonly columns?: readonly Column[] | undefined;
}

/** What a model takes. */
export function numbersOf(input: InputDescription): NumbersDescription {
  const { shape, value_range: range } = input;
  return { shape, range, ...(input.kind === 'vector' && input.columns && { columns: input.columns }) };
}

/**
 * What a float32 number should be instead; undefined where it is that already.
 * @param column of the item, where its numbers are columns of a table
 */
export function expectedNumber(value: number, { range }: NumbersDescription, column?: Column): string | undefined {
  if (Number.isNaN(value) && column !== undefined) {
    return column.missing === true ? undefined : `a value of ${JSON.stringify(column.name)}, which is never missing`;
  }
  if (range !== undefined && !(value >= range[0] && value <= range[1])) return `${range[0]} to ${range[1]}`;
  if (!Number.isFinite(value)) return 'a finite float32 number';
  if (column?.kind !== 'categorical') return undefined;
  const last = column.categories.length - 1;
  if (Number.isInteger(value) && value >= 0 && value <= last) return undefined;
  return `the code of a category of ${JSON.stringify(column.name)}, a whole number from 0 to ${last}`;
}

/** A number that is not what it should be. */
export interface UnexpectedNumber {
  readonly item: number;
  /** Its place in the item. */
  readonly place: number;
  readonly value: number;
  readonly expected: string;
}

/** The first number of some items, [N, …shape], that a model does not take. */
export function firstUnexpected(data: Float32Array, description: NumbersDescription): UnexpectedNumber | undefined {
  const { shape, range, columns } = description;
  const [low, high] = range ?? [-3.5e38, 3.5e38];
  const size = shape.reduce((product, dimension) => product * dimension, 1);
  const unexpected = (at: number): UnexpectedNumber | undefined => {
    const value = data[at] as number;
    const expected = expectedNumber(value, description, columns?.[at % size]);
    return expected === undefined ? undefined : { item: Math.floor(at / size), place: at % size, value, expected };
  };
  const isMissing = columns?.map(({ missing }) => missing === true);
  for (let at = firstOutside(data, 0, low, high); at < data.length; at = firstOutside(data, at + 1, low, high)) {
    if (Number.isNaN(data[at]) && isMissing?.[at % size] === true) continue;
    return unexpected(at);
  }
  for (const [place, column] of columns?.entries() ?? []) {
    if (column.kind !== 'categorical') continue;
    for (let at = place; at < data.length; at += size) {
      const found = unexpected(at);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

/** Where the first number from `start` on is that isn't in a range; the length where there is none. */
function firstOutside(data: Float32Array, start: number, low: number, high: number): number {
  for (let at = start; at < data.length; at++) {
    const value = data[at] as number;
    if (!(value >= low && value <= high)) return at;
  }
  return data.length;
}
