import type { FileHandle } from 'node:fs/promises';
import { pipeline } from 'node:stream';
import type { Column } from '@elbo/models';
import { CsvError, parse } from 'csv-parse';
import { plainBytes } from './byte-stream.js';
import { DataError } from './data-error.js';
import {
  type DataProgress,
  Fingerprint,
  type RowDescription,
  type RowSink,
  type RowStore,
  type StoredRows,
} from './row-store.js';
import { oneLine, withSourceFile } from './source-file.js';

const DELIMITERS = [',', ';', '\t'] as const;
type Delimiter = (typeof DELIMITERS)[number];
const DELIMITER_NAMES: Readonly<Record<Delimiter, string>> = { ',': 'commas', ';': 'semicolons', '\t': 'tabs' };

/** What the delimiter is found in: the first lines, as far as they lie in so many bytes. */
const SAMPLE_BYTES = 1 << 20;
const SAMPLE_LINES = 20;

/** A row that is longer has an unclosed quote somewhere before. */
const MAX_ROW_CHARACTERS = 64 << 20;
const MAX_COLUMNS = 1 << 24;

/** Numbers that are passed on at a time. */
const BLOCK_VALUES = 1 << 20;

const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;

/** Cells without a value, besides empty ones, as pandas and R write them. */
const MISSING = new Set(['', 'NA', 'N/A', 'NaN', 'nan', 'null', 'NULL', '?']);

/** Categories of one column; each costs an output of the decoder. */
export const MAX_CATEGORIES = 1000;

/** Of more texts than this, at least half must come again: names and lines of prose are no categories. */
const MAX_RARE_CATEGORIES = 20;

/**
 * Reads the rows of a CSV file: a header row of column names, then values, separated by commas, semicolons or tabs, which
 * are told apart by the first lines. A column holds finite numbers alone, or texts alone, which become codes 0, 1, … in
 * the order of their first appearance. Cells that are empty, NA, NaN, null or ? are missing values, NaN.
 * @param known columns of a trained model: the file must have the same, in any order, and its texts get their codes
 * @throws {DataError} where the file cannot be read, its delimiter is not clear, names are missing or double, a row has
 *   another number of values than the header, or a value is not what its column holds (with its line and column, and how
 *   many more), or there are too many categories, or next to none that comes again
 */
export function readCsv(
  path: string,
  store: RowStore,
  onProgress?: DataProgress,
  known?: readonly Column[],
): Promise<StoredRows> {
  return withSourceFile(path, 'a CSV file', async (file, stats) => {
    const key = new Fingerprint(known === undefined ? 'csv' : `csv ${JSON.stringify(known)}`).add(path, stats).digest();
    const delimiter = await delimiterOf(path, file, stats.size);
    return store.keep(key, undefined, async (sink) => {
      const parser = pipeline(
        withProgress(plainBytes(file, 0, stats.size), stats.size, `reading ${path}`, onProgress),
        parse({
          bom: true,
          delimiter,
          info: true,
          max_record_size: MAX_ROW_CHARACTERS,
          // The number of values is checked here, with a message of its own.
          relax_column_count: true,
          skip_empty_lines: true,
          trim: true,
        }),
        // What goes wrong also ends the iteration.
        () => {},
      );
      try {
        return await convert(path, parser, sink, known);
      } catch (error) {
        if (error instanceof CsvError) throw new DataError(`${path}: ${explain(error)}`, { cause: error });
        throw error;
      } finally {
        parser.destroy();
      }
    });
  });
}

interface ParsedRecord {
  readonly record: readonly string[];
  readonly info: { readonly lines: number };
}

async function convert(
  path: string,
  records: AsyncIterable<ParsedRecord>,
  sink: RowSink,
  known: readonly Column[] | undefined,
): Promise<RowDescription> {
  let columns: readonly ColumnReader[] | undefined;
  /** Where the value of each column of the file goes in a row. */
  let places: readonly number[] = [];
  let block = new Float32Array(0);
  let filled = 0;
  let count = 0;
  let firstBad: string | undefined;
  let bad = 0;
  for await (const { record, info } of records) {
    if (columns === undefined) {
      const names = checkedHeader(path, record, known);
      const placeOf = new Map(known?.map(({ name }, place) => [name, place]));
      places = names.map((name, i) => placeOf.get(name) ?? i);
      columns = names.map((name, i) => new ColumnReader(name, known?.[places[i]]));
      block = new Float32Array(columns.length * Math.max(1, Math.floor(BLOCK_VALUES / columns.length)));
      continue;
    }
    if (record.length !== columns.length) {
      throw new DataError(
        `${path}: line ${info.lines} has ${record.length} values; expected ${columns.length}, as many as the header has names`,
      );
    }
    for (let i = 0; i < record.length; i++) {
      const value = columns[i].read(record[i]);
      if (typeof value === 'string') {
        bad++;
        firstBad ??= `line ${info.lines}, column ${shown(columns[i].name)}: ${value}`;
      } else block[filled + places[i]] = value;
    }
    filled += columns.length;
    count++;
    if (filled === block.length) {
      if (bad === 0) await sink(new Uint8Array(block.buffer));
      filled = 0;
    }
  }
  if (firstBad !== undefined) {
    const more =
      bad === 1 ? '' : `; ${bad - 1} more such ${bad === 2 ? 'value' : 'values'} follow${bad === 2 ? 's' : ''}`;
    throw new DataError(`${path}: ${firstBad}${more}`);
  }
  if (columns === undefined) throw new DataError(`${path}: there is no line; expected a header row and values below`);
  if (count === 0) throw new DataError(`${path}: there are no rows below the header; expected values`);
  for (const column of columns) column.checkValues(path, count);
  if (filled > 0) await sink(new Uint8Array(block.buffer, 0, 4 * filled));
  const described = known ?? columns.map((column) => column.described());
  return { count, shape: [columns.length], dtype: 'float32', columns: described };
}

/** Reads the values of one column, whose first value says whether they are numbers or categories. */
class ColumnReader {
  readonly name: string;
  /** By text; undefined for numbers. */
  #codes: Map<string, number> | undefined;
  #isDecided = false;
  #isMissing = false;
  /** Whether new texts are categories, and values may be missing. */
  readonly #isOpen: boolean;

  constructor(name: string, known: Column | undefined) {
    this.name = name;
    this.#isOpen = known === undefined;
    if (known === undefined) return;
    this.#isDecided = true;
    this.#isMissing = known.missing === true;
    if (known.kind === 'categorical') this.#codes = new Map(known.categories.map((text, code) => [text, code]));
  }

  /** @returns the number or the code of a category, or what is wrong with the text */
  read(text: string): number | string {
    if (MISSING.has(text) && !this.#codes?.has(text)) {
      this.#isMissing ||= this.#isOpen;
      if (this.#isMissing) return Number.NaN;
      return `the value is missing; expected ${this.#codes === undefined ? 'a number' : 'a category'}, as in all rows that the model was trained on`;
    }
    const isNumber = NUMBER.test(text);
    if (!this.#isDecided) {
      this.#isDecided = true;
      if (!isNumber) this.#codes = new Map();
    }
    if (this.#codes !== undefined) return this.#category(text, isNumber, this.#codes);
    if (!isNumber) {
      return `found ${JSON.stringify(text.slice(0, 40))}; expected a number${this.#isOpen ? ', as in the rows before' : ''}`;
    }
    const value = Math.fround(Number(text));
    return Number.isFinite(value) ? value : `${text.slice(0, 40)} is beyond float32; expected a number`;
  }

  #category(text: string, isNumber: boolean, codes: Map<string, number>): number | string {
    const code = codes.get(text);
    if (code !== undefined) return code;
    if (!this.#isOpen) {
      const names = [...codes.keys()].slice(0, 5).join(', ').slice(0, 80);
      return `found ${JSON.stringify(text.slice(0, 40))}; expected one of the model's ${codes.size} categories (${names}${codes.size > 5 ? ', …' : ''})`;
    }
    if (isNumber) return `found the number ${text.slice(0, 40)}; expected a text, as in the rows before`;
    if (codes.size === MAX_CATEGORIES) {
      return `there are more than ${MAX_CATEGORIES} categories; expected fewer: leave the column out`;
    }
    codes.set(text, codes.size);
    return codes.size - 1;
  }

  /** @throws {DataError} where there is no value, or nearly every row has a text of its own */
  checkValues(path: string, rows: number): void {
    if (!this.#isDecided) {
      throw new DataError(
        `${path}: column ${shown(this.name)} has no value in ${rows} rows; expected some: leave it out`,
      );
    }
    const count = this.#codes?.size ?? 0;
    if (!this.#isOpen || count <= MAX_RARE_CATEGORIES || count <= rows / 2) return;
    throw new DataError(
      `${path}: column ${shown(this.name)} has ${count} texts in ${rows} rows; expected categories that come again: leave the column out`,
    );
  }

  described(): Column {
    const { name } = this;
    const missing = this.#isMissing ? { missing: true as const } : {};
    return this.#codes === undefined
      ? { name, kind: 'numeric', ...missing }
      : { name, kind: 'categorical', categories: [...this.#codes.keys()], ...missing };
  }
}

/** The first of some names. */
const listed = (names: readonly string[]) =>
  names.length <= 8 ? names.join(', ') : `${names.slice(0, 8).join(', ')} and ${names.length - 8} more`;

const shown = (name: string) => JSON.stringify(name.slice(0, 80));

function checkedHeader(
  path: string,
  names: readonly string[],
  known: readonly Column[] | undefined,
): readonly string[] {
  if (names.length > MAX_COLUMNS) {
    throw new DataError(`${path}: there are ${names.length} columns; expected at most ${MAX_COLUMNS}`);
  }
  if (names.every((name) => NUMBER.test(name))) {
    throw new DataError(
      `${path}: the first line holds numbers alone (${names.slice(0, 3).join(', ').slice(0, 60)}, …); expected a header row with the names of the columns`,
    );
  }
  const seen = new Map<string, number>();
  for (const [i, name] of names.entries()) {
    if (name === '') throw new DataError(`${path}: column ${i + 1} has no name; expected one in the header row`);
    const other = seen.get(name);
    if (other !== undefined) {
      throw new DataError(
        `${path}: columns ${other} and ${i + 1} are both named ${shown(name)}; expected a name of its own for each`,
      );
    }
    seen.set(name, i + 1);
  }
  if (known === undefined) return names;
  const absent = known.filter(({ name }) => !seen.has(name)).map(({ name }) => shown(name));
  if (absent.length > 0) {
    throw new DataError(
      `${path}: there is no column ${listed(absent)}; expected all columns that the model was trained with`,
    );
  }
  const expected = new Set(known.map(({ name }) => name));
  const strange = names.filter((name) => !expected.has(name)).map(shown);
  if (strange.length > 0) {
    const own = listed(known.map(({ name }) => shown(name)));
    throw new DataError(`${path}: the model has no column ${listed(strange)}; expected ${own} alone`);
  }
  return names;
}

/** Finds the delimiter in the first lines. */
async function delimiterOf(path: string, file: FileHandle, size: number): Promise<Delimiter> {
  const buffer = Buffer.alloc(Math.min(size, SAMPLE_BYTES));
  const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
  const start = buffer.toString('hex', 0, 2);
  if (start === 'fffe' || start === 'feff') throw new DataError(`${path}: the text is UTF-16; expected UTF-8`);
  const sample = buffer.toString('utf8', 0, bytesRead);
  if (sample.includes('\0')) throw new DataError(`${path}: the file is binary; expected lines of text`);
  const lines = countsOfLines(sample, bytesRead === size);
  const [first] = lines;
  if (first === undefined) {
    throw new DataError(`${path}: the first ${bytesRead} bytes hold no whole line; expected a header row`);
  }
  const present = DELIMITERS.filter((delimiter) => first[delimiter] > 0);
  const steady = present.filter((delimiter) => lines.every((line) => line[delimiter] === first[delimiter]));
  const candidates = steady.length > 0 ? steady : present;
  if (candidates.length > 1) {
    const names = candidates.map((delimiter) => DELIMITER_NAMES[delimiter]).join(' or ');
    throw new DataError(`${path}: its values could be separated by ${names}; expected one of them alone`);
  }
  const [delimiter = ','] = candidates;
  return delimiter;
}

/** How often each delimiter stands outside quotes in each of the first lines that are not empty. */
function countsOfLines(sample: string, whole: boolean): Record<Delimiter, number>[] {
  const lines: Record<Delimiter, number>[] = [];
  const none = { ',': 0, ';': 0, '\t': 0 };
  let line = { ...none };
  let empty = true;
  let quoted = false;
  for (const character of sample) {
    if (!quoted && (character === '\n' || character === '\r')) {
      if (!empty) lines.push(line);
      if (lines.length === SAMPLE_LINES) return lines;
      line = { ...none };
      empty = true;
      continue;
    }
    if (character === '"') quoted = !quoted;
    else if (!quoted && (character === ',' || character === ';' || character === '\t')) line[character]++;
    if (character !== '\ufeff') empty = false;
  }
  if (!empty && whole) lines.push(line);
  return lines;
}

function explain(error: CsvError): string {
  switch (error.code) {
    case 'CSV_MAX_RECORD_SIZE':
      return `a row is longer than ${MAX_ROW_CHARACTERS} characters; expected fewer, or a quote that was opened before to be closed`;
    case 'CSV_QUOTE_NOT_CLOSED':
      return `${oneLine(error.message)}; expected it to be closed`;
    default:
      return oneLine(error.message).slice(0, 200);
  }
}

async function* withProgress(
  chunks: AsyncIterable<Buffer>,
  total: number,
  text: string,
  onProgress: DataProgress | undefined,
): AsyncGenerator<Buffer> {
  let done = 0;
  for await (const chunk of chunks) {
    yield chunk;
    done += chunk.length;
    onProgress?.(done, total, text);
  }
}
