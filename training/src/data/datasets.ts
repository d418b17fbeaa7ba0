import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageInput } from '@elbo/models';
import { closestMatch } from 'leven';
import { DataError } from './data-error.js';
import { type Dataset, type Examples, hashOf, slice, take } from './dataset.js';
import { readIdxExamples } from './idx.js';
import { generateShapes, SHAPES_SIZE } from './shapes.js';

export interface DatasetOptions {
  /** Holds a folder for each data set; generated ones need none. */
  readonly dataDir?: string | undefined;
  /** Keeps at most this many examples of the training part and of the test part. */
  readonly limit?: number | undefined;
  /** Of generated data sets; an integer from 0 to 2^32 - 1. */
  readonly seed?: number | undefined;
}

interface Source {
  readonly input: ImageInput;
  load(options: DatasetOptions): Promise<{ train: Examples; test: Examples }>;
}

const SHAPES_TRAIN = 10_000;
const SHAPES_TEST = 2_000;

const sources: ReadonlyMap<string, Source> = new Map([
  ['mnist', mnistLike('mnist')],
  ['fashion-mnist', mnistLike('fashion-mnist')],
  ['shapes', { input: greyImage(SHAPES_SIZE, SHAPES_SIZE), load: loadShapes }],
]);

export const datasetNames: readonly string[] = [...sources.keys()];

/**
 * Reads or generates a data set.
 * @throws {DataError} where the name is unknown, `limit` is not a positive integer, or a file is missing or malformed
 */
export async function loadDataset(name: string, options: DatasetOptions = {}): Promise<Dataset> {
  const source = sources.get(name);
  if (source === undefined) throw unknownDataset(name);
  const { limit } = options;
  if (limit !== undefined && !(Number.isInteger(limit) && limit >= 1)) {
    throw new DataError(`limit is ${limit}; expected an integer of at least 1`);
  }
  const { train, test } = await source.load(options);
  const limited = (examples: Examples) => (limit === undefined ? examples : take(examples, limit));
  const kept = limited(train);
  return {
    name,
    input: source.input,
    train: kept,
    test: limited(test),
    sha256: await hashOf(kept),
  };
}

/** A data set distributed as MNIST is: four IDX files in a folder of its own. */
function mnistLike(name: string): Source {
  const size = { height: 28, width: 28 };
  return {
    input: greyImage(size.height, size.width),
    async load({ dataDir }) {
      if (dataDir === undefined) {
        throw new DataError(`${name}: no data directory given; name the one that holds ${name}/ by --data-dir DIR`);
      }
      const file = (stem: string) => findFile(name, dataDir, stem);
      // All four are looked for before the first is read: a missing one shows at once.
      const [trainImages, trainLabels, testImages, testLabels] = [
        await file('train-images-idx3-ubyte'),
        await file('train-labels-idx1-ubyte'),
        await file('t10k-images-idx3-ubyte'),
        await file('t10k-labels-idx1-ubyte'),
      ];
      return {
        train: await readIdxExamples(trainImages, trainLabels, size),
        test: await readIdxExamples(testImages, testLabels, size),
      };
    },
  };
}

/** One draw of distinct images, cut in two, so that no test image is a training image. */
async function loadShapes({ seed = 0 }: DatasetOptions): Promise<{ train: Examples; test: Examples }> {
  const examples = await generateShapes({ count: SHAPES_TRAIN + SHAPES_TEST, seed });
  return {
    train: slice(examples, 0, SHAPES_TRAIN),
    test: slice(examples, SHAPES_TRAIN, examples.count),
  };
}

function greyImage(height: number, width: number): ImageInput {
  return {
    kind: 'image',
    shape: [1, height, width],
    channel_order: 'CHW',
    colour: 'grey',
    value_range: [0, 1],
    resize: { fit: 'contain', background: 0 },
  };
}

async function findFile(name: string, dataDir: string, stem: string): Promise<string> {
  const directory = join(dataDir, name);
  for (const file of [`${stem}.gz`, stem]) {
    const path = join(directory, file);
    const found = await access(path).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  throw new DataError(
    `${name}: neither ${stem}.gz nor ${stem} in ${directory}; name the directory that holds ${name}/ by --data-dir DIR`,
  );
}

function unknownDataset(name: string): DataError {
  const closest = closestMatch(name, datasetNames, { maxDistance: Math.ceil(name.length / 2) });
  const suggestion = closest === undefined ? '' : `; did you mean ${closest}?`;
  return new DataError(`dataset is ${JSON.stringify(name)}; expected one of ${datasetNames.join(', ')}${suggestion}`);
}
