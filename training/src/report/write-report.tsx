import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { type LoadedModel, type Manifest, readModel } from '@elbo/models';
import type { VNode } from 'preact';
import { DataError } from '../data/data-error.js';
import type { Dataset } from '../data/dataset.js';
import { type DatasetOptions, loadDataset, readFor } from '../data/datasets.js';
import type { Engine } from '../engines/engine.js';
import { OnnxRuntimeEngine } from '../engines/onnxruntime.js';
import { ServedModel } from '../offline/served-model.js';
import { ImageForm } from '../pictures/image-form.js';
import { sortedDimensions } from './dimensions.js';
import { LARGEST_SIDE } from './images.js';
import { weightsOf } from './layer-weights.js';
import { type Observations, observe } from './observations.js';
import { renderPage } from './page.js';
import { anomalySection } from './sections/anomaly.js';
import { latentMap } from './sections/latent-map.js';
import { aggregateSection, klSection } from './sections/latent-use.js';
import { imageReconstructions, imageSamples } from './sections/pictures.js';
import { NeedsData, type Section } from './sections/section.js';
import { sparsitySection } from './sections/sparsity.js';
import { curvesSection, metricsSection, recordSection } from './sections/summary.js';
import { tableReconstructions, tableSamples } from './sections/tables.js';
import { traversalSection } from './sections/traversals.js';
import { trainingCommand } from './training-command.js';

/** Test examples that are looked at, where nothing else is asked for. */
export const DEFAULT_LIMIT = 10_000;

/** Longer sides of a thumbnail of the map are shrunk to it. */
const THUMBNAIL_SIDE = 32;

const CURVES_FILE = 'training-curves.svg';

export interface ReportOptions {
  /** Of a version, `models/<name>/<version>`. */
  readonly directory: string;
  /** The page; by default `<name>-<version>-report.html` in the current directory. Its folder is made where it is missing. */
  readonly file?: string | undefined;
  /** Data instead of those that the model was trained on: a set, or what `loadDataset` takes. */
  readonly dataset?: Dataset | string | undefined;
  /** Where data sets lie, and so on. */
  readonly data?: Pick<DatasetOptions, 'dataDir' | 'cacheDir' | 'onProgress'> | undefined;
  /** Test examples that are looked at, the first ones; 10,000. */
  readonly limit?: number | undefined;
  /** ONNX Runtime on all cores unless given. */
  readonly engine?: Engine | undefined;
  /** Examples that went through the graphs. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface Report {
  readonly manifest: Manifest;
  /** Where the page stands. */
  readonly file: string;
  readonly bytes: number;
  /** Test examples that the page shows or counts. */
  readonly examples: number;
  /** Why the parts that need data are missing, where they are. */
  readonly missing?: string;
}

/**
 * Writes one self-contained HTML page about a model version: its record, curves, reconstructions, samples, a map of the
 * latent space, traversals, what its dimensions tell, its weights, and how its anomaly score lies. The exported graphs
 * alone are used, so that the page shows what a user of the model gets. Where the data set that the model was trained on
 * is not found, the parts that need it are left out, and the page says so.
 * @throws {ModelStoreError} where the version cannot be read, {DataError} where a data set that was asked for cannot be
 *   used, {RangeError} where `limit` is not a whole number of at least 1
 */
export async function writeReport(options: ReportOptions): Promise<Report> {
  const { directory, engine = new OnnxRuntimeEngine(), limit = DEFAULT_LIMIT } = options;
  if (!(Number.isSafeInteger(limit) && limit >= 1)) {
    throw new RangeError(`limit is ${limit}; expected a whole number of at least 1`);
  }
  const loaded = await readModel(directory);
  const { manifest } = loaded;
  const file = resolve(options.file ?? `${manifest.name}-${manifest.version}-report.html`);
  // Before minutes of work, which a folder that cannot be made would waste.
  await mkdir(dirname(file), { recursive: true });
  const found = await findData(manifest, options);
  const model = await ServedModel.open(engine, loaded);
  let page: string;
  let observed: Observations | undefined;
  try {
    if (found.dataset !== undefined) {
      observed = await observe(model, loaded.calibrationScores, found.dataset, limit, options.onProgress);
    }
    page = await makePage(model, loaded, observed, found.missing);
  } finally {
    await model.release();
  }
  await writeFile(file, page);
  return {
    manifest,
    file,
    bytes: Buffer.byteLength(page),
    examples: observed?.examples.count ?? 0,
    ...(found.missing !== undefined && { missing: found.missing }),
  };
}

/** @returns the data, or why they cannot be had */
async function findData(
  manifest: Manifest,
  { dataset, data = {} }: ReportOptions,
): Promise<{ dataset: Dataset; missing?: undefined } | { dataset?: undefined; missing: string }> {
  const { input, training } = manifest;
  try {
    const loaded =
      typeof dataset === 'object'
        ? dataset
        : await loadDataset(dataset ?? recordedDataset(manifest), {
            ...data,
            ...readFor(input),
            seed: training.seed,
          });
    if (loaded.input.kind !== input.kind || loaded.input.shape.join() !== input.shape.join()) {
      throw new DataError(
        `${loaded.name} has ${loaded.input.kind}s of ${loaded.input.shape.join('x')}; ${manifest.name} takes ${input.shape.join('x')}`,
      );
    }
    return { dataset: loaded };
  } catch (error) {
    // Data that were asked for by name have to be there.
    if (dataset !== undefined || !(error instanceof DataError)) throw error;
    return { missing: error.message };
  }
}

/** What `loadDataset` took when the model was trained; the record's own name of it is without a path. */
function recordedDataset({ training }: Manifest): string {
  const { dataset } = training.configuration;
  return typeof dataset === 'string' ? dataset : training.dataset.name;
}

async function makePage(
  model: ServedModel,
  loaded: LoadedModel,
  observed: Observations | undefined,
  missing: string | undefined,
): Promise<string> {
  const { manifest, calibrationScores } = loaded;
  const { input, latent, training } = manifest;
  const form = input.kind === 'image' ? new ImageForm(input, LARGEST_SIDE) : undefined;
  const dimensions = sortedDimensions(latent, observed?.active);
  const weights = weightsOf(loaded);
  const map = await latentMap(
    latent.size,
    observed,
    input.kind === 'image' ? new ImageForm(input, THUMBNAIL_SIDE) : undefined,
  );
  const available = observed?.dataset.name === training.dataset.name ? observed.dataset.train.count : undefined;
  const sections: Section[] = [
    metricsSection(manifest),
    curvesSection(await curvesOf(loaded)),
    await reconstructionsOf(model, observed, form),
    await (form === undefined
      ? tableSamples(model, observed, training.seed)
      : imageSamples(model, form, training.seed)),
    map.section,
    klSection(dimensions),
    aggregateSection(dimensions, observed?.aggregate),
    await traversalSection(model, dimensions, observed, form),
    sparsitySection(weights),
    await anomalySection(model, calibrationScores, observed, form),
    recordSection(manifest, trainingCommand(manifest, available)),
  ];
  const notice = noticeOf(manifest, observed, missing);
  return renderPage({
    manifest,
    parameters: weights.parameters,
    sections,
    ...(notice !== undefined && { notice }),
    ...(map.data !== undefined && { map: map.data }),
  });
}

async function reconstructionsOf(
  model: ServedModel,
  observed: Observations | undefined,
  form: ImageForm | undefined,
): Promise<Section> {
  if (observed === undefined) {
    return { id: 'reconstructions', title: 'Reconstructions', body: <NeedsData /> };
  }
  return form === undefined ? tableReconstructions(model, observed) : imageReconstructions(model, observed, form);
}

/** The manifest lists the file where there is one, and its hash has been checked. */
async function curvesOf({ directory, manifest }: LoadedModel): Promise<Uint8Array | undefined> {
  return Object.hasOwn(manifest.files, CURVES_FILE) ? readFile(join(directory, CURVES_FILE)) : undefined;
}

/** What a reader must know of the data before all else. */
function noticeOf(
  { training }: Manifest,
  observed: Observations | undefined,
  missing: string | undefined,
): VNode | undefined {
  if (observed === undefined) {
    return (
      <>
        The data set was not found, so what needs it is left out. Run <code>elbo report</code> again with{' '}
        <code>--data-dir DIR</code> or <code>--dataset NAME</code>. ({missing})
      </>
    );
  }
  const { dataset } = observed;
  if (dataset.name !== training.dataset.name) {
    return (
      <>
        The examples are those of {dataset.name}; the model was trained on {training.dataset.name}.
      </>
    );
  }
  // A run with --limit has the hash of the examples that it took.
  const { train_examples: train, validation_examples: validation, sha256 } = training.dataset;
  if (dataset.train.count <= train + validation && dataset.sha256 !== sha256) {
    return (
      <>The data set {dataset.name} that was found is not the one that the model was trained on: its SHA-256 differs.</>
    );
  }
  return undefined;
}
