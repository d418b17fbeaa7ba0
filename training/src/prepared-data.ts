import type { Column, InputDescription } from '@elbo/models';
import { MAX_CATEGORIES } from './data/csv.js';
import { DataError } from './data/data-error.js';
import { type Dataset, type Examples, meanPerFeature } from './data/dataset.js';
import { checkWholeNumbers, countMoments, LARGEST_COUNT, type WholeNumbers } from './data/whole-numbers.js';
import type { TableForm } from './vae/likelihoods/likelihood.js';
import { type DataMoments, LIKELIHOODS, type LikelihoodName } from './vae/likelihoods.js';

/**
 * A data set as a likelihood takes it: counts and codes are checked, and the input says what a model of them accepts. The
 * columns of a likelihood of codes are found here, unless they are known.
 * @param known input of a trained model that the data set is for
 * @throws {DataError} naming the first number that the likelihood does not take
 */
export async function preparedFor(
  likelihood: LikelihoodName,
  dataset: Dataset,
  known?: InputDescription,
): Promise<Dataset> {
  const { input } = dataset;
  const { tables: form } = LIKELIHOODS[likelihood];
  if (input.kind !== 'vector') return dataset;
  const columns = known?.kind === 'vector' ? known.columns : input.columns;
  const missing = input.columns?.find((column, i) => column.missing && !(form === 'columns' && columns?.[i]?.missing));
  if (missing !== undefined) {
    const expected =
      form === 'columns'
        ? 'values in every row, as the model was trained with'
        : 'the likelihood mixed, which knows of missing values, or a file without them';
    throw new DataError(
      `${dataset.name}: column ${JSON.stringify(missing.name)} has missing values; expected ${expected}`,
    );
  }
  const largest = await Promise.all(
    [dataset.train, dataset.test].map((examples) =>
      checkWholeNumbers(dataset.name, examples, (column) => ruleOf(form, columns?.[column]), columns),
    ),
  );
  if (form === 'counts') return { ...dataset, input: { ...input, value_range: [0, LARGEST_COUNT] } };
  if (form !== 'codes') return dataset;
  return { ...dataset, input: { ...input, columns: [...(known ? (columns ?? []) : codedColumns(largest, columns))] } };
}

/** What is to be known of training examples before a model is made: where its outputs and scales start. */
export async function momentsFor(likelihood: LikelihoodName, examples: Examples): Promise<DataMoments> {
  const moments = await meanPerFeature(examples);
  if (LIKELIHOODS[likelihood].tables !== 'counts') return moments;
  return { ...moments, counts: await countMoments(examples) };
}

function ruleOf(form: TableForm | 'none', column: Column | undefined): WholeNumbers | undefined {
  if (form === 'counts') {
    return { largest: LARGEST_COUNT, expected: `a count, a whole number from 0 to ${LARGEST_COUNT}` };
  }
  if (column?.kind === 'categorical') {
    const largest = column.categories.length - 1;
    return { largest, expected: `the code of one of ${column.categories.length} categories, 0 to ${largest}` };
  }
  if (form !== 'codes') return undefined;
  return {
    largest: MAX_CATEGORIES - 1,
    expected: `the code of a category, a whole number from 0 to ${MAX_CATEGORIES - 1}`,
  };
}

/** A code that only the test part has is a category, too: a model gives it little probability, but some. */
function codedColumns(largest: readonly Float64Array[], columns: readonly Column[] | undefined): Column[] {
  return Array.from(largest[0], (_, i) => {
    const column = columns?.[i];
    if (column?.kind === 'categorical') return column;
    const count = 1 + Math.max(...largest.map((ofPart) => ofPart[i]));
    const categories = Array.from({ length: count }, (_, code) => String(code));
    return { name: column?.name ?? String(i), kind: 'categorical', categories };
  });
}
