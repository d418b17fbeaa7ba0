import { createHash } from 'node:crypto';
import {
  CALIBRATION_FILE,
  type GraphRole,
  goldenDifference,
  goldenItem,
  goldenLatents,
  itemSize,
  type LatentPrior,
  type LoadedModel,
  type Manifest,
  REFERENCE_FILES,
} from '@elbo/models';
import { InferenceError } from './errors.js';
import type { GraphDescription, OutputTensor, TensorDescription } from './onnxruntime.js';
import { type GraphInput, rowSize, withLabels } from './rows.js';
import type { GraphCall } from './scheduler.js';

/** A call of one graph of one model version. */
export interface ModelCall extends GraphCall {
  readonly role: GraphRole;
  /** Of the graph; a row holds one after another what each takes. */
  readonly inputs: readonly GraphInput[];
  readonly outputs: readonly string[];
}

/** A file of a version that callers may have. */
export interface ServedFile {
  readonly bytes: Uint8Array;
  readonly sha256: string;
}

/** All that callers may have, where a version has it; the graphs are the operator's to give away. */
const SERVED_FILES = [
  'preview.png',
  'training-curves.svg',
  CALIBRATION_FILE,
  ...Object.values(REFERENCE_FILES),
] as const;

/** A model version that can be served: its graphs, how to call them, and what its scores are held against. */
export interface ServedModel {
  /** `name/version` */
  readonly key: string;
  /** The key with a hash of the manifest, which holds those of the files: another content is another model. */
  readonly id: string;
  readonly manifest: Manifest;
  readonly itemSize: number;
  readonly latentSize: number;
  /** Held-out scores, ascending. */
  readonly calibrationScores: Float32Array;
  /** That samples are drawn from. */
  readonly prior: LatentPrior;
  /** By name, `manifest.json` too. */
  readonly files: ReadonlyMap<string, ServedFile>;
  /** Shared memory: each worker loads from it, one that replaces a lost worker too, so no changed file can come in. */
  readonly graphs: Readonly<Record<GraphRole, Uint8Array>>;
  readonly calls: Readonly<Record<'encode' | 'decode' | 'score' | 'scoreInParts', ModelCall>>;
}

/**
 * @throws {InferenceError} MODEL_REFUSED for what the manifest asks and this server can't do
 */
export function servedModel(loaded: LoadedModel): ServedModel {
  const { manifest, graphs, calibrationScores, prior, directory } = loaded;
  const key = `${manifest.name}/${manifest.version}`;
  if (!directory.replaceAll('\\', '/').endsWith(`/${key}`)) {
    throw refused(`manifest.json says that this is ${key}; the directory must have that name`);
  }
  const id = `${key}@${createHash('sha256').update(JSON.stringify(manifest)).digest('hex').slice(0, 16)}`;
  const { condition } = manifest;
  const labels: GraphInput[] = condition === undefined ? [] : [{ name: 'label', shape: [condition.classes] }];
  const call = (role: GraphRole, first: GraphInput, outputs: readonly string[]): ModelCall => {
    const inputs = [first, ...labels];
    return {
      key: [id, role, ...outputs].join(' '),
      model: id,
      role,
      inputs,
      rowSize: inputs.reduce((sum, input) => sum + rowSize(input), 0),
      outputs,
    };
  };
  const x: GraphInput = { name: 'x', shape: manifest.input.shape };
  const z: GraphInput = { name: 'z', shape: [manifest.latent.size] };
  const scores = ['score', ...manifest.scorer.components];
  const parts = manifest.input.kind === 'image' ? ['error_map'] : ['error_map', 'x_mean'];
  return {
    key,
    id,
    manifest,
    itemSize: itemSize(manifest.input),
    latentSize: manifest.latent.size,
    calibrationScores,
    prior,
    files: servedFiles(loaded),
    graphs: { encoder: shared(graphs.encoder), decoder: shared(graphs.decoder), scorer: shared(graphs.scorer) },
    calls: {
      encode: call('encoder', x, ['mean', 'log_variance']),
      decode: call('decoder', z, ['x_mean']),
      score: call('scorer', x, scores),
      scoreInParts: call('scorer', x, [...scores, ...parts]),
    },
  };
}

function servedFiles({ manifest, manifestBytes, files }: LoadedModel): ReadonlyMap<string, ServedFile> {
  const served = new Map<string, ServedFile>();
  for (const name of SERVED_FILES) {
    const bytes = files.get(name);
    const record = manifest.files[name];
    if (bytes !== undefined && record !== undefined) served.set(name, { bytes, sha256: record.sha256 });
  }
  const sha256 = createHash('sha256').update(manifestBytes).digest('hex');
  return served.set('manifest.json', { bytes: manifestBytes, sha256 });
}

/** Shape of one row of every output that the contract of the graphs names. */
export function outputShapes(model: ServedModel, role: GraphRole): ReadonlyMap<string, readonly number[]> {
  const { input, scorer } = model.manifest;
  switch (role) {
    case 'encoder':
      return new Map([
        ['mean', [model.latentSize]],
        ['log_variance', [model.latentSize]],
      ]);
    case 'decoder':
      return new Map([['x_mean', input.shape]]);
    case 'scorer':
      return new Map<string, readonly number[]>([
        ...['score', ...scorer.components].map((name): [string, readonly number[]] => [name, []]),
        ['error_map', input.shape],
        ...(input.kind === 'image' ? [] : [['x_mean', input.shape] as [string, readonly number[]]]),
      ]);
  }
}

/**
 * Holds what ONNX Runtime says of the graphs against what the manifest says.
 * @throws {InferenceError} MODEL_REFUSED, naming the file, the tensor and both shapes
 */
export function checkDescriptions(model: ServedModel, graphs: Readonly<Record<GraphRole, GraphDescription>>): void {
  for (const call of Object.values(model.calls)) {
    const { inputs, outputs } = graphs[call.role];
    for (const { name, shape } of call.inputs) checkTensor(call.role, 'input', inputs, name, shape);
    if (inputs.length > call.inputs.length) {
      const expected = call.inputs.map(({ name }) => name).join(' and ');
      throw refused(`${call.role}.onnx has the inputs ${names(inputs)}; the manifest asks for ${expected} alone`);
    }
    for (const [name, shape] of outputShapes(model, call.role)) {
      checkTensor(call.role, 'output', outputs, name, shape);
    }
  }
}

function checkTensor(
  role: GraphRole,
  kind: 'input' | 'output',
  tensors: readonly TensorDescription[],
  name: string,
  row: readonly number[],
): void {
  const expected = `float32 [N${row.map((dimension) => `, ${dimension}`).join('')}]`;
  const tensor = tensors.find((candidate) => candidate.name === name);
  if (tensor === undefined) {
    throw refused(`${role}.onnx has no ${kind} ${name} (${expected}), only ${names(tensors)}`);
  }
  // An output's shape may be unknown in part before a run; the warm-up run settles those.
  const [batch, ...dimensions] = tensor.shape;
  const fits =
    tensor.type === 'float32' &&
    tensor.shape.length === row.length + 1 &&
    typeof batch === 'string' &&
    dimensions.every((dimension, i) => dimension === row[i] || (kind === 'output' && typeof dimension === 'string'));
  if (!fits) {
    throw refused(
      `${role}.onnx: ${kind} ${name} is ${tensor.type} [${tensor.shape.join(', ')}]; the manifest asks for ${expected}`,
    );
  }
}

/**
 * Holds the outputs of a warm-up run against the manifest.
 * @throws {InferenceError} MODEL_REFUSED, naming the file and the output
 */
export function checkOutputs(
  model: ServedModel,
  call: ModelCall,
  rows: number,
  outputs: Readonly<Record<string, OutputTensor>>,
): void {
  const shapes = outputShapes(model, call.role);
  for (const [name, { data, dims }] of Object.entries(outputs)) {
    const expected = [rows, ...(shapes.get(name) ?? [])];
    if (dims.join() !== expected.join()) {
      throw refused(`${call.role}.onnx: ${name} has shape [${dims}] for ${rows} rows; expected [${expected}]`);
    }
    if (!data.every(Number.isFinite)) {
      throw refused(`${call.role}.onnx: ${name} has numbers that are not finite for the warm-up input`);
    }
  }
}

/** Rows to warm a call up with: the middle of what it accepts, and each class in turn. */
export function warmUpInput(model: ServedModel, call: ModelCall, rows: number): Float32Array {
  const { input, condition } = model.manifest;
  const [low, high] = input.value_range;
  const size = call.role === 'decoder' ? model.latentSize : model.itemSize;
  const items = new Float32Array(rows * size).fill(call.role === 'decoder' ? 0 : (low + high) / 2);
  if (condition === undefined) return items;
  const labels = Array.from({ length: rows }, (_, row) => row % condition.classes);
  return withLabels(items, labels, condition.classes);
}

/** The golden input of a call, so many times over. */
export function goldenInput(model: ServedModel, call: ModelCall, rows: number): Float32Array {
  const item = call.role === 'decoder' ? goldenLatents(model.manifest) : goldenItem(model.manifest);
  const items = new Float32Array(rows * item.length);
  for (let row = 0; row < rows; row++) items.set(item, row * item.length);
  const { condition } = model.manifest;
  return condition === undefined ? items : withLabels(items, Array(rows).fill(0), condition.classes);
}

/**
 * Holds the outputs of the golden input against the manifest: a graph that loads and runs may still compute something else,
 * on an execution provider with an error or after files were mixed up.
 * @throws {InferenceError} MODEL_REFUSED, naming the file, the output and both numbers
 */
export function checkGolden(
  { manifest: { golden } }: ServedModel,
  call: ModelCall,
  rows: number,
  outputs: Readonly<Record<string, OutputTensor>>,
): void {
  if (golden === undefined) return;
  for (const name of ['mean', 'x_mean', 'score'] as const) {
    const output = outputs[name];
    // The scorer's x_mean is of the item, the golden one of the latents.
    if (output === undefined || (name === 'x_mean' && call.role !== 'decoder')) continue;
    const difference = goldenDifference(name, output.data.subarray(0, output.data.length / rows), golden);
    if (difference !== undefined) throw refused(`${call.role}.onnx: ${difference}`);
  }
}

function names(tensors: readonly TensorDescription[]): string {
  return tensors.map(({ name }) => name).join(', ');
}

function refused(message: string): InferenceError {
  return new InferenceError('MODEL_REFUSED', message);
}

function shared(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.byteLength));
  copy.set(bytes);
  return copy;
}
