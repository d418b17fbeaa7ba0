import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import type { RowBatch } from '@elbo/training/offline/row-batch';
import { fileWriter, streamWriter } from '@elbo/training/offline/row-writers';
import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { npzArrays } from '../support/npz-arrays.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const number = fc.float({ noNaN: true, noDefaultInfinity: true });
const text = fc.string({ unit: 'binary', maxLength: 12 }).map((value) => value.replaceAll('\0', ' '));

/** Batches of the same fields: texts, a scalar, a vector and a verdict. */
const batches = fc.array(
  fc
    .array(fc.record({ source: text, score: number, mean: fc.tuple(number, number), verdict: fc.boolean() }), {
      minLength: 1,
      maxLength: 5,
    })
    .map((rows) => ({ rows, batch: batchOf(rows) })),
  { minLength: 1, maxLength: 3 },
);

interface Row {
  readonly source: string;
  readonly score: number;
  readonly mean: readonly [number, number];
  readonly verdict: boolean;
}

function batchOf(rows: readonly Row[]): RowBatch {
  return {
    count: rows.length,
    fields: {
      source: { kind: 'text', size: 1, values: rows.map(({ source }) => source) },
      score: { kind: 'float32', size: 1, values: Float32Array.from(rows, ({ score }) => score) },
      'parts.mean': { kind: 'float32', size: 2, values: Float32Array.from(rows.flatMap(({ mean }) => mean)) },
      verdict: { kind: 'bool', size: 1, values: Uint8Array.from(rows, ({ verdict }) => (verdict ? 1 : 0)) },
    },
  };
}

async function written(
  format: 'ndjson' | 'csv' | 'npz',
  all: readonly { readonly batch: RowBatch }[],
): Promise<string> {
  const path = join(temporaryDirectory(), `results.${format}`);
  const writer = await fileWriter(format, path);
  for (const { batch } of all) await writer.write(batch);
  await writer.finish();
  await writer.discard();
  return path;
}

describe('results that are written are what can be read', () => {
  test('as lines of JSON', async () => {
    await fc.assert(
      fc.asyncProperty(batches, async (all) => {
        const lines = readFileSync(await written('ndjson', all), 'utf8')
          .trimEnd()
          .split('\n');
        expect(lines.map((line) => JSON.parse(line))).toEqual(
          all.flatMap(({ rows }) =>
            rows.map(({ source, score, mean, verdict }) => ({
              source,
              score: plain(score),
              parts: { mean: mean.map(plain) },
              verdict,
            })),
          ),
        );
      }),
      { numRuns: 30 },
    );
  });

  test('as CSV, whatever the texts hold', async () => {
    await fc.assert(
      fc.asyncProperty(batches, async (all) => {
        const [header, ...rows] = parse(readFileSync(await written('csv', all)));
        expect(header).toEqual(['source', 'score', 'parts.mean_0', 'parts.mean_1', 'verdict']);
        expect(rows).toEqual(
          all.flatMap(({ rows: own }) =>
            own.map(({ source, score, mean, verdict }) => [
              source,
              ...[score, ...mean].map((value) => String(value)),
              String(verdict),
            ]),
          ),
        );
      }),
      { numRuns: 30 },
    );
  });

  test('as arrays', async () => {
    await fc.assert(
      fc.asyncProperty(batches, async (all) => {
        const arrays = await npzArrays(readFileSync(await written('npz', all)));
        const rows = all.flatMap(({ rows: own }) => own);
        const names = [...new Set(rows.map(({ source }) => source))];
        const column = (values: readonly unknown[]) => ({ shape: [rows.length], values });
        expect(arrays).toEqual({
          source: column(rows.map(({ source }) => names.indexOf(source))),
          score: column(rows.map(({ score }) => score)),
          'parts.mean': { shape: [rows.length, 2], values: rows.flatMap(({ mean }) => mean) },
          verdict: column(rows.map(({ verdict }) => (verdict ? 1 : 0))),
          sources: { shape: [names.length], values: names },
        });
      }),
      { numRuns: 20 },
    );
  });
});

describe('a file of results', () => {
  test.each(['ndjson', 'csv', 'npz'] as const)('appears when it is finished: %s', async (format) => {
    const directory = temporaryDirectory();
    const path = join(directory, 'results');
    const writer = await fileWriter(format, path);
    await writer.write(batchOf([{ source: 'a', score: 1, mean: [2, 3], verdict: true }]));
    expect(existsSync(path)).toBe(false);
    await writer.finish();
    await writer.discard();
    expect(readdirSync(directory)).toEqual(['results']);
  });

  test.each(['ndjson', 'csv', 'npz'] as const)('makes its directory: %s', async (format) => {
    const directory = temporaryDirectory();
    const writer = await fileWriter(format, join(directory, 'new', 'results'));
    await writer.write(batchOf([{ source: 'a', score: 1, mean: [2, 3], verdict: true }]));
    await writer.finish();
    expect(readdirSync(join(directory, 'new'))).toEqual(['results']);
  });

  test.each(['ndjson', 'csv', 'npz'] as const)('leaves nothing where it is not: %s', async (format) => {
    const directory = temporaryDirectory();
    const writer = await fileWriter(format, join(directory, 'results'));
    await writer.write(batchOf([{ source: 'a', score: 1, mean: [2, 3], verdict: true }]));
    await writer.discard();
    expect(readdirSync(directory)).toEqual([]);
  });
});

test('a stream that is read slowly holds the writer up', async () => {
  const taken: string[] = [];
  let release = (): void => {};
  const slow = new Writable({
    highWaterMark: 1,
    write(chunk, _, done) {
      taken.push(String(chunk));
      release = done;
    },
  });
  const writer = streamWriter('ndjson', slow);
  const batch = batchOf([{ source: 'a', score: 1, mean: [2, 3], verdict: false }]);
  let isWritten = false;
  const writing = writer.write(batch).then(() => {
    isWritten = true;
  });
  await new Promise(setImmediate);
  expect([taken.length, isWritten]).toEqual([1, false]);
  release();
  await writing;
});

/** JSON has no −0. */
function plain(value: number): number {
  return value === 0 ? 0 : value;
}
