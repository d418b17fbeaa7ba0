import type { Column } from '@elbo/models';
import { type Dataset, inMemory } from '@elbo/training/data/dataset';
import { datasetOf } from '@elbo/training/data/datasets';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { readTrainedModel } from '@elbo/training/evaluation/trained-model';
import { preparedFor } from '@elbo/training/prepared-data';
import { train } from '@elbo/training/train';
import type { Configuration } from '@elbo/training/vae/configuration';
import { describe, expect, test } from 'vitest';
import { valuesOf } from '../support/examples.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { barsDataset, tinyConfiguration } from './support/bars.js';
import { CODED_COLUMNS, codesDataset, countsDataset, MIXED_COLUMNS, mixedDataset } from './support/tables.js';

const engine = new OnnxRuntimeEngine(1);

/** Trains a small network; @returns the −ELBO of the test part and the version's directory. */
async function trained(likelihood: Configuration['likelihood'], dataset: Dataset, epochs = 60) {
  const configuration = tinyConfiguration({
    likelihood,
    epochs,
    latent_size: 4,
    encoder: { convolutions: [], hidden: [32] },
    decoder: { convolutions: [], hidden: [32] },
  });
  const result = await train({ engine, configuration, dataset, store: temporaryDirectory() });
  if (result === undefined) throw new Error('nothing was trained');
  const { input, likelihood: recorded, metrics } = result.manifest;
  expect(recorded.kind).toBe(likelihood);
  return { reached: metrics.test_negative_elbo.value, input, directory: result.directory };
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** The columns of a part, each a list of numbers. */
async function columnsOf(examples: Dataset['test']): Promise<number[][]> {
  const values = await valuesOf(examples);
  const size = values.length / examples.count;
  return Array.from({ length: size }, (_, j) => Array.from({ length: examples.count }, (_, i) => values[i * size + j]));
}

/** Mean nats of numbers under their own frequencies: no model of a column alone does better. */
function entropy(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return -sum(values.map((value) => Math.log((counts.get(value) ?? 0) / values.length))) / values.length;
}

/** Mean nats of numbers under the normal distribution that fits them best. */
function normalNats(values: readonly number[]): number {
  const mean = sum(values) / values.length;
  const variance = sum(values.map((value) => (value - mean) ** 2)) / values.length;
  return 0.5 * (Math.log(2 * Math.PI * variance) + 1);
}

describe('a short training beats the best model whose data dimensions are independent:', () => {
  test('mixed columns', async () => {
    const dataset = await mixedDataset();
    const columns = await columnsOf(dataset.test);
    const independent = sum(
      columns.map((values, i) => (MIXED_COLUMNS[i].kind === 'numeric' ? normalNats(values) : entropy(values))),
    );
    const { reached, input, directory } = await trained('mixed', dataset);
    expect(reached).toBeLessThan(independent - 1);
    expect(input).toMatchObject({ kind: 'vector', columns: MIXED_COLUMNS });
    // The columns of the manifest are enough to build the same network again.
    const { model, weights } = await readTrainedModel(directory);
    expect([...weights.keys()]).toEqual(model.parameters.map(({ name }) => name));
  });

  test('codes', async () => {
    const dataset = await codesDataset();
    const { reached, input } = await trained('categorical', dataset);
    expect(reached).toBeLessThan(0.9 * sum((await columnsOf(dataset.test)).map(entropy)));
    expect(input).toMatchObject({ columns: CODED_COLUMNS });
  });

  test('counts', async () => {
    const dataset = await countsDataset();
    const columns = await columnsOf(dataset.test);
    const totals = columns[0].map((_, i) => sum(columns.map((values) => values[i])));
    // Of each gene: its share of all counts, and the best dispersion.
    const independent = sum(
      columns.map((values) => {
        const share = sum(values) / sum(totals);
        const nats = [0.1, 0.3, 1, 3, 10, 30, 100].map(
          (theta) => -sum(values.map((count, i) => negativeBinomial(count, totals[i] * share, theta))) / values.length,
        );
        return Math.min(...nats);
      }),
    );
    const { reached, input } = await trained('negative-binomial', dataset);
    expect(reached).toBeLessThan(0.9 * independent);
    expect(input.value_range).toEqual([0, 2 ** 24]);
  });

  test('bytes of images', async () => {
    const dataset = barsDataset(1000, 300);
    const columns = await columnsOf(dataset.test);
    const grid = (from: number, to: number, steps: number) =>
      Array.from({ length: steps }, (_, i) => from + ((to - from) * i) / (steps - 1));
    const independent = sum(
      columns.map((values) =>
        Math.min(
          ...grid(-0.5, 1.5, 21).flatMap((location) =>
            grid(-5, 2, 15).map(
              (logScale) => -sum(values.map((byte) => discretisedLogistic(byte, location, logScale))) / values.length,
            ),
          ),
        ),
      ),
    );
    const { reached } = await trained('discretised-logistic', dataset, 150);
    expect(reached).toBeLessThan(0.8 * independent);
  });
});

function negativeBinomial(count: number, mu: number, theta: number): number {
  const coefficient = sum(Array.from({ length: count }, (_, i) => Math.log((theta + i) / (i + 1))));
  return coefficient + theta * Math.log(theta / (theta + mu)) + count * Math.log(mu / (theta + mu));
}

function discretisedLogistic(byte: number, location: number, logScale: number): number {
  const below = (bound: number) => sigmoid((bound / 255 - location) / Math.exp(logScale));
  const upper = byte === 255 ? 1 : below(byte + 0.5);
  return Math.log(Math.max(1e-300, upper - (byte === 0 ? 0 : below(byte - 0.5))));
}

describe('data that a likelihood does not take are refused with the first number that is wrong', () => {
  const table = (values: readonly number[], columns?: Column[]) =>
    datasetOf(
      'own',
      {
        train: inMemory(Float32Array.from(values), [2]),
        test: inMemory(Float32Array.of(0, 1), [2]),
      },
      { columns },
    );
  const colours: Column[] = [
    { name: 'weight', kind: 'numeric' },
    { name: 'colour', kind: 'categorical', categories: ['red', 'blue'] },
  ];

  test.each([
    ['negative-binomial', [1, 2, 3, -1], undefined, /row 1, column 1 is -1; expected a count, a whole number from 0/],
    ['negative-binomial', [1, 2.5, 3.5, 1], undefined, /row 0, column 1 is 2.5; .*to 16777216 \(and so 1 more\)$/],
    ['negative-binomial', [1, 2, 3e7, 1], undefined, /row 1, column 0 is 30000000; expected a count/],
    ['categorical', [1, 2, 0.5, 1], undefined, /row 1, column 0 is 0.5; expected the code of a category/],
    ['categorical', [1, -2, 0, 1], undefined, /row 0, column 1 is -2; expected the code of a category/],
    ['categorical', [1, 1000, 0, 1], undefined, /column 1 is 1000; .* a whole number from 0 to 999$/],
    [
      'mixed',
      [0.5, 1, -3, 2],
      colours,
      /row 1, column "colour" is 2; expected the code of one of 2 categories, 0 to 1$/,
    ],
    ['mixed', [0.5, 0.5, -3, 1], colours, /row 0, column "colour" is 0.5; expected the code of one of 2 categories/],
  ] as const)('%s: %j', async (likelihood, values, columns, message) => {
    await expect(preparedFor(likelihood, await table(values, columns && [...columns]))).rejects.toMatchObject({
      name: 'DataError',
      message: expect.stringMatching(message),
    });
  });

  test('not a number, in any of them', async () => {
    await expect(table([1, Number.NaN])).rejects.toMatchObject({ name: 'DataError' });
  });

  test('a test part is checked, too, and columns must be as many as the numbers', async () => {
    const parts = { train: inMemory(Float32Array.of(0, 1), [2]), test: inMemory(Float32Array.of(0, -4), [2]) };
    await expect(preparedFor('negative-binomial', await datasetOf('own', parts))).rejects.toThrow(/column 1 is -4/);
    await expect(table([0, 1], colours.slice(1))).rejects.toThrow(/^own: 1 columns are described; expected 2$/);
  });

  test('a trained model keeps its categories for other data', async () => {
    const coded = await preparedFor('categorical', await table([0, 2, 1, 1]));
    expect(coded.input).toMatchObject({
      columns: [
        { name: '0', kind: 'categorical', categories: ['0', '1'] },
        { name: '1', kind: 'categorical', categories: ['0', '1', '2'] },
      ],
    });
    expect((await preparedFor('categorical', await table([0, 1, 0, 0]), coded.input)).input).toEqual(coded.input);
    await expect(preparedFor('categorical', await table([2, 1]), coded.input)).rejects.toThrow(
      /row 0, column "0" is 2; expected the code of one of 2 categories, 0 to 1$/,
    );
  });

  test('and the configuration is refused where its likelihood does not suit columns with categories', async () => {
    const dataset = await mixedDataset();
    const configuration = tinyConfiguration({ likelihood: 'gaussian' });
    await expect(train({ engine, configuration, dataset, store: temporaryDirectory() })).rejects.toMatchObject({
      name: 'ConfigurationError',
      message: 'likelihood is gaussian; expected mixed for columns with categories, such as "colour"',
    });
  });
});
