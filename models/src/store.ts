import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { conformalThreshold } from './calibration.js';
import { ModelStoreError } from './errors.js';
import {
  CALIBRATION_FILE,
  type FileRecord,
  GRAPH_FILES,
  type Latent,
  type Manifest,
  MODEL_NAME_PATTERN,
  MODEL_VERSION_PATTERN,
  PRIOR_FILE,
  parseManifest,
} from './manifest.js';
import { decodeMixture, type LatentPrior } from './prior.js';
import { checkReference, type Reference } from './reference.js';

const NAME = new RegExp(MODEL_NAME_PATTERN);
const VERSION = new RegExp(MODEL_VERSION_PATTERN);

/** A version that stands in a store, not yet read. */
export interface ModelReference {
  readonly name: string;
  readonly version: string;
  readonly directory: string;
}

/** A version whose files all match the hashes in its manifest. */
export interface LoadedModel {
  readonly directory: string;
  readonly manifest: Manifest;
  /** `manifest.json` as it stands there. */
  readonly manifestBytes: Uint8Array;
  /** Every file that the manifest lists, by name. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly graphs: Readonly<Record<keyof typeof GRAPH_FILES, Uint8Array>>;
  /** Held-out scores, ascending. */
  readonly calibrationScores: Float32Array;
  readonly prior: LatentPrior;
}

/** A manifest before the files are hashed: the writer fills in `version` and `files`. */
export type ManifestDraft = Omit<Manifest, 'version' | 'files'>;

/**
 * Every `<name>/<version>/` below a store, sorted by name, then by version in ascending order.
 * A directory counts as a version when it holds a manifest, or when it cannot be listed: then reading it says why.
 * @param onUnreadable told of every name directory that cannot be listed; the others are listed all the same
 * @throws {ModelStoreError} MODEL_NOT_FOUND where the store itself cannot be listed
 */
export async function listModels(
  store: string,
  onUnreadable: (error: ModelStoreError) => void = () => {},
): Promise<ModelReference[]> {
  const references: ModelReference[] = [];
  for (const name of await directoriesIn(store)) {
    if (!NAME.test(name)) continue;
    const versions = await directoriesIn(join(store, name)).catch((error: ModelStoreError) => {
      onUnreadable(error);
      return [];
    });
    for (const version of versions) {
      if (!VERSION.test(version)) continue;
      const directory = join(store, name, version);
      const files = await readdir(directory).catch(() => undefined);
      if (files?.includes('manifest.json') ?? true) references.push({ name, version, directory });
    }
  }
  return references.sort((a, b) =>
    a.name === b.name ? Number(a.version) - Number(b.version) : a.name < b.name ? -1 : 1,
  );
}

/**
 * Reads one version and checks every file in its manifest against its hash, so that nothing altered is ever used.
 * @param directory `models/<name>/<version>`
 * @throws {ModelStoreError} MODEL_NOT_FOUND, MANIFEST_INVALID or FILE_CORRUPT, naming the file
 */
export async function readModel(directory: string): Promise<LoadedModel> {
  const { manifest, bytes: manifestBytes } = await readManifestFile(directory);
  const contents = new Map(
    await Promise.all(
      Object.entries(manifest.files).map(
        async ([file, record]) => [file, await readVerified(directory, file, record)] as const,
      ),
    ),
  );
  const contentOf = (file: string): Buffer => {
    const content = contents.get(file);
    if (content === undefined) throw new ModelStoreError('MANIFEST_INVALID', `manifest: files must list ${file}`);
    return content;
  };
  const calibrationScores = decodeCalibration(directory, contentOf(CALIBRATION_FILE), manifest.calibration.size);
  checkThresholds(directory, manifest, calibrationScores);
  if (manifest.reference !== undefined) {
    try {
      checkReference({ input: manifest.input, reference: manifest.reference }, contents);
    } catch (error) {
      if (error instanceof ModelStoreError) throw new ModelStoreError(error.code, join(directory, error.message));
      throw error;
    }
  }
  const { components, dimensions } = manifest.prior;
  const mixture =
    components === undefined || dimensions === undefined
      ? undefined
      : decodeMixture(contentOf(PRIOR_FILE), { components, dimensions });
  return {
    directory,
    manifest,
    manifestBytes,
    files: contents,
    graphs: {
      encoder: contentOf(GRAPH_FILES.encoder),
      decoder: contentOf(GRAPH_FILES.decoder),
      scorer: contentOf(GRAPH_FILES.scorer),
    },
    calibrationScores,
    prior: { latentSize: manifest.latent.size, ...(mixture && { mixture }) },
  };
}

/**
 * Reads and validates `manifest.json` alone, without touching the files that it lists.
 * @throws {ModelStoreError} MODEL_NOT_FOUND or MANIFEST_INVALID
 */
export async function readManifest(directory: string): Promise<Manifest> {
  return (await readManifestFile(directory)).manifest;
}

async function readManifestFile(directory: string): Promise<{ manifest: Manifest; bytes: Buffer }> {
  const path = join(directory, 'manifest.json');
  let bytes: Buffer;
  try {
    // A pipe or a device would never end.
    if (!(await stat(path)).isFile()) throw new Error('not a regular file');
    bytes = await readFile(path);
  } catch (error) {
    throw new ModelStoreError('MODEL_NOT_FOUND', `${path}: no such model version`, { cause: error });
  }
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString());
  } catch (error) {
    throw new ModelStoreError('MANIFEST_INVALID', `${path}: not JSON (${(error as Error).message})`, { cause: error });
  }
  try {
    return { manifest: parseManifest(json), bytes };
  } catch (error) {
    if (error instanceof ModelStoreError) throw new ModelStoreError(error.code, `${path}: ${error.message}`);
    throw error;
  }
}

/**
 * Writes the next version of a model: all files and the manifest appear at once (a rename), or not at all.
 * @param files contents by file name; the graphs and the calibration scores are required
 * @returns the directory and the finished manifest; where another writer takes the number first, the next one is used
 * @throws {ModelStoreError} MANIFEST_INVALID where the draft breaks the schema
 */
export async function writeModel(
  store: string,
  draft: ManifestDraft,
  files: ReadonlyMap<string, Uint8Array>,
): Promise<{ directory: string; manifest: Manifest }> {
  const records = recordsOf(files);
  const { schema_version, name, ...rest } = draft;
  const manifestOf = (version: string) => parseManifest({ schema_version, name, version, ...rest, files: records });
  manifestOf('1');
  const { directory, record: manifest } = await writeVersion(join(store, name), files, 'manifest.json', manifestOf);
  return { directory, manifest };
}

/** The hash and the size of each file. */
export function recordsOf(files: ReadonlyMap<string, Uint8Array>): Record<string, FileRecord> {
  return Object.fromEntries(
    [...files].map(([file, content]) => [file, { sha256: sha256(content), bytes: content.byteLength }]),
  );
}

/**
 * Writes the next version below a directory: all files and the record of them appear at once, or not at all.
 * @param recordFile the name of the record's file
 * @param recordOf the record as JSON, which may hold the version
 */
export async function writeVersion<Record>(
  parent: string,
  files: ReadonlyMap<string, Uint8Array>,
  recordFile: string,
  recordOf: (version: string) => Record,
): Promise<{ directory: string; record: Record }> {
  const unfinished = join(parent, `.unfinished-${randomUUID()}`);
  await mkdir(unfinished, { recursive: true });
  try {
    for (const [file, content] of files) await writeDurably(join(unfinished, file), content);
    for (;;) {
      const taken = (await readdir(parent)).filter((entry) => VERSION.test(entry)).map(Number);
      const version = String(1 + Math.max(0, ...taken));
      const directory = join(parent, version);
      const record = recordOf(version);
      await replaceDurably(join(unfinished, recordFile), formatJson(record));
      if (await renamedTo(unfinished, directory)) return { directory, record };
    }
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true });
    throw error;
  }
}

/**
 * Adds metrics to a version's manifest, replacing those of the same name, and what is known of its latent space beyond
 * the summary; the manifest is always a whole one.
 * @throws {ModelStoreError} where the version cannot be read
 */
export async function recordMetrics(
  directory: string,
  metrics: Manifest['metrics'],
  latent: Partial<Latent> = {},
): Promise<Manifest> {
  const manifest = await readManifest(directory);
  const updated = parseManifest({
    ...manifest,
    latent: { ...manifest.latent, ...latent },
    metrics: { ...manifest.metrics, ...metrics },
  });
  await replaceDurably(join(directory, 'manifest.json'), formatJson(updated));
  return updated;
}

/**
 * Adds reference data to a version that has none; all else of it stays as it is.
 * @param configuration fields of the recorded configuration that tell how the data were made
 * @throws {ModelStoreError} MANIFEST_INVALID where the version has reference data, or these contradict it
 */
export async function addReference(
  directory: string,
  reference: Reference,
  files: ReadonlyMap<string, Uint8Array>,
  configuration: Readonly<Record<string, unknown>> = {},
): Promise<Manifest> {
  const manifest = await readManifest(directory);
  if (manifest.reference !== undefined) {
    throw new ModelStoreError('MANIFEST_INVALID', `${directory}: it has reference data; expected a version without`);
  }
  const updated = parseManifest({
    ...manifest,
    reference,
    files: { ...manifest.files, ...recordsOf(files) },
    training: { ...manifest.training, configuration: { ...manifest.training.configuration, ...configuration } },
  });
  checkReference({ input: manifest.input, reference }, files);
  // The manifest last: until then a reader sees the version as it was.
  for (const [file, content] of files) await replaceDurably(join(directory, file), content);
  await replaceDurably(join(directory, 'manifest.json'), formatJson(updated));
  return updated;
}

/** Scores as they stand in `calibration.f32`: sorted ascending, float32 little-endian. */
export function encodeCalibration(scores: Float32Array): Uint8Array {
  const sorted = Float32Array.from(scores).sort();
  const bytes = Buffer.alloc(sorted.length * 4);
  for (const [i, score] of sorted.entries()) bytes.writeFloatLE(score, i * 4);
  return bytes;
}

function decodeCalibration(directory: string, bytes: Buffer, size: number): Float32Array {
  const path = join(directory, CALIBRATION_FILE);
  if (bytes.byteLength !== size * 4) {
    throw new ModelStoreError(
      'FILE_CORRUPT',
      `${path}: has ${bytes.byteLength} bytes; expected 4 for each of calibration.size = ${size} scores`,
    );
  }
  const scores = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const score = bytes.readFloatLE(i * 4);
    if (!Number.isFinite(score) || (i > 0 && score < (scores[i - 1] as number))) {
      throw new ModelStoreError('FILE_CORRUPT', `${path}: scores must be finite and in ascending order (entry ${i})`);
    }
    scores[i] = score;
  }
  return scores;
}

/** A threshold that the scores do not give would contradict the p-values. */
function checkThresholds(directory: string, { calibration }: Manifest, scores: Float32Array): void {
  for (const { false_positive_rate: rate, threshold } of calibration.thresholds) {
    const path = `${join(directory, 'manifest.json')}: calibration.thresholds`;
    let expected: number;
    try {
      expected = conformalThreshold(scores, rate);
    } catch (error) {
      throw new ModelStoreError('MANIFEST_INVALID', `${path}: ${(error as Error).message}`, { cause: error });
    }
    if (Math.fround(threshold) !== expected) {
      throw new ModelStoreError(
        'MANIFEST_INVALID',
        `${path} says ${threshold} at the false-positive rate ${rate}; ${CALIBRATION_FILE} gives ${expected}`,
      );
    }
  }
}

/**
 * Reads a file of a version and holds it against its record.
 * @throws {ModelStoreError} FILE_CORRUPT where it cannot be read, or was altered or cut short
 */
export async function readVerified(directory: string, file: string, record: FileRecord): Promise<Buffer> {
  const path = join(directory, file);
  let content: Buffer;
  try {
    const found = await stat(path);
    if (!found.isFile()) throw new Error('not a regular file');
    if (found.size !== record.bytes) {
      throw new ModelStoreError(
        'FILE_CORRUPT',
        `${path}: has ${found.size} bytes, the manifest says ${record.bytes}; the file was altered or cut short`,
      );
    }
    content = await readFile(path);
  } catch (error) {
    if (error instanceof ModelStoreError) throw error;
    throw new ModelStoreError('FILE_CORRUPT', `${path}: listed in the manifest but not readable`, { cause: error });
  }
  const actual = sha256(content);
  if (actual !== record.sha256) {
    throw new ModelStoreError(
      'FILE_CORRUPT',
      `${path}: SHA-256 is ${actual}, the manifest says ${record.sha256}; the file was altered or cut short`,
    );
  }
  return content;
}

function formatJson(record: unknown): Uint8Array {
  return Buffer.from(`${JSON.stringify(record, null, 2)}\n`);
}

async function directoriesIn(path: string): Promise<string[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    const isDirectory = await Promise.all(
      entries.map(
        async (entry) =>
          entry.isDirectory() ||
          // Kubernetes volumes and `current` links look so.
          (entry.isSymbolicLink() &&
            ((await stat(join(path, entry.name)).catch(() => undefined))?.isDirectory() ?? false)),
      ),
    );
    return entries.filter((_, i) => isDirectory[i]).map((entry) => entry.name);
  } catch (error) {
    throw new ModelStoreError('MODEL_NOT_FOUND', `${path}: not a readable model store directory`, { cause: error });
  }
}

/** @returns false where a directory with content stands there already */
async function renamedTo(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return false;
    throw error;
  }
}

/** Writes a file so that it is always a whole one, the old or the new. */
async function replaceDurably(path: string, content: Uint8Array): Promise<void> {
  const unfinished = `${path}.${randomUUID()}`;
  await writeDurably(unfinished, content);
  await rename(unfinished, path);
}

async function writeDurably(path: string, content: Uint8Array): Promise<void> {
  const file = await open(path, 'wx');
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

function sha256(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
