import { describe, expect, test } from 'vitest';
import { rowsOfText } from '../../explorer/dist/model/table-text.js';
import { TABLE_INPUT } from './support/explorer-store.js';

const rows = (text: string) => {
  if (TABLE_INPUT.kind !== 'vector') throw new Error('the fixture is no table');
  return rowsOfText(text, TABLE_INPUT as Parameters<typeof rowsOfText>[1]).map((row) => [...row]);
};

describe('rows that somebody pastes', () => {
  test.each([
    ['with names, in any order', 'flow,colour,temperature,pressure\n4,blue,1,2', [[1, 2, 2, 4]]],
    [
      'without names',
      '1,2,green,4\n5,6,0,8',
      [
        [1, 2, 1, 4],
        [5, 6, 0, 8],
      ],
    ],
    ['with semicolons and Windows line ends', 'temperature;pressure;colour;flow\r\n1;2;red;4\r\n', [[1, 2, 0, 4]]],
    ['from a spreadsheet, by tabs', '1\t2\tred\t4', [[1, 2, 0, 4]]],
    ['in quotes', '"1","2","red","4"', [[1, 2, 0, 4]]],
    ['with missing values and columns', 'temperature,colour,flow\nNA,?,4', [[Number.NaN, Number.NaN, Number.NaN, 4]]],
  ])('%s', (_, text, expected) => {
    expect(rows(text)).toEqual(expected);
  });

  test.each([
    ['nothing', ' \n', 'There is nothing in it; expected one row at least.'],
    [
      'names alone',
      'temperature,pressure,colour,flow',
      'There are column names and no row; expected one row at least.',
    ],
    ['too few values', '1,2', 'Row 1 has 2 values; expected 4, one for each column.'],
    ['a word for a number', '1,2,red,warm', 'Row 1, flow: “warm” is not a number.'],
    ['an unknown category', '1,2,mauve,4', 'Row 1, colour: “mauve” is not one of red, green, blue.'],
  ])('not %s', (_, text, message) => {
    expect(() => rows(text)).toThrow(message);
  });
});
