import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCsv } from '@elbo/training/data/csv';
import { DataError } from '@elbo/training/data/data-error';
import { RowStore } from '@elbo/training/data/row-store';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { valuesOf } from '../support/examples.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

function read(content: string | Uint8Array, directory: string, memoryBudget = 1e6) {
  const path = join(directory, 'table.csv');
  writeFileSync(path, content);
  return readCsv(path, new RowStore({ cacheDir: join(directory, 'cache'), memoryBudget }));
}

async function complaint(content: string | Uint8Array, directory = temporaryDirectory()): Promise<string> {
  const outcome = await read(content, directory).catch((error: unknown) => error);
  expect(outcome).toBeInstanceOf(DataError);
  const { message } = outcome as DataError;
  expect(message).toContain('table.csv: ');
  expect(message).not.toContain('\n');
  return message;
}

const tables = fc
  .record({
    columns: fc.uniqueArray(
      // Names with everything that has to be quoted; at least a letter, since numbers alone are no header.
      fc
        .string({ unit: fc.constantFrom('a', 'ß', ' ', ',', ';', '\t', '"', '\n', '1'), maxLength: 5 })
        .map((text) => `n${text}m`),
      { minLength: 1, maxLength: 6 },
    ),
    delimiter: fc.constantFrom(',', ';', '\t'),
    newline: fc.constantFrom('\n', '\r\n'),
    bom: fc.boolean(),
    quoted: fc.boolean(),
    ended: fc.boolean(),
  })
  .chain((options) =>
    fc.record({
      options: fc.constant(options),
      rows: fc.array(
        fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), {
          minLength: options.columns.length,
          maxLength: options.columns.length,
        }),
        { minLength: 1, maxLength: 12 },
      ),
    }),
  );

describe('a valid CSV file', () => {
  test('gives names and numbers, however they are separated, quoted and ended, in memory and beyond its budget', async () => {
    let number = 0;
    const directory = temporaryDirectory();
    await fc.assert(
      fc.asyncProperty(tables, fc.boolean(), async ({ options, rows }, large) => {
        const { columns, delimiter, newline, bom, quoted, ended } = options;
        const quote = (text: string) => (quoted || /["\n,;\t]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
        const lines = [columns, ...rows.map((row) => row.map(String))].map((line) => line.map(quote).join(delimiter));
        const path = join(directory, `${number++}.csv`);
        writeFileSync(path, (bom ? '\ufeff' : '') + lines.join(newline) + (ended ? newline : ''));
        const store = new RowStore({ cacheDir: join(directory, 'cache'), memoryBudget: large ? 8 : 1e6 });
        for (let again = 0; again < 2; again++) {
          const table = await readCsv(path, store);
          expect(table).toMatchObject({ count: rows.length, shape: [columns.length], dtype: 'float32', columns });
          expect(table.storage.kind).toBe(large && rows.length * columns.length > 2 ? 'file' : 'memory');
          expect(Array.from(await valuesOf(table), (value) => value + 0)).toEqual(
            rows.flat().map((value) => value + 0),
          );
        }
      }),
      { numRuns: 150 },
    );
  });

  test('may have spaces around values, empty lines, and numbers of every form', async () => {
    const table = await read('a , b\n 1 ,-2.5\n\n+.5,1.e3\n"3" , "4E-2"\n\n', temporaryDirectory());
    expect(table.columns).toEqual(['a', 'b']);
    expect(Array.from(await valuesOf(table))).toEqual(Array.from(Float32Array.of(1, -2.5, 0.5, 1000, 3, 0.04)));
  });

  test('of many blocks keeps its order', async () => {
    const rows = Array.from({ length: 5000 }, (_, i) => Array.from({ length: 300 }, (_, j) => (i * 7 + j) % 1000));
    const header = rows[0].map((_, j) => `c${j}`);
    const table = await read([header, ...rows].map((row) => row.join(';')).join('\n'), temporaryDirectory(), 5e6);
    expect(table.storage.kind).toBe('file');
    expect(
      Buffer.compare(Buffer.from((await valuesOf(table)).buffer), Buffer.from(Float32Array.from(rows.flat()).buffer)),
    ).toBe(0);
  });
});

describe('a CSV file that is none gives a DataError', () => {
  test.each([
    ['an empty file', '', /the file is empty; expected a CSV file/],
    ['empty lines', '\n\n\n', /the first 3 bytes hold no whole line/],
    ['a header alone', 'a,b\n', /there are no rows below the header/],
    ['no header', '1,2\n3,4\n', /the first line holds numbers alone \(1, 2, …\); expected a header row/],
    ['a name missing', 'a,,c\n1,2,3\n', /column 2 has no name/],
    ['an index without a name', ',a\n0,2\n', /column 1 has no name/],
    ['two of a name', 'a,b,"a"\n1,2,3\n', /columns 1 and 3 are both named "a"/],
    ['a row too short', 'a,b,c\n1,2,3\n1,2\n', /line 3 has 2 values; expected 3, as many as the header has names/],
    ['a row too long', 'a,b\n1,2\n1,2,3\n', /line 3 has 3 values; expected 2/],
    ['a value missing', 'a,b\n1,2\n1,\n', /line 3, column "b": the value is missing; expected a number$/],
    ['text', 'a,b\n1,x\n', /line 2, column "b": found "x"; expected a number$/],
    ['two of them', 'a,b\n1,x\n,2\n', /line 2, column "b": found "x"; expected a number; 1 more such value follows$/],
    [
      'many of them',
      'a,b\n1,NA\n,nan\ninf,2\n',
      /line 2, column "b": found "NA"; expected a number; 3 more such values follow$/,
    ],
    ['a hexadecimal number', 'a\n0x10\n', /line 2, column "a": found "0x10"/],
    ['a decimal comma', 'a;b\n1,5;2\n', /line 2, column "a": found "1,5"/],
    ['a number beyond float32', 'a\n1e39\n', /line 2, column "a": 1e39 is beyond float32/],
    ['a blank line in one column', 'a\n1\n\n2\n', /line 3, column "a": the value is missing/],
    ['an open quote', 'a,b\n1,"2\n3,4\n', /Quote Not Closed/],
    ['a quote within a value', 'a,b\n1,2"2\n', /Invalid Opening Quote/],
    ['two delimiters', 'a,b;c,d\n1,2;3,4\n', /could be separated by commas or semicolons; expected one of them alone/],
    ['a binary file', Buffer.from([0x93, 0x4e, 0, 1, 2, 3]), /the file is binary/],
    ['UTF-16', Buffer.from('\ufeffa,b\n1,2\n', 'utf16le'), /the text is UTF-16; expected UTF-8/],
  ])('%s', async (_, content, expected) => {
    expect(await complaint(content)).toMatch(expected);
  });

  test('the line of a fault is that of the file, also after values that span lines', async () => {
    expect(await complaint('"a\nb",c\n1,2\n\n3,x\n')).toMatch(/line 5, column "c"/);
    expect(await complaint('"\u001b[2J",c\n1,2\nx,3\n')).toMatch(/line 3, column "\\\\?u001b\[2J": found "x"/);
  });

  test('and nothing stays in the cache', async () => {
    const directory = temporaryDirectory();
    await expect(read(`a,b\n${'1,2\n'.repeat(100)}1,x\n`, directory, 8)).rejects.toThrow(DataError);
    expect(readdirSync(directory).includes('cache') ? readdirSync(join(directory, 'cache')) : []).toEqual([]);
  });

  test('or a table as large as it says, for any text at all', async () => {
    const directory = temporaryDirectory();
    const text = fc.string({
      unit: fc.constantFrom('a', '1', '2', ',', ';', '"', '\n', '\r', '-', ' ', '\ufeff'),
      maxLength: 60,
    });
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          text,
          text.map((rest) => `a,b\n${rest}`),
          fc.uint8Array({ maxLength: 60 }),
        ),
        async (content) => {
          const result = await read(content, directory).catch((error: unknown) => error);
          if (result instanceof DataError) {
            expect(result.message).not.toContain('\n');
            return;
          }
          const { count, shape, columns, storage } = result as Awaited<ReturnType<typeof read>>;
          expect(columns).toHaveLength(shape[0]);
          expect(storage.kind === 'memory' && storage.values.length).toBe(count * shape[0]);
        },
      ),
      { numRuns: 400 },
    );
  });
});
