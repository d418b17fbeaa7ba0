import { RandomSource } from '@elbo/models';
import { type Examples, inMemory, subset, take } from '@elbo/training/data/dataset';
import { loadDataset } from '@elbo/training/data/datasets';
import { openExamples } from '@elbo/training/data/example-reader';
import { type Configuration, loadPreset, override } from '@elbo/training/vae/configuration';

/** What a detector is trained on, and the held-out examples that it is to tell apart. */
export interface Task {
  readonly group: Group;
  readonly name: string;
  /** Or the shipped model that is measured. */
  readonly training: { readonly configuration: Configuration; readonly train: Examples } | { readonly model: string };
  readonly normal: Examples;
  readonly anomalous: Examples;
}

export const GROUPS = ['one-class-mnist', 'one-class-fashion', 'leave-one-out', 'other-images', 'tables'] as const;
export type Group = (typeof GROUPS)[number];

/** Streams of the generator that no other part of a run draws from. */
const SPLIT_STREAM = 31;
const NOISE_STREAM = 32;
/** Of a table, as PyOD's benchmark splits it, anomalies included. */
const TRAINING_SHARE = 0.6;
const IMAGE = [1, 28, 28];
const SIDE = 28;
const OTHER_IMAGES = 2000;

/** Tasks are made one after the other, since each holds its data. */
export async function* tasksOf(
  group: Group,
  {
    dataDir,
    tables,
    splits,
  }: { readonly dataDir: string; readonly tables: readonly string[]; readonly splits: number },
): AsyncGenerator<Task> {
  switch (group) {
    case 'one-class-mnist':
      return yield* byClass(group, await loadDataset('mnist', { dataDir }), (label, held) => label === held, 60);
    case 'one-class-fashion':
      return yield* byClass(
        group,
        await loadDataset('fashion-mnist', { dataDir }),
        (label, held) => label === held,
        60,
      );
    case 'leave-one-out':
      return yield* byClass(group, await loadDataset('mnist', { dataDir }), (label, held) => label !== held, 15);
    case 'other-images':
      return yield* otherImages(dataDir);
    default:
      // Split by split, so that a run that is cut short has as many of each table.
      for (let seed = 1; seed <= splits; seed++) {
        for (const path of tables) yield await tableTask(path, seed);
      }
  }
}

async function* byClass(
  group: Group,
  { train, test }: { readonly train: Examples; readonly test: Examples },
  isNormal: (label: number, held: number) => boolean,
  epochs: number,
): AsyncGenerator<Task> {
  const where = (examples: Examples, keep: (label: number) => boolean) =>
    subset(
      examples,
      Array.from(examples.labels ?? [], (label, i) => (keep(label) ? i : -1)).filter((i) => i >= 0),
    );
  for (let held = 0; held < 10; held++) {
    yield {
      group,
      name: String(held),
      training: {
        configuration: override(loadPreset('mnist-mlp'), [`epochs=${epochs}`]),
        train: where(train, (label) => isNormal(label, held)),
      },
      normal: where(test, (label) => isNormal(label, held)),
      anomalous: where(test, (label) => !isNormal(label, held)),
    };
  }
}

async function* otherImages(dataDir: string): AsyncGenerator<Task> {
  const [digits, clothes] = await Promise.all(
    ['mnist', 'fashion-mnist'].map(async (name) => (await loadDataset(name, { dataDir })).test),
  );
  const pixels = await bytesOf(take(digits, OTHER_IMAGES));
  const random = new RandomSource(1, NOISE_STREAM);
  const made = (value: (i: number) => number) =>
    inMemory(
      Uint8Array.from({ length: pixels.length }, (_, i) => value(i)),
      IMAGE,
    );
  const size = SIDE * SIDE;
  const group = 'other-images';
  const inMnist = (name: string, anomalous: Examples): Task => ({
    group,
    name,
    training: { model: 'mnist' },
    normal: digits,
    anomalous,
  });
  yield inMnist('mnist in, fashion-mnist out', clothes);
  yield {
    group,
    name: 'fashion-mnist in, mnist out',
    training: { model: 'fashion-mnist' },
    normal: clothes,
    anomalous: digits,
  };
  yield inMnist(
    'mnist in, black and white noise out',
    made(() => (random.uniform() < 0.5 ? 0 : 255)),
  );
  yield inMnist(
    'mnist in, constant images out',
    made((i) => Math.floor(i / size) % 256),
  );
  yield inMnist(
    'mnist in, inverted digits out',
    made((i) => 255 - pixels[i]),
  );
  yield inMnist(
    'mnist in, digits rotated by 90° out',
    made((i) => {
      const [row, column] = [Math.floor((i % size) / SIDE), i % SIDE];
      return pixels[i - (i % size) + column * SIDE + (SIDE - 1 - row)];
    }),
  );
}

async function tableTask(path: string, seed: number): Promise<Task> {
  const { train, test, name } = await loadDataset(path);
  const count = train.count + test.count;
  const labels = new Uint8Array(count);
  const rows = Int32Array.from({ length: count }, (_, i) => i);
  for (const part of [train, test]) {
    if (part.rows === undefined || part.labels === undefined) throw new Error(`${path}: expected one file with labels`);
    for (const [i, row] of part.rows.entries()) labels[row] = part.labels[i];
  }
  const all: Examples = { ...train, count, rows, labels };
  const order = new RandomSource(seed, SPLIT_STREAM).permutation(count);
  const middle = Math.round(TRAINING_SHARE * count);
  const held = order.subarray(middle).sort();
  return {
    group: 'tables',
    name: `${name.replace(/^\d+_|\.npz$/g, '')} ${seed}`,
    training: {
      configuration: { ...loadPreset('table'), seed },
      train: subset(all, order.subarray(0, middle).sort()),
    },
    normal: subset(
      all,
      held.filter((row) => labels[row] === 0),
    ),
    anomalous: subset(
      all,
      held.filter((row) => labels[row] !== 0),
    ),
  };
}

async function bytesOf(examples: Examples): Promise<Uint8Array> {
  const reader = await openExamples(examples);
  return Uint8Array.from(await reader.range(0, examples.count).finally(() => reader.close()));
}
