import { type Column, RandomSource } from '@elbo/models';
import { type Dataset, inMemory } from '@elbo/training/data/dataset';
import { datasetOf } from '@elbo/training/data/datasets';

// Small tables with a structure that a tiny network learns in a second: each row is of one of three kinds.

const KINDS = 3;

/** A row of a kind: its numbers, which `random` makes differ. */
type Row = (kind: number, random: RandomSource) => number[];

function tableOf(name: string, train: number, test: number, row: Row, columns?: Column[]): Promise<Dataset> {
  const part = (count: number, seed: number) => {
    const random = new RandomSource(seed);
    const rows = Array.from({ length: count }, () => row(random.integer(KINDS), random));
    return inMemory(Float32Array.from(rows.flat()), [rows[0].length]);
  };
  return datasetOf(name, { train: part(train, 1), test: part(test, 2) }, { columns });
}

const normal = (random: RandomSource) => random.fillNormal(new Float32Array(1))[0];
const pick = (random: RandomSource, mostly: number, count: number) =>
  random.uniform() < 0.85 ? mostly % count : random.integer(count);

/** Counts of nine genes, three of which stand out in each kind; rows differ in how much was counted. */
export function countsDataset(train = 600, test = 200): Promise<Dataset> {
  return tableOf('counts', train, test, (kind, random) => {
    const depth = 1 + random.integer(4);
    return Array.from({ length: 9 }, (_, gene) => {
      const mean = depth * (gene % KINDS === kind ? 6 : 1);
      return Math.max(0, Math.round(mean + Math.sqrt(mean) * normal(random)));
    });
  });
}

export const CODED_COLUMNS: readonly Column[] = [3, 2, 3, 4, 2, 3].map((count, i) => ({
  name: `code${i}`,
  kind: 'categorical',
  categories: Array.from({ length: count }, (_, code) => String(code)),
}));

/** Six columns of codes that follow the kind, most of the time. */
export function codesDataset(train = 600, test = 200): Promise<Dataset> {
  return tableOf(
    'codes',
    train,
    test,
    (kind, random) => CODED_COLUMNS.map((_, i) => pick(random, kind + i, [3, 2, 3, 4, 2, 3][i])),
    [...CODED_COLUMNS],
  );
}

export const MIXED_COLUMNS: readonly Column[] = [
  { name: 'colour', kind: 'categorical', categories: ['red', 'green', 'blue'] },
  { name: 'weight', kind: 'numeric' },
  { name: 'is_new', kind: 'categorical', categories: ['no', 'yes'] },
  { name: 'price', kind: 'numeric' },
];

/** Numbers of unlike units, and categories, all of which follow the kind. */
export function mixedDataset(train = 600, test = 200): Promise<Dataset> {
  return tableOf(
    'mixed',
    train,
    test,
    (kind, random) => [
      pick(random, kind, 3),
      1000 * kind + 50 * normal(random),
      pick(random, kind, 2),
      0.02 * kind + 0.005 * normal(random),
    ],
    [...MIXED_COLUMNS],
  );
}
