import { type Column, expectedNumber, firstUnexpected, type NumbersDescription } from '@elbo/models';
import { closestMatch } from 'leven';
import { CodecError } from './errors.js';

/** Columns or categories that a message lists at most. */
const NAMES_SHOWN = 10;

/**
 * Writes one item given as JSON, flat or nested as its shape (leading dimensions of 1 may be left out), as float32.
 * @param field how the caller wrote it, for messages: `inputs[3]`
 * @throws {CodecError} INVALID_INPUT, naming the element and what was expected there
 */
export function numbersFromJson(
  item: readonly unknown[],
  field: string,
  description: NumbersDescription,
  target: Float32Array,
): void {
  if (!Array.isArray(item[0])) {
    if (item.length !== target.length) {
      throw invalid(`${field} has ${item.length} numbers; expected ${target.length} (${description.shape.join('x')})`);
    }
    for (let i = 0; i < item.length; i++) {
      target[i] = checkedNumber(item[i], description, () => `${field}[${i}]`, description.columns?.[i]);
    }
    return;
  }
  let offset = 0;
  const visit = (value: unknown, path: string, dimensions: readonly number[]): void => {
    const [length, ...inner] = dimensions;
    if (length === undefined) {
      target[offset++] = checkedNumber(value, description, () => path);
      return;
    }
    const expected = inner.length === 0 ? 'numbers' : 'arrays';
    if (!Array.isArray(value)) throw invalid(`${path} is ${named(value)}; expected an array of ${length} ${expected}`);
    if (value.length !== length) {
      throw invalid(`${path} has ${value.length} elements; expected ${length} ${expected} (${dimensions.join('x')})`);
    }
    for (let i = 0; i < length; i++) visit(value[i], `${path}[${i}]`, inner);
  };
  visit(item, field, shapeOfDepth(description.shape, depth(item)));
}

/** What the numbers of rows must be whose columns have names. */
export interface NamedNumbers extends NumbersDescription {
  readonly columns: readonly Column[];
  readonly names: ReadonlySet<string>;
}

/**
 * Writes one item given as an object of its columns by name, as float32: `{"age": 41, "colour": "red"}`. A column that may
 * be missing may be null or left out.
 * @throws {CodecError} INVALID_INPUT, naming the column and what was expected there
 */
export function numbersFromRow(
  row: Readonly<Record<string, unknown>>,
  field: string,
  { columns, names, ...description }: NamedNumbers,
  target: Float32Array,
): void {
  const strange = Object.keys(row).find((name) => !names.has(name));
  if (strange !== undefined)
    throw invalid(`${field}.${strange} is no column; expected ${columnNames(columns, strange)}`);
  for (const [i, column] of columns.entries()) {
    const value = Object.hasOwn(row, column.name) ? row[column.name] : undefined;
    const absent = value === undefined && column.missing === true ? null : value;
    target[i] = checkedNumber(absent, description, () => `${field}.${column.name}`, column);
  }
}

/** The columns of a model, the nearest to what was written first where there are many. */
function columnNames(columns: readonly Column[], written: string): string {
  const names = columns.map(({ name }) => name);
  if (names.length <= NAMES_SHOWN) return names.join(', ');
  const nearest = closestMatch(written, names);
  return `one of the model's ${names.length} columns${nearest === undefined ? '' : `, such as ${nearest}`}`;
}

/**
 * Checks float32 numbers that came as bytes.
 * @throws {CodecError} INVALID_INPUT, naming the item and the number
 */
export function checkNumbers(data: Float32Array, field: string, description: NumbersDescription): void {
  const bad = firstUnexpected(data, description);
  if (bad === undefined) return;
  throw invalid(`${field}[${bad.item}][${bad.place}] is ${bad.value}; expected ${bad.expected}`);
}

/**
 * Numbers as they stand in a query: `0.1,0.2,…`
 * @throws {CodecError} INVALID_INPUT, naming the element
 */
export function numbersFromList(list: string, field: string, description: NumbersDescription): Float32Array {
  const texts = list.split(',');
  const values = texts.map((text, i) => {
    const column = description.columns?.[i];
    if (text === '' && column?.missing) return null;
    if (column?.kind === 'categorical' && column.categories.includes(text)) return text;
    if (!/^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?$/i.test(text)) {
      throw invalid(`${field}[${i}] is ${named(text)}; expected a number`);
    }
    return Number(text);
  });
  const size = description.shape.reduce((product, dimension) => product * dimension, 1);
  const target = new Float32Array(size);
  numbersFromJson(values, field, description, target);
  return target;
}

/** A number, or what stands for one in a table: null for a missing value, the text of a category for its code. */
function checkedNumber(value: unknown, description: NumbersDescription, field: () => string, column?: Column): number {
  if (value === null && column?.missing) return Number.NaN;
  if (typeof value === 'string' && column?.kind === 'categorical') {
    const code = column.categories.indexOf(value);
    if (code !== -1) return code;
    const known = column.categories.slice(0, NAMES_SHOWN).join(', ');
    const more = column.categories.length > NAMES_SHOWN ? ', …' : '';
    throw invalid(
      `${field()} is ${named(value)}; expected one of ${column.categories.length} categories (${known}${more})`,
    );
  }
  if (typeof value !== 'number') throw invalid(`${field()} is ${named(value)}; expected a number`);
  const number = Math.fround(value);
  const expected = expectedNumber(number, description, column);
  if (expected !== undefined) throw invalid(`${field()} is ${value}; expected ${expected}`);
  return number;
}

function shapeOfDepth(shape: readonly number[], depth: number): readonly number[] {
  const dropped = shape.length - depth;
  return dropped > 0 && shape.slice(0, dropped).every((dimension) => dimension === 1) ? shape.slice(dropped) : shape;
}

function depth(value: unknown): number {
  let levels = 0;
  for (let inner = value; Array.isArray(inner); inner = inner[0]) levels++;
  return levels;
}

/** A JSON value as it is named in a message; long strings cut short. */
export function named(value: unknown): string {
  if (value === undefined) return 'missing';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'string')
    return `the string ${JSON.stringify(value.length > 32 ? `${value.slice(0, 32)}…` : value)}`;
  return String(value);
}

function invalid(message: string): CodecError {
  return new CodecError('INVALID_INPUT', message);
}
