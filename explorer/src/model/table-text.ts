import { type ColumnView, columnsOf, type VectorInput } from './model.js';

const MISSING = new Set(['', 'na', 'nan', 'null', '?']);
/** More would keep the page busy for seconds, and nobody looks at them one by one. */
const MOST_ROWS = 20_000;
const SEPARATORS = [',', ';', '\t'];

/**
 * Rows of a table from text: CSV with or without a line of column names, or numbers separated by commas.
 * @returns each row's values in the order of the columns, NaN where missing
 * @throws {Error} that says in words which cell was expected to be what
 */
export function rowsOfText(text: string, input: VectorInput): Float32Array[] {
  const columns = columnsOf(input);
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  const [first] = lines;
  if (first === undefined) throw new Error('There is nothing in it; expected one row at least.');
  const separator = SEPARATORS.find((candidate) => cellsOf(first, candidate).length > 1) ?? ',';
  if (lines.length > MOST_ROWS) {
    throw new Error(
      `There are ${lines.length} rows; expected ${MOST_ROWS} at most. The service itself scores a stream of any length.`,
    );
  }
  const table = lines.map((line) => cellsOf(line, separator));
  const names = new Map(columns.map(({ name }, i) => [name, i]));
  const header = table[0] ?? [];
  const hasHeader = header.some((cell) => names.has(cell)) && header.some((cell) => !isValue(cell));
  const order = hasHeader ? placesOf(header, columns) : columns.map((_, i) => i);
  const rows = hasHeader ? table.slice(1) : table;
  if (rows.length === 0) throw new Error('There are column names and no row; expected one row at least.');
  return rows.map((cells, row) => {
    if (!hasHeader && cells.length !== columns.length) {
      throw new Error(`Row ${row + 1} has ${cells.length} values; expected ${columns.length}, one for each column.`);
    }
    return Float32Array.from(columns, (column, i) => {
      const place = order[i] ?? -1;
      return place === -1 ? Number.NaN : cellValue(cells[place] ?? '', column, row);
    });
  });
}

/** Where each column stands among the names of the first line; -1 where it does not. */
function placesOf(header: readonly string[], columns: readonly ColumnView[]): number[] {
  const places = columns.map(({ name }) => header.indexOf(name));
  if (places.every((place) => place === -1))
    throw new Error(
      `The first line names none of the columns; expected ${columns.map(({ name }) => name).join(', ')}.`,
    );
  return places;
}

function isValue(cell: string): boolean {
  return MISSING.has(cell.toLowerCase()) || Number.isFinite(Number(cell));
}

/** The number of a cell's text: of a category, its code. */
export function cellValue(text: string, { name, categories }: ColumnView, row = 0): number {
  const cell = text.trim();
  if (MISSING.has(cell.toLowerCase())) return Number.NaN;
  const code = categories?.indexOf(cell) ?? -1;
  if (code !== -1) return code;
  const value = Number(cell);
  // Larger ones would be infinite as float32, which JSON has no number for.
  if (Number.isFinite(Math.fround(value))) return value;
  const expected = categories === undefined ? 'a number' : `one of ${categories.join(', ')}`;
  throw new Error(`Row ${row + 1}, ${name}: “${cell}” is not ${expected}.`);
}

/** Cells of a line, which may stand in double quotes. */
function cellsOf(line: string, separator: string): string[] {
  const cells: string[] = [];
  let cell = '';
  let isQuoted = false;
  for (let i = 0; i < line.length; i++) {
    const character = line[i];
    if (character === '"') {
      if (isQuoted && line[i + 1] === '"') {
        cell += '"';
        i++;
      } else isQuoted = !isQuoted;
    } else if (character === separator && !isQuoted) {
      cells.push(cell.trim());
      cell = '';
    } else cell += character;
  }
  return [...cells, cell.trim()];
}
