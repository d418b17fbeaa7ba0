import { access, stat } from 'node:fs/promises';
import { basename, extname, isAbsolute, join, resolve } from 'node:path';
import type { Column, ImageInput, VectorInput } from '@elbo/models';
import { RandomSource } from '@elbo/models';
import { closestMatch } from 'leven';
import { readCsv } from './csv.js';
import { DataError } from './data-error.js';
import { type Dataset, type Examples, slice, subset, take } from './dataset.js';
import { readIdxExamples, readIdxRows } from './idx.js';
import { type ImageForm, RESIZE, readImageFolder } from './image-folder.js';
import { readNpy } from './npy.js';
import { readNpz } from './npz.js';
import { type DataProgress, RowStore } from './row-store.js';
import { drawShapes, generateShapes, SHAPES_CLASSES, SHAPES_SIZE } from './shapes.js';
import { asDataError } from './source-file.js';
import { type Survey, survey } from './survey.js';

export interface DatasetOptions {
  /** Holds a folder for each data set; generated ones and paths need none. */
  readonly dataDir?: string | undefined;
  /** Keeps at most this many examples of the training part and of the test part. */
  readonly limit?: number | undefined;
  /** Of generated data sets, and of the split where a file has no test part; an integer from 0 to 2^32 - 1. */
  readonly seed?: number | undefined;
  /** What the images of a folder are brought to; undefined: see `readImageFolder`. */
  readonly image?: ImageForm | undefined;
  /** Of the CSV file, as a trained model knows them: its categories keep their codes. */
  readonly columns?: readonly Column[] | undefined;
  /** Where converted data beyond the memory budget are kept; see `defaultCacheDirectory`. */
  readonly cacheDir?: string | undefined;
  /** Bytes up to which a part is kept in memory; 128 MiB. */
  readonly memoryBudget?: number | undefined;
  readonly onProgress?: DataProgress | undefined;
}

/** What a source holds, before limits apply. */
interface Parts {
  readonly train: Examples;
  /** Undefined where the source has none of its own. */
  readonly test?: Examples;
  readonly columns?: readonly Column[];
  readonly classNames?: Dataset['classNames'];
  readonly description: string;
  readonly draw?: Dataset['draw'];
}

interface Source {
  readonly description: string;
  load(options: DatasetOptions, store: RowStore): Promise<Parts>;
}

const SHAPES_TRAIN = 10_000;
const SHAPES_TEST = 2_000;

/**
 * What a table's model accepts: far more than it was trained on, since an anomaly may lie there, and few enough that the
 * square of a standardised value is still a float32.
 */
const LARGEST_IN_TABLE = 1e12;

/** Share of the examples that becomes the test part of a file that has none. */
const TEST_FRACTION = 0.1;

// Far from the streams that training and validation draw from, so that one seed can serve all.
const TEST_STREAM = 18;

/** Classes of Fashion-MNIST, as its authors name them (Xiao, Rasul & Vollgraf, 2017, table 2). */
const CLOTHES = [
  'T-shirt/top',
  'Trouser',
  'Pullover',
  'Dress',
  'Coat',
  'Sandal',
  'Shirt',
  'Sneaker',
  'Bag',
  'Ankle boot',
] as const;

const sources: ReadonlyMap<string, Source> = new Map([
  ['mnist', mnistLike('mnist', '70,000 handwritten digits, 28 x 28 grey, ten classes')],
  ['fashion-mnist', mnistLike('fashion-mnist', '70,000 pieces of clothing, 28 x 28 grey, ten classes', CLOTHES)],
  [
    'shapes',
    { description: '12,000 sprites with known factors, 32 x 32 grey; generated, nothing to fetch', load: loadShapes },
  ],
]);

export const datasetNames: readonly string[] = [...sources.keys()];

/** Names of the data sets that are known, each with a line about it. */
export const datasetDescriptions: ReadonlyMap<string, string> = new Map(
  [...sources].map(([name, { description }]) => [name, description]),
);

/** What else can be given in place of a name. */
export const PATH_DESCRIPTION =
  'In place of a name: the path of a .npy, .npz, .csv or IDX (.gz) file, or of a folder of PNG, JPEG or WebP images, here or in the data directory';

/**
 * Reads or generates a data set.
 *
 * A path without a test part of its own is split: the last tenth (at least one) of the examples, shuffled by the seed,
 * becomes the test part. Bytes become images with values in [0, 1]; float32 images must lie there already; vectors may
 * have any units.
 * @param nameOrPath a known name, else a path, looked for here and then in `dataDir`
 * @throws {DataError} where there is no such data set, `limit` is not a positive integer, or a file is missing or malformed
 */
export async function loadDataset(nameOrPath: string, options: DatasetOptions = {}): Promise<Dataset> {
  const { limit, seed = 0 } = options;
  if (limit !== undefined && !(Number.isInteger(limit) && limit >= 1)) {
    throw new DataError(`limit is ${limit}; expected an integer of at least 1`);
  }
  const store = new RowStore(options);
  const source = sources.get(nameOrPath);
  const parts = source === undefined ? await loadPath(nameOrPath, options, store) : await source.load(options, store);
  const { train, test, description } =
    parts.test === undefined ? splitTest(nameOrPath, parts, seed) : { ...parts, test: parts.test };
  const limited = (examples: Examples) => (limit === undefined ? examples : take(examples, limit));
  const kept = { train: limited(train), test: limited(test) };
  const trainSurvey = await survey(kept.train, store, options.onProgress);
  // Bytes need no check, and their hash is the training part's alone.
  const testSurvey = kept.test.dtype === 'uint8' ? trainSurvey : await survey(kept.test, store, options.onProgress);
  return {
    name: source === undefined ? basename(nameOrPath) : nameOrPath,
    input: inputOf(nameOrPath, kept.train, [trainSurvey, testSurvey], parts.columns),
    ...kept,
    sha256: trainSurvey.sha256,
    ...(parts.classNames && { classNames: parts.classNames }),
    ...(parts.draw && { draw: parts.draw }),
    description,
  };
}

/**
 * A data set of examples that a program holds or has on disk.
 * @param name for checkpoints and manifests
 * @param options.columns of a table: their names, and the categories that the numbers of some of them are codes of
 * @throws {DataError} where numbers are not finite, or are not what `loadDataset` takes either
 */
export async function datasetOf(
  name: string,
  { train, test }: { readonly train: Examples; readonly test: Examples },
  options: Pick<DatasetOptions, 'cacheDir' | 'columns'> = {},
): Promise<Dataset> {
  for (const [part, { count }] of Object.entries({ training: train, test })) {
    if (count < 1) throw new DataError(`${name}: the ${part} part has no examples; expected at least one`);
  }
  if (train.shape.join() !== test.shape.join() || train.dtype !== test.dtype) {
    throw new DataError(
      `${name}: the test part is ${test.dtype} [${test.shape.join(', ')}]; expected ${train.dtype} [${train.shape.join(', ')}] as the training part`,
    );
  }
  const store = new RowStore(options);
  const [ofTrain, ofTest] = [await survey(train, store), await survey(test, store)];
  return { name, input: inputOf(name, train, [ofTrain, ofTest], options.columns), train, test, sha256: ofTrain.sha256 };
}

function splitTest(name: string, { train: all, description }: Parts, seed: number): Parts & { test: Examples } {
  const { count } = all;
  if (count < 2)
    throw new DataError(`${name}: there is ${count} example; expected at least 2, one of them to test with`);
  const testCount = Math.max(1, Math.floor(count * TEST_FRACTION));
  const order = new RandomSource(seed, TEST_STREAM).permutation(count);
  return {
    // In the order of the storage, which reads faster.
    train: subset(all, order.subarray(0, count - testCount).sort()),
    test: subset(all, order.subarray(count - testCount).sort()),
    description: `${description}; the last ${testCount} of ${count} examples, shuffled by seed ${seed}, are the test part`,
  };
}

function inputOf(
  name: string,
  { shape, dtype }: Examples,
  surveys: readonly [train: Survey, test: Survey],
  columns: readonly Column[] | undefined,
): ImageInput | VectorInput {
  const lowest = Math.min(...surveys.map(({ low }) => low));
  const highest = Math.max(...surveys.map(({ high }) => high));
  if (shape.length === 1) {
    const [{ low, high }] = surveys;
    if (!(low < high)) throw new DataError(`${name}: every training value is ${low}; expected values that differ`);
    if (Math.max(-lowest, highest) > LARGEST_IN_TABLE) {
      throw new DataError(
        `${name}: values are from ${lowest} to ${highest}; expected them within ±${LARGEST_IN_TABLE}`,
      );
    }
    if (columns !== undefined && columns.length !== shape[0]) {
      throw new DataError(`${name}: ${columns.length} columns are described; expected ${shape[0]}`);
    }
    const described = withMissing(columns, new Set(surveys.flatMap(({ missing }) => missing)), shape[0]);
    return {
      kind: 'vector',
      shape: [shape[0]],
      value_range: [-LARGEST_IN_TABLE, LARGEST_IN_TABLE],
      ...(described && { columns: described }),
    };
  }
  const [channels, height, width] = shape;
  if (shape.length !== 3 || (channels !== 1 && channels !== 3)) {
    throw new DataError(
      `${name}: an example is of shape [${shape.join(', ')}]; expected [columns], or [channels, height, width] with 1 or 3 channels`,
    );
  }
  if (dtype === 'float32') {
    if (lowest < 0 || highest > 1) {
      throw new DataError(
        `${name}: the images' values are from ${lowest} to ${highest}; expected 0 to 1, or bytes (uint8) from 0 to 255`,
      );
    }
  }
  return {
    kind: 'image',
    shape: [channels, height, width],
    channel_order: 'CHW',
    colour: channels === 3 ? 'rgb' : 'grey',
    value_range: [0, 1],
    resize: RESIZE,
  };
}

/** How files are to be read for a trained model: images become what it takes, texts of columns get its codes. */
export function readFor(input: ImageInput | VectorInput): Pick<DatasetOptions, 'image' | 'columns'> {
  return input.kind === 'image'
    ? { image: { height: input.shape[1], width: input.shape[2], colour: input.colour } }
    : { columns: input.columns };
}

/** Rows of a file as they are, none of them split off. */
export interface FileRows {
  /** What the file has for training, then what it has for testing. */
  readonly parts: readonly Examples[];
  /** Of images, one part: where each lies below the folder. */
  readonly paths?: readonly string[];
}

/**
 * All rows of a file or of a folder of images, as a trained model is to look at them.
 * @param options with what `readFor` says of the model
 * @throws {DataError} where there is no such file, or it cannot be read
 */
export async function loadRows(
  path: string,
  options: Omit<DatasetOptions, 'dataDir' | 'limit' | 'seed'>,
): Promise<FileRows> {
  const store = new RowStore(options);
  const found = resolve(path);
  const stats = await stat(found).catch((error: unknown) => {
    throw asDataError(error, path);
  });
  const isDirectory = stats.isDirectory();
  if (isDirectory && (await existing(found, MNIST_FILES.trainImages)) === undefined) {
    const { paths, ...rows } = await readImageFolder(found, options.image ?? {}, store, options.onProgress);
    return { parts: [rows], paths };
  }
  const { train, test } = isDirectory ? await loadFolder(found, options, store) : await loadFile(found, options, store);
  return { parts: test === undefined ? [train] : [train, test] };
}

/** Columns of a table where some have missing values: described by their numbers where they have no names. */
function withMissing(
  columns: readonly Column[] | undefined,
  missing: ReadonlySet<number>,
  size: number,
): Column[] | undefined {
  if (columns === undefined && missing.size === 0) return undefined;
  return Array.from({ length: size }, (_, i) => {
    const column = columns?.[i] ?? { name: String(i), kind: 'numeric' as const };
    return missing.has(i) ? { ...column, missing: true as const } : column;
  });
}

async function loadPath(path: string, options: DatasetOptions, store: RowStore): Promise<Parts> {
  const { found, isDirectory } = await findPath(path, options.dataDir);
  return isDirectory ? loadFolder(found, options, store) : loadFile(found, options, store);
}

async function loadFile(found: string, options: DatasetOptions, store: RowStore): Promise<Parts> {
  const { onProgress } = options;
  const name = basename(found).toLowerCase();
  const extension = extname(name);
  if (extension === '.npy') return { train: await readNpy(found, store, onProgress), description: found };
  if (extension === '.npz') {
    const { description, ...parts } = await readNpz(found, store, onProgress);
    return { ...parts, description: `${found}, ${description}` };
  }
  if (extension === '.csv' || extension === '.tsv') {
    const { columns, ...train } = await readCsv(found, store, onProgress, options.columns);
    return { train, ...(columns && { columns }), description: found };
  }
  if (extension === '.idx' || extension === '.gz' || /idx\d-ubyte$/.test(name)) {
    return { train: await readIdxRows(found, store, onProgress), description: found };
  }
  throw new DataError(
    `${found}: the name ends with ${extension === '' ? 'no extension' : extension}; expected .npy, .npz, .csv, .tsv, .idx, .gz or …idx3-ubyte, or a folder of images`,
  );
}

async function findPath(path: string, dataDir: string | undefined): Promise<{ found: string; isDirectory: boolean }> {
  const candidates = [resolve(path), ...(dataDir === undefined || isAbsolute(path) ? [] : [resolve(dataDir, path)])];
  for (const found of candidates) {
    const stats = await stat(found).catch(() => undefined);
    if (stats !== undefined) return { found, isDirectory: stats.isDirectory() };
  }
  if (/[/\\]|\.[a-z]+$/i.test(path)) {
    throw new DataError(
      `dataset is ${JSON.stringify(path)}; expected a name (${datasetNames.join(', ')}) or an existing path: there is no ${candidates.join(' and no ')}`,
    );
  }
  throw unknownDataset(path);
}

/** A folder of images, or of the four files that MNIST is distributed as. */
async function loadFolder(folder: string, options: DatasetOptions, store: RowStore): Promise<Parts> {
  if ((await existing(folder, MNIST_FILES.trainImages)) !== undefined) {
    return { ...(await loadMnistFiles(basename(folder), folder, undefined, options, store)), description: folder };
  }
  const { paths, ...rows } = await readImageFolder(folder, options.image ?? {}, store, options.onProgress);
  const parts = paths.map((path) => path.split('/').slice(0, -1));
  const tops = new Set(parts.map(([top]) => top));
  if (tops.size === 2 && tops.has('train') && tops.has('test')) {
    const classes = classesByFolder(parts.map(([, second]) => second));
    const all = { ...rows, ...(classes && { labels: classes.labels }) };
    const indices = (name: string) => paths.flatMap((_, i) => (parts[i][0] === name ? [i] : []));
    return {
      train: subset(all, indices('train')),
      test: subset(all, indices('test')),
      ...(classes && { classNames: classes.names }),
      description: `${folder}, its folders train and test`,
    };
  }
  const classes = classesByFolder(parts.map(([top]) => top));
  if (classes === undefined) return { train: rows, description: folder };
  const { labels, names: classNames } = classes;
  return { train: { ...rows, labels }, classNames, description: `${folder}, ${tops.size} classes by folder` };
}

/** The number of each folder in their order; undefined where there is one only, more than bytes can number, or images outside. */
function classesByFolder(
  folders: readonly (string | undefined)[],
): { readonly labels: Uint8Array; readonly names: readonly string[] } | undefined {
  // The paths are sorted as a whole, where "a-b/" comes before "a/".
  const names = [...new Set(folders.filter((folder) => folder !== undefined))].sort((a, b) => (a < b ? -1 : 1));
  if (names.length < 2 || names.length > 256 || folders.includes(undefined)) return undefined;
  const numbers = new Map(names.map((name, i) => [name, i]));
  return { labels: Uint8Array.from(folders, (folder) => numbers.get(folder ?? '') ?? 0), names };
}

const MNIST_FILES = {
  trainImages: 'train-images-idx3-ubyte',
  trainLabels: 'train-labels-idx1-ubyte',
  testImages: 't10k-images-idx3-ubyte',
  testLabels: 't10k-labels-idx1-ubyte',
} as const;

/** A data set distributed as MNIST is: four IDX files in a folder of its own. */
function mnistLike(name: string, description: string, classNames?: readonly string[]): Source {
  return {
    description,
    async load(options, store) {
      if (options.dataDir === undefined) {
        throw new DataError(`${name}: no data directory given; name the one that holds ${name}/ by --data-dir DIR`);
      }
      const size = { height: 28, width: 28 };
      const parts = await loadMnistFiles(name, join(options.dataDir, name), size, options, store);
      return { ...parts, ...(classNames && { classNames }), description };
    },
  };
}

async function loadMnistFiles(
  name: string,
  folder: string,
  size: { readonly height: number; readonly width: number } | undefined,
  { onProgress }: DatasetOptions,
  store: RowStore,
): Promise<Omit<Parts, 'description'>> {
  const file = async (stem: string): Promise<string> => {
    const path = await existing(folder, stem);
    if (path !== undefined) return path;
    const advice = sources.has(name)
      ? `name the directory that holds ${name}/ by --data-dir DIR, or run elbo fetch ${name}`
      : 'expected the four files that MNIST is distributed as';
    throw new DataError(`${name}: neither ${stem}.gz nor ${stem} in ${folder}; ${advice}`);
  };
  // All four are looked for before the first is read: a missing one shows at once.
  const [trainImages, trainLabels, testImages, testLabels] = [
    await file(MNIST_FILES.trainImages),
    await file(MNIST_FILES.trainLabels),
    await file(MNIST_FILES.testImages),
    await file(MNIST_FILES.testLabels),
  ];
  const train = await readIdxExamples(trainImages, trainLabels, size, store, onProgress);
  const [, height, width] = train.shape;
  const test = await readIdxExamples(testImages, testLabels, { height, width }, store, onProgress);
  return { train, test };
}

async function existing(folder: string, stem: string): Promise<string | undefined> {
  for (const file of [`${stem}.gz`, stem]) {
    const path = join(folder, file);
    const found = await access(path).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  return undefined;
}

/** One draw of distinct images, cut in two, so that no test image is a training image. */
async function loadShapes({ seed = 0 }: DatasetOptions): Promise<Parts> {
  const examples = await generateShapes({ count: SHAPES_TRAIN + SHAPES_TEST, seed });
  return {
    train: slice(examples, 0, SHAPES_TRAIN),
    test: slice(examples, SHAPES_TRAIN, examples.count),
    description: `sprites of ${SHAPES_SIZE} x ${SHAPES_SIZE}, generated from seed ${seed}`,
    classNames: SHAPES_CLASSES,
    draw: drawShapes,
  };
}

function unknownDataset(name: string): DataError {
  const closest = closestMatch(name, datasetNames, { maxDistance: Math.ceil(name.length / 2) });
  const suggestion = closest === undefined ? '' : `; did you mean ${closest}?`;
  return new DataError(
    `dataset is ${JSON.stringify(name)}; expected one of ${datasetNames.join(', ')}, or the path of a file or an image folder${suggestion}`,
  );
}
