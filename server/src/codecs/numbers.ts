import type { Column } from '@elbo/models';
import { CodecError } from './errors.js';

/** What the numbers of one item must be. */
export interface NumbersDescription {
  readonly shape: readonly number[];
  /** Both ends included; any finite float32 where unset. */
  readonly range?: readonly [number, number] | undefined;
  /** Of an item's numbers; those of categories must be codes. */
  readonly columns?: readonly Column[];
}

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
      target[i] = checkedNumber(item[i], description.range, () => `${field}[${i}]`);
      checkCode(target[i], description.columns?.[i], () => `${field}[${i}]`);
    }
    return;
  }
  let offset = 0;
  const visit = (value: unknown, path: string, dimensions: readonly number[]): void => {
    const [length, ...inner] = dimensions;
    if (length === undefined) {
      target[offset++] = checkedNumber(value, description.range, () => path);
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

/**
 * Checks float32 numbers that came as bytes.
 * @throws {CodecError} INVALID_INPUT, naming the item and the number
 */
export function checkNumbers(data: Float32Array, field: string, { shape, range, columns }: NumbersDescription): void {
  const [low, high] = range ?? [-3.5e38, 3.5e38];
  const size = shape.reduce((product, dimension) => product * dimension, 1);
  const place = (at: number) => () => `${field}[${Math.floor(at / size)}][${at % size}]`;
  const bad = data.findIndex((value) => !(value >= low && value <= high));
  if (bad !== -1) checkedNumber(data[bad], range, place(bad));
  for (const [column, description] of columns?.entries() ?? []) {
    if (description.kind === 'numeric') continue;
    for (let at = column; at < data.length; at += size) checkCode(data[at], description, place(at));
  }
}

/**
 * Numbers as they stand in a query: `0.1,0.2,…`
 * @throws {CodecError} INVALID_INPUT, naming the element
 */
export function numbersFromList(list: string, field: string, description: NumbersDescription): Float32Array {
  const texts = list.split(',');
  const values = texts.map((text, i) => {
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

function checkedNumber(value: unknown, range: readonly [number, number] | undefined, field: () => string): number {
  if (typeof value !== 'number') throw invalid(`${field()} is ${named(value)}; expected a number`);
  const number = Math.fround(value);
  if (range !== undefined && !(number >= range[0] && number <= range[1])) {
    throw invalid(`${field()} is ${value}; expected ${range[0]} to ${range[1]}`);
  }
  if (!Number.isFinite(number)) throw invalid(`${field()} is ${value}; expected a finite float32 number`);
  return number;
}

/** @throws {CodecError} where a column of categories has a number that is the code of none */
function checkCode(value: number, column: Column | undefined, field: () => string): void {
  if (column?.kind !== 'categorical') return;
  const { name, categories } = column;
  if (Number.isInteger(value) && value >= 0 && value < categories.length) return;
  throw invalid(
    `${field()} is ${value}; expected the code of a category of ${JSON.stringify(name)}, a whole number from 0 to ${categories.length - 1}`,
  );
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
