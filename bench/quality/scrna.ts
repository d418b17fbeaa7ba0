import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { RandomSource } from '@elbo/models';
import { type Examples, subset } from '@elbo/training/data/dataset';
import { datasetOf, loadDataset } from '@elbo/training/data/datasets';
import { openExamples } from '@elbo/training/data/example-reader';
import { OnnxRuntimeEngine } from '@elbo/training/engines/onnxruntime';
import { type Embedding, embed, NEIGHBOURS, nearestNeighbourAccuracy } from '@elbo/training/evaluation/embedding';
import { evaluate } from '@elbo/training/evaluation/evaluate';
import { readTrainedModel } from '@elbo/training/evaluation/trained-model';
import { train } from '@elbo/training/train';
import { type Configuration, loadPreset, override } from '@elbo/training/vae/configuration';
import { PrincipalComponents } from './pca.js';

// Cell types from the embedding of cells that were not trained on, beside principal components, on the same splits.

const USAGE =
  'npm run bench:scrna -- --data-dir DIR [--splits N] [--first-seed N] [--inner] [--samples N] [--threads N] [--set key=value …]';

/** Streams of the generator that no other part of a run draws from. */
const SPLIT_STREAM = 21;
const INNER_STREAM = 22;
const TEST_FRACTION = 0.2;
/** Components of PCA beside as many as the model has latent dimensions. */
const COMPONENTS = [10, 20, 30, 50];

const { values: flags } = parseArgs({
  options: {
    'data-dir': { type: 'string' },
    splits: { type: 'string', default: '5' },
    'first-seed': { type: 'string', default: '1' },
    /** Splits the training part again and leaves the test part alone: for the choice of hyper-parameters. */
    inner: { type: 'boolean', default: false },
    samples: { type: 'string', default: '1000' },
    threads: { type: 'string', default: '1' },
    set: { type: 'string', multiple: true, default: [] },
  },
});
const dataDir = flags['data-dir'];
if (dataDir === undefined) {
  console.error(USAGE);
  process.exit(2);
}

const engine = new OnnxRuntimeEngine(Number(flags.threads));
const configuration = override(loadPreset('counts'), flags.set);
const all = await wholeOf(configuration, dataDir);
const rows: Record<string, number>[] = [];
for (let i = 0; i < Number(flags.splits); i++) {
  const seed = Number(flags['first-seed']) + i;
  const outer = split(all, seed, SPLIT_STREAM);
  const { rest, held } = flags.inner ? split(outer.rest, seed, INNER_STREAM) : outer;
  const row = { seed, ...(await ofElbo(rest, held, seed)), ...(await ofPca(rest, held)) };
  console.error(JSON.stringify(row));
  rows.push(row);
}
report(rows);

/** All cells in their order, whatever part the reader put them in. */
async function wholeOf({ dataset }: Configuration, directory: string): Promise<Examples> {
  const { train: most, test } = await loadDataset(dataset, { dataDir: directory });
  const count = most.count + test.count;
  const places = new Int32Array(count);
  const labels = new Uint8Array(count);
  for (const part of [most, test]) {
    if (part.rows === undefined || part.labels === undefined) throw new Error('expected one file of labelled cells');
    for (const [i, place] of part.rows.entries()) {
      places[place] = place;
      labels[place] = part.labels[i];
    }
  }
  return { ...most, count, rows: places, labels };
}

function split(examples: Examples, seed: number, stream: number): { rest: Examples; held: Examples } {
  const order = new RandomSource(seed, stream).permutation(examples.count);
  const size = Math.round(TEST_FRACTION * examples.count);
  return {
    rest: subset(examples, order.subarray(size).sort()),
    held: subset(examples, order.subarray(0, size).sort()),
  };
}

async function ofElbo(rest: Examples, held: Examples, seed: number): Promise<Record<string, number>> {
  const store = await mkdtemp(join(tmpdir(), 'elbo-scrna-'));
  try {
    const dataset = await datasetOf('scrna', { train: rest, test: held });
    const result = await train({ engine, store, dataset, configuration: { ...configuration, seed } });
    if (result === undefined) throw new Error('the training was interrupted');
    const { model, weights } = await readTrainedModel(result.directory);
    const measured = { engine, model, weights, seed, binarise: false, split: 'test', examples: held };
    const { test_negative_log_likelihood: nats } = await evaluate({
      ...measured,
      metrics: ['nll'],
      samples: Number(flags.samples),
    });
    const ofRest = await embed(engine, model, weights, rest);
    const ofHeld = await embed(engine, model, weights, held);
    return {
      log_likelihood: -nats.value,
      elbo: -result.manifest.metrics.test_negative_elbo.value,
      active_units: result.manifest.latent.active_units,
      best_epoch: result.bestEpoch,
      accuracy: 100 * accuracy(ofRest, rest, ofHeld, held),
    };
  } finally {
    await rm(store, { recursive: true, force: true });
  }
}

async function ofPca(rest: Examples, held: Examples): Promise<Record<string, number>> {
  const [size] = rest.shape;
  const countsOf = async (examples: Examples) => {
    const reader = await openExamples(examples);
    const values = await reader.range(0, examples.count).finally(() => reader.close());
    return { count: examples.count, size, values };
  };
  const components = new PrincipalComponents(await countsOf(rest), await countsOf(held));
  return Object.fromEntries(
    [...new Set([configuration.latent_size, ...COMPONENTS])].map((count) => {
      const projected = components.project(count);
      const ofRest = { count: rest.count, size: count, means: projected.train };
      const ofHeld = { count: held.count, size: count, means: projected.test };
      return [`pca_${count}`, 100 * accuracy(ofRest, rest, ofHeld, held)];
    }),
  );
}

/** Share of held-out cells whose nearest neighbours among the training cells alone have mostly their type. */
function accuracy(ofRest: Embedding, rest: Examples, ofHeld: Embedding, held: Examples): number {
  const { size } = ofRest;
  if (rest.labels === undefined || held.labels === undefined) throw new Error('expected labelled cells');
  let right = 0;
  for (let i = 0; i < held.count; i++) {
    const means = new Float32Array((1 + rest.count) * size);
    means.set(ofHeld.means.subarray(i * size, (i + 1) * size));
    means.set(ofRest.means, size);
    const labels = Uint8Array.of(held.labels[i], ...rest.labels);
    right += nearestNeighbourAccuracy({ count: 1 + rest.count, size, means }, labels, { queries: 1 });
  }
  return right / held.count;
}

function report(results: readonly Record<string, number>[]): void {
  const columns = Object.keys(results[0]);
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const shown = (name: string, value: number) =>
    name.startsWith('seed') || name.endsWith('units') || name.endsWith('epoch') ? String(value) : value.toFixed(2);
  const mean = (name: string) => results.reduce((sum, row) => sum + row[name] / results.length, 0);
  console.log(`${NEIGHBOURS} nearest neighbours among the training cells; ${flags.samples} importance samples\n`);
  console.log(line(columns));
  console.log(line(columns.map(() => '---')));
  for (const row of results) console.log(line(columns.map((name) => shown(name, row[name]))));
  console.log(line(columns.map((name) => (name === 'seed' ? 'mean' : mean(name).toFixed(2)))));
}
