import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  FileRecordSchema,
  ImageInputSchema,
  MetricSchema,
  ModelStoreError,
  readVerified,
  recordsOf,
  TrainingRecordSchema,
  VectorInputSchema,
  writeVersion,
} from '@elbo/models';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import type { Engine, Program } from '../engines/engine.js';

// A classifier's place: `<store>/<name>/<version>` as a model's, but with a record of another name, so that the model
// store does not take it for one of its own.

export const CLASSIFIER_FILE = 'classifier.onnx';
export const RECORD_FILE = 'classifier.json';
const RECORD_VERSION = 1;

const Count = Type.Integer({ minimum: 0 });
const LayerSparsitySchema = Type.Object({ name: Type.String(), weights: Count, non_zero: Count });

/** `classifier.json`: everything that a program must know of a classifier besides its graph. */
export const ClassifierRecordSchema = Type.Object({
  schema_version: Type.Literal(RECORD_VERSION),
  name: Type.String(),
  version: Type.String(),
  description: Type.String(),
  family: Type.Literal('classifier'),
  input: Type.Union([ImageInputSchema, VectorInputSchema]),
  classes: Type.Integer({ minimum: 1 }),
  features: Type.Integer({ minimum: 1, description: 'Numbers in the output `features`' }),
  sparsity: Type.Object({
    weights: Count,
    non_zero: Count,
    compression: Type.Number({ description: 'Weights for each that is not zero; biases do not count' }),
    layers: Type.Array(LayerSparsitySchema),
  }),
  training: TrainingRecordSchema,
  metrics: Type.Record(Type.String(), MetricSchema),
  files: Type.Object({ [CLASSIFIER_FILE]: FileRecordSchema }),
});
export type ClassifierRecord = Static<typeof ClassifierRecordSchema>;

const validator = Compile(ClassifierRecordSchema);

/** Writes the next version of a classifier: the graph and the record appear at once, or not at all. */
export function writeClassifier(
  store: string,
  record: Omit<ClassifierRecord, 'schema_version' | 'version' | 'files' | 'family'>,
  graph: Uint8Array,
): Promise<{ directory: string; record: ClassifierRecord }> {
  const files = new Map([[CLASSIFIER_FILE, graph]]);
  const { name, ...rest } = record;
  const { [CLASSIFIER_FILE]: file } = recordsOf(files);
  return writeVersion(join(store, name), files, RECORD_FILE, (version) => ({
    schema_version: RECORD_VERSION,
    name,
    version,
    family: 'classifier',
    ...rest,
    files: { [CLASSIFIER_FILE]: file },
  }));
}

/**
 * Reads a classifier; its graph is held against its hash.
 * @param directory `classifiers/<name>/<version>`
 * @returns its record and its program: x [N, …] → logits [N, classes], features [N, features]
 * @throws {ModelStoreError} MODEL_NOT_FOUND, MANIFEST_INVALID or FILE_CORRUPT, naming the file
 */
export async function readClassifier(
  engine: Pick<Engine, 'load'>,
  directory: string,
): Promise<{ record: ClassifierRecord; program: Program }> {
  const path = join(directory, RECORD_FILE);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new ModelStoreError('MODEL_NOT_FOUND', `${path}: no such classifier`, { cause: error });
  }
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch (error) {
    throw new ModelStoreError('MANIFEST_INVALID', `${path}: not JSON (${(error as Error).message})`, { cause: error });
  }
  if (!validator.Check(record)) {
    const [first] = validator.Errors(record);
    const field = first === undefined ? '' : first.instancePath.slice(1).replaceAll('/', '.');
    throw new ModelStoreError(
      'MANIFEST_INVALID',
      `${path}: ${field === '' ? 'the document' : field} ${first?.message ?? 'is not valid'}`,
    );
  }
  const graph = await readVerified(directory, CLASSIFIER_FILE, record.files[CLASSIFIER_FILE]);
  return { record, program: await engine.load(graph) };
}
