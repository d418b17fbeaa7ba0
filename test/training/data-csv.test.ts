import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Column } from '@elbo/models';
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
          expect(table).toMatchObject({ count: rows.length, shape: [columns.length], dtype: 'float32' });
          expect(table.columns).toEqual(columns.map((name) => ({ name, kind: 'numeric' })));
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
    expect(table.columns).toEqual([
      { name: 'a', kind: 'numeric' },
      { name: 'b', kind: 'numeric' },
    ]);
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

describe('columns of text', () => {
  const content = 'colour,size,shape\nred,1,"a, b"\nblue,2,c\nred,3, c \n';
  const colour: Column = { name: 'colour', kind: 'categorical', categories: ['red', 'blue'] };
  const size: Column = { name: 'size', kind: 'numeric' };
  const shape: Column = { name: 'shape', kind: 'categorical', categories: ['a, b', 'c'] };

  test('become codes in the order of their first appearance, in memory and beyond its budget', async () => {
    for (const memoryBudget of [8, 1e6]) {
      const table = await read(content, temporaryDirectory(), memoryBudget);
      expect(table.columns).toEqual([colour, size, shape]);
      expect(Array.from(await valuesOf(table))).toEqual([0, 1, 0, 1, 2, 1, 0, 3, 1]);
    }
  });

  test('may be many, as long as they come again', async () => {
    const rows = Array.from({ length: 62 }, (_, i) => `${i},x${i % 31}`);
    const { columns } = await read(['a,b', ...rows].join('\n'), temporaryDirectory());
    expect(columns?.[1]).toMatchObject({ kind: 'categorical', categories: { length: 31 } });
  });

  test('may be missing, as numbers may, in any of the ways that tables are written', async () => {
    const text = 'n,t\n,\n1,?\nNA,x\nnan,y\nNULL,NaN\n2,x\n';
    for (const memoryBudget of [8, 1e6]) {
      const table = await read(text, temporaryDirectory(), memoryBudget);
      expect(table.columns).toEqual([
        { name: 'n', kind: 'numeric', missing: true },
        { name: 't', kind: 'categorical', categories: ['x', 'y'], missing: true },
      ]);
      const none = Number.NaN;
      expect(Array.from(await valuesOf(table))).toEqual([none, none, 1, none, none, 0, none, 1, none, none, 2, 0]);
    }
  });

  const known = (columns: readonly Column[]) => {
    const path = join(temporaryDirectory(), 'table.csv');
    writeFileSync(path, content);
    return readCsv(path, new RowStore({ memoryBudget: 1e6 }), undefined, columns);
  };

  test('get the codes that a trained model knows', async () => {
    const columns: Column[] = [{ ...colour, categories: ['green', 'blue', 'red'] }, size, shape];
    const table = await known(columns);
    expect(table.columns).toEqual(columns);
    expect(Array.from(await valuesOf(table))).toEqual([2, 1, 0, 1, 2, 1, 2, 3, 1]);
  });

  test('come in the order of the model', async () => {
    const table = await known([shape, { ...colour, categories: ['blue', 'red'] }, size]);
    expect(Array.from(await valuesOf(table))).toEqual([0, 1, 1, 1, 0, 2, 1, 1, 3]);
  });

  test('are missing only where the model has seen that', async () => {
    const path = join(temporaryDirectory(), 'table.csv');
    writeFileSync(path, 'colour,size\n,1\nred,\n');
    const columns = (missing: readonly string[]): Column[] =>
      [{ ...colour }, { ...size }].map((column) =>
        missing.includes(column.name) ? { ...column, missing: true } : column,
      );
    const reading = (known: readonly Column[]) => readCsv(path, new RowStore({ memoryBudget: 1e6 }), undefined, known);
    const table = await reading(columns(['colour', 'size']));
    expect(Array.from(await valuesOf(table))).toEqual([Number.NaN, 1, 0, Number.NaN]);
    await expect(reading(columns(['colour']))).rejects.toThrow(
      'line 3, column "size": the value is missing; expected a number, as in all rows that the model was trained on',
    );
  });

  test.each([
    [
      [{ ...colour, categories: ['green', 'red'] }, size, shape],
      /line 3, column "colour": found "blue"; expected one of the model's 2 categories \(green, red\)$/,
    ],
    [
      [{ name: 'colour', kind: 'numeric' }, size, shape],
      /line 2, column "colour": found "red"; expected a number; 2 more/,
    ],
    [[colour, size], /the model has no column "shape"; expected "colour", "size" alone$/],
    [
      [colour, size, shape, { ...size, name: 'more' }],
      /there is no column "more"; expected all columns that the model was trained with$/,
    ],
  ] as const)('that a trained model does not know are refused', async (columns, message) => {
    await expect(known(columns as readonly Column[])).rejects.toMatchObject({
      name: 'DataError',
      message: expect.stringMatching(message),
    });
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
    [
      'text below numbers',
      'a,b\n1,2\n1,x\n',
      /line 3, column "b": found "x"; expected a number, as in the rows before$/,
    ],
    [
      'numbers below text',
      'a,b\n1,x\n1,2\n',
      /line 3, column "b": found the number 2; expected a text, as in the rows before$/,
    ],
    ['a column without a value', 'a,b\n1,\n2,NA\n', /column "b" has no value in 2 rows; expected some: leave it out$/],
    [
      'two of them',
      'a,b\n1,2\n1,x\ny,2\n',
      /line 3, column "b": found "x"; expected a number, as in the rows before; 1 more such value follows$/,
    ],
    [
      'many of them',
      'a,b\n1,2\n1,N.A.\n-,none\ninf,2\n',
      /line 3, column "b": found "N.A."; expected a number, as in the rows before; 3 more such values follow$/,
    ],
    [
      'a text of its own for each row',
      `a,b\n${Array.from({ length: 1002 }, (_, i) => `${i},x${i}`).join('\n')}`,
      /line 1002, column "b": there are more than 1000 categories; expected fewer: leave the column out; 1 more/,
    ],
    [
      'names',
      `a,b\n${Array.from({ length: 60 }, (_, i) => `${i},x${i % 31}`).join('\n')}`,
      /column "b" has 31 texts in 60 rows; expected categories that come again: leave the column out$/,
    ],
    ['a hexadecimal number', 'a\n1\n0x10\n', /line 3, column "a": found "0x10"/],
    ['a decimal comma', 'a;b\n1;2\n1,5;2\n', /line 3, column "a": found "1,5"/],
    ['a number beyond float32', 'a\n1e39\n', /line 2, column "a": 1e39 is beyond float32/],
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
