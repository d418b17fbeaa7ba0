import { Readable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { CodecError } from './errors.js';
import type { JsonTensor } from './json.js';
import { parseJson } from './parse-json.js';

/** Numbers that are written between two turns of the event loop, as in large JSON answers. */
const NUMBERS_AT_ONCE = 16_384;

/** What an item's line says, `tensors` aside: a value an item under each name. */
export type LineFields = Readonly<Record<string, readonly unknown[] | undefined>>;

/**
 * One JSON object a line for each of `count` items: its plain fields, then its row of each tensor as nested arrays.
 * @param tensors each `count` rows
 */
export function* linesOf(
  count: number,
  fields: LineFields,
  tensors: Readonly<Record<string, JsonTensor>> = {},
): Generator<string> {
  const rows = Object.entries(tensors).map(([name, { data, shape }]) => {
    const [, ...rowShape] = shape;
    const size = data.length / count;
    return [name, (i: number) => nested(data.subarray(i * size, (i + 1) * size), rowShape)] as const;
  });
  for (let i = 0; i < count; i++) {
    const line: Record<string, unknown> = {};
    for (const [name, values] of Object.entries(fields)) if (values !== undefined) line[name] = values[i];
    for (const [name, row] of rows) line[name] = row(i);
    yield `${JSON.stringify(line)}\n`;
  }
}

/** Lines as a stream that lets other requests have their turn. */
export function streamOf(lines: Iterable<string>): Readable {
  return Readable.from(paced(lines), { objectMode: false });
}

async function* paced(lines: Iterable<string>): AsyncGenerator<string> {
  let piece = '';
  for (const line of lines) {
    piece += line;
    if (piece.length < NUMBERS_AT_ONCE * 8) continue;
    yield piece;
    piece = '';
    await nextTurn();
  }
  if (piece !== '') yield piece;
}

/**
 * The JSON value of a line.
 * @param field how it is called in messages
 * @throws {CodecError} INVALID_JSON
 */
export function valueOfLine(line: string, field: string): unknown {
  try {
    return parseJson(line) as unknown;
  } catch (error) {
    throw new CodecError('INVALID_JSON', `${field} is not JSON: ${(error as Error).message}`, { cause: error });
  }
}

function nested(data: Float32Array, shape: readonly number[]): unknown {
  const [length = data.length, ...inner] = shape;
  if (inner.length === 0) return Array.from(data);
  const size = data.length / length;
  return Array.from({ length }, (_, i) => nested(data.subarray(i * size, (i + 1) * size), inner));
}
