import { Readable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** A tensor in an answer. */
export interface JsonTensor {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

/** Numbers up to which an answer is made in one go (about 3 ms); larger ones are made piece by piece. */
export const NUMBERS_AT_ONCE = 16_384;

/**
 * An object of plain fields, then of tensors as nested arrays. A large one comes as a stream whose pieces are made one a
 * turn of the event loop, so that other requests are answered meanwhile.
 *
 * Numbers are the float32 values exactly. `JSON.stringify` of plain arrays is the fastest way to that among those tried:
 * 0.14 µs a number; rounding to 9 significant digits first makes the text a third shorter and takes twice as long.
 */
export function jsonWithTensors(
  fields: Readonly<Record<string, unknown>>,
  tensors: Readonly<Record<string, JsonTensor>>,
): string | Readable {
  const numbers = Object.values(tensors).reduce((sum, { data }) => sum + data.length, 0);
  return pacedText(jsonPieces(fields, tensors), numbers);
}

/** Pieces of text in one, or, of more than so many numbers, as a stream that takes one a turn of the event loop. */
export function pacedText(pieces: Generator<string>, numbers: number): string | Readable {
  return numbers <= NUMBERS_AT_ONCE ? [...pieces].join('') : Readable.from(paced(pieces), { objectMode: false });
}

function* jsonPieces(
  fields: Readonly<Record<string, unknown>>,
  tensors: Readonly<Record<string, JsonTensor>>,
): Generator<string> {
  yield JSON.stringify(fields).slice(0, -1);
  for (const [name, { data, shape }] of Object.entries(tensors)) {
    const [rows = 0, ...rowShape] = shape;
    yield `,${JSON.stringify(name)}:[`;
    const size = data.length / rows;
    const rowsAtOnce = Math.max(1, Math.floor(NUMBERS_AT_ONCE / size));
    for (let row = 0; row < rows; row += rowsAtOnce) {
      const part = Math.min(rowsAtOnce, rows - row);
      const text = JSON.stringify(nest(data.subarray(row * size, (row + part) * size), [part, ...rowShape]));
      yield `${row === 0 ? '' : ','}${text.slice(1, -1)}`;
    }
    yield ']';
  }
  yield '}';
}

async function* paced(pieces: Generator<string>): AsyncGenerator<string> {
  for (const piece of pieces) {
    yield piece;
    await nextTurn();
  }
}

function nest(data: Float32Array, shape: readonly number[]): unknown[] {
  const [length = 0, ...inner] = shape;
  if (inner.length === 0) return Array.from(data);
  const size = data.length / length;
  return Array.from({ length }, (_, i) => nest(data.subarray(i * size, (i + 1) * size), inner));
}
