/**
 * Requests and answers of the Open Inference Protocol, version 2, over HTTP, with its binary tensors.
 * @see https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
 * @see https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol/binary-tensor-data-extension
 */
import type { Readable } from 'node:stream';
import type { NumbersDescription } from '@elbo/models';
import { CodecError } from './errors.js';
import { float32FromNumbers } from './float32.js';
import { NUMBERS_AT_ONCE, pacedText } from './json.js';
import { checkNumbers, named } from './numbers.js';
import { parseJson } from './parse-json.js';

/** A tensor of a graph: [N, ...shape]. */
export interface TensorDescription {
  readonly name: string;
  /** Of one row. */
  readonly shape: readonly number[];
}

/** What a graph takes and gives. */
export interface Signature {
  readonly inputs: readonly TensorDescription[];
  readonly outputs: readonly TensorDescription[];
}

/** An input whose shape is settled and whose numbers are yet to be read. */
export interface EncodedTensor extends TensorDescription {
  readonly rows: number;
  readonly datatype: string;
  /** Flat or nested numbers of JSON, or little-endian bytes. */
  readonly data: readonly unknown[] | Uint8Array;
}

export interface RequestedOutput extends TensorDescription {
  readonly binary: boolean;
}

export interface InferRequest {
  /** Comes back with the answer. */
  readonly id: string | undefined;
  /** N of every input. */
  readonly rows: number;
  /** Every input of the graph, in the graph's order. */
  readonly inputs: readonly [EncodedTensor, ...EncodedTensor[]];
  readonly outputs: readonly RequestedOutput[];
  /** Time that the answer is worth waiting for. */
  readonly timeoutMicroseconds: number | undefined;
}

export interface AnsweredOutput extends RequestedOutput {
  /** N x shape */
  readonly data: Float32Array;
}

/** A body, and what its `Inference-Header-Content-Length` must be where it has bytes of tensors. */
export type InferAnswer =
  | { readonly body: string | Readable; readonly headerLength?: undefined }
  | { readonly body: Buffer; readonly headerLength: number };

type JsonObject = Readonly<Record<string, unknown>>;

interface Datatype {
  /** Of one element. */
  readonly bytes: number;
  readonly read: (view: DataView, offset: number) => number;
  /** Both ends included; of whole numbers alone. */
  readonly range?: readonly [number, number];
}

const whole = (bits: number, read: Datatype['read'], signed: boolean): Datatype => ({
  bytes: bits / 8,
  read,
  range: signed ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1],
});

/** Those whose elements can be numbers of the graphs, which are all FP32. */
const DATATYPES: ReadonlyMap<string, Datatype> = new Map([
  ['BOOL', { bytes: 1, read: (view, at) => view.getUint8(at), range: [0, 1] }],
  ['UINT8', whole(8, (view, at) => view.getUint8(at), false)],
  ['UINT16', whole(16, (view, at) => view.getUint16(at, true), false)],
  ['UINT32', whole(32, (view, at) => view.getUint32(at, true), false)],
  ['UINT64', whole(64, (view, at) => Number(view.getBigUint64(at, true)), false)],
  ['INT8', whole(8, (view, at) => view.getInt8(at), true)],
  ['INT16', whole(16, (view, at) => view.getInt16(at, true), true)],
  ['INT32', whole(32, (view, at) => view.getInt32(at, true), true)],
  ['INT64', whole(64, (view, at) => Number(view.getBigInt64(at, true)), true)],
  ['FP16', { bytes: 2, read: (view, at) => numberFromHalf(view.getUint16(at, true)) }],
  ['BF16', { bytes: 2, read: (view, at) => numberFromBrainFloat(view.getUint16(at, true)) }],
  ['FP32', { bytes: 4, read: (view, at) => view.getFloat32(at, true) }],
  ['FP64', { bytes: 8, read: (view, at) => view.getFloat64(at, true) }],
]);

/** Parameters that ask for what this server doesn't do; to ignore them would be a wrong answer. */
const REFUSED_PARAMETERS = ['sequence_id', 'shared_memory_region', 'classification'];

const utf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * Reads a request up to its numbers, so that its rows are known before the dear part.
 * @param headerLength of `Inference-Header-Content-Length`: bytes of JSON before those of the tensors; `0` where the body
 *   is one row of the only input; unset where all of it is JSON
 * @throws {CodecError} INVALID_INPUT, naming the field and what was expected there
 * @throws {SyntaxError} where the JSON part is none, or has keys of prototypes
 */
export function readInferRequest(
  body: Uint8Array,
  headerLength: string | undefined,
  signature: Signature,
): InferRequest {
  const length = headerLength === undefined ? body.byteLength : lengthOf(headerLength, body.byteLength);
  if (headerLength !== undefined && length === 0) return rawRequest(body, signature);
  const request = objectAt(jsonOf(body.subarray(0, length)), 'the body');
  const { id } = request;
  if (id !== undefined && typeof id !== 'string') throw expected('id', id, 'a string');
  const parameters = parametersOf(request, 'parameters');
  const { timeout } = parameters;
  if (timeout !== undefined && !isCount(timeout)) throw expected('parameters.timeout', timeout, 'microseconds');
  const binary = flag(parameters, 'binary_data_output', 'parameters') ?? false;
  const inputs = inputsOf(request.inputs, body.subarray(length), signature.inputs);
  return {
    id,
    rows: inputs[0].rows,
    inputs,
    outputs: outputsOf(request.outputs, binary, signature.outputs),
    timeoutMicroseconds: timeout,
  };
}

/**
 * The numbers of an input as float32. Whole numbers that float32 can't hold are refused; those of FP64 are rounded.
 * @returns N x shape
 * @throws {CodecError} INVALID_INPUT, naming the element and what was expected there
 */
export function numbersOfTensor(tensor: EncodedTensor, description: NumbersDescription): Float32Array {
  const data =
    tensor.data instanceof Uint8Array ? fromBytes(tensor, tensor.data) : fromJson(tensor, tensor.data, description);
  checkNumbers(data, tensor.name, description);
  return data;
}

/**
 * Class numbers from one-hot rows.
 * @returns [N]
 * @throws {CodecError} INVALID_INPUT for a row that has other than one 1 among zeros
 */
export function classesOfTensor(tensor: EncodedTensor): number[] {
  const [classes = 0] = tensor.shape;
  const data = numbersOfTensor(tensor, { shape: tensor.shape });
  return Array.from({ length: tensor.rows }, (_, row) => {
    const values = data.subarray(row * classes, (row + 1) * classes);
    const label = values.indexOf(1);
    if (label === -1 || values.some((value, place) => value !== 0 && place !== label)) {
      throw invalid(`${tensor.name}[${row}] is not one-hot; expected one 1 among ${classes - 1} zeros`);
    }
    return label;
  });
}

/** An answer: JSON, then the bytes of those outputs that were asked for as bytes. A large one in JSON is a stream. */
export async function inferAnswer(
  fields: Readonly<Record<string, string | undefined>>,
  outputs: readonly AnsweredOutput[],
  rows: number,
): Promise<InferAnswer> {
  const numbers = outputs.reduce((sum, { binary, data }) => sum + (binary ? 0 : data.length), 0);
  const text = pacedText(answerPieces(fields, outputs, rows), numbers);
  const binaries = outputs.filter(({ binary }) => binary).map(({ data }) => float32FromNumbers(data));
  if (binaries.length === 0) return { body: text };
  const pieces: Buffer[] = [];
  if (typeof text === 'string') pieces.push(Buffer.from(text));
  else for await (const piece of text) pieces.push(Buffer.from(piece));
  const headerLength = pieces.reduce((sum, { byteLength }) => sum + byteLength, 0);
  return { body: Buffer.concat([...pieces, ...binaries]), headerLength };
}

function* answerPieces(
  fields: Readonly<Record<string, string | undefined>>,
  outputs: readonly AnsweredOutput[],
  rows: number,
): Generator<string> {
  yield `${JSON.stringify(fields).slice(0, -1)},"outputs":[`;
  for (const [i, { name, shape, data, binary }] of outputs.entries()) {
    const tensor = {
      name,
      datatype: 'FP32',
      shape: [rows, ...shape],
      ...(binary && { parameters: { binary_data_size: data.byteLength } }),
    };
    yield `${i === 0 ? '' : ','}${JSON.stringify(tensor).slice(0, -1)}`;
    if (binary) {
      yield '}';
      continue;
    }
    yield ',"data":[';
    for (let from = 0; from < data.length; from += NUMBERS_AT_ONCE) {
      const text = JSON.stringify(Array.from(data.subarray(from, from + NUMBERS_AT_ONCE)));
      yield `${from === 0 ? '' : ','}${text.slice(1, -1)}`;
    }
    yield ']}';
  }
  yield ']}';
}

function lengthOf(header: string, bodyLength: number): number {
  const length = /^[0-9]{1,15}$/.test(header) ? Number(header) : Number.NaN;
  if (!(length <= bodyLength)) {
    throw invalid(
      `inference-header-content-length is ${named(header)}; expected the length of the JSON part of a body of ${bodyLength} bytes`,
    );
  }
  return length;
}

function jsonOf(bytes: Uint8Array): unknown {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch (error) {
    throw new CodecError('INVALID_INPUT', 'the JSON part of the body is not UTF-8', { cause: error });
  }
  return parseJson(text);
}

/** One row of a graph's only input, without names. The answer is in bytes, as Triton gives it. */
function rawRequest(body: Uint8Array, { inputs, outputs }: Signature): InferRequest {
  const [input, ...others] = inputs;
  if (input === undefined || others.length > 0) {
    const names = inputs.map(({ name }) => name).join(' and ');
    throw invalid(`inference-header-content-length is 0; a model with the inputs ${names} takes no raw body`);
  }
  const size = 4 * elements(1, input);
  if (body.byteLength !== size) {
    throw invalid(
      `the raw body has ${body.byteLength} bytes; expected ${size}: one ${input.name} as FP32 ${shapeText(1, input)}`,
    );
  }
  return {
    id: undefined,
    rows: 1,
    inputs: [{ ...input, rows: 1, datatype: 'FP32', data: body }],
    outputs: outputs.map((output) => ({ ...output, binary: true })),
    timeoutMicroseconds: undefined,
  };
}

function inputsOf(
  given: unknown,
  bytes: Uint8Array,
  wanted: readonly TensorDescription[],
): [EncodedTensor, ...EncodedTensor[]] {
  const names = wanted.map(({ name }) => name).join(' and ');
  if (!Array.isArray(given)) throw expected('inputs', given, `an array with ${names}`);
  const found = new Map<string, EncodedTensor>();
  let offset = 0;
  for (const [i, each] of given.entries()) {
    const field = `inputs[${i}]`;
    const tensor = objectAt(each, field);
    const description = wanted.find(({ name }) => name === tensor.name);
    if (description === undefined) throw expected(`${field}.name`, tensor.name, names);
    if (found.has(description.name)) throw invalid(`${field} is a second ${description.name}; expected one`);
    const encoded = inputOf(tensor, field, description, bytes.subarray(offset));
    if (encoded.data instanceof Uint8Array) offset += encoded.data.byteLength;
    found.set(description.name, encoded);
  }
  if (offset !== bytes.byteLength) {
    throw invalid(
      `the body has ${bytes.byteLength} bytes after its JSON part; the binary_data_size of its inputs make ${offset}`,
    );
  }
  const [first, ...others] = wanted.map(({ name }) => {
    const encoded = found.get(name);
    if (encoded === undefined) throw invalid(`inputs has no ${name}; expected ${names}`);
    return encoded;
  });
  if (first === undefined) throw new TypeError('a graph without inputs');
  const other = others.find(({ rows }) => rows !== first.rows);
  if (other !== undefined) {
    throw invalid(`${other.name} has ${other.rows} rows and ${first.name} ${first.rows}; expected as many`);
  }
  return [first, ...others];
}

function inputOf(tensor: JsonObject, field: string, description: TensorDescription, bytes: Uint8Array): EncodedTensor {
  const { name } = description;
  const { datatype, shape, data } = tensor;
  const type = typeof datatype === 'string' ? DATATYPES.get(datatype) : undefined;
  if (typeof datatype !== 'string' || type === undefined) {
    throw expected(`${field}.datatype`, datatype, `FP32, or one of ${[...DATATYPES.keys()].join(', ')}`);
  }
  const rows = rowsOf(shape, field, description);
  const count = elements(rows, description);
  const size = parametersOf(tensor, `${field}.parameters`).binary_data_size;
  if (size === undefined) {
    if (!Array.isArray(data)) throw expected(`${field}.data`, data, `an array of ${count} numbers`);
    // What is nested is counted where it is read; here it can't be less than its rows.
    const [length, unit] = Array.isArray(data[0]) ? [rows, 'arrays'] : [count, 'numbers'];
    if (data.length !== length) {
      throw invalid(
        `${field}.data has ${data.length} elements; expected ${length} ${unit} (${shapeText(rows, description)})`,
      );
    }
    return { ...description, rows, datatype, data };
  }
  if (data !== undefined) throw invalid(`${field} has data and binary_data_size; expected one of them`);
  if (size !== count * type.bytes) {
    throw expected(
      `${field}.parameters.binary_data_size`,
      size,
      `${count * type.bytes}: ${name} as ${datatype} ${shapeText(rows, description)}`,
    );
  }
  if (size > bytes.byteLength) {
    throw invalid(
      `${field}.parameters.binary_data_size is ${size}; the body has ${bytes.byteLength} bytes left for it`,
    );
  }
  return { ...description, rows, datatype, data: bytes.subarray(0, size) };
}

function rowsOf(shape: unknown, field: string, description: TensorDescription): number {
  const { name } = description;
  const wanted = shapeText('N', description);
  if (!Array.isArray(shape)) throw expected(`${field}.shape`, shape, wanted);
  const [rows, ...rest] = shape as unknown[];
  const fits = rest.length === description.shape.length && rest.every((each, i) => each === description.shape[i]);
  if (!fits || !isCount(rows) || rows === 0) {
    const given = shape.slice(0, 8).map((each) => named(each));
    throw invalid(
      `${field}.shape is [${given.join(', ')}${shape.length > 8 ? ', …' : ''}]; expected ${wanted} for ${name}, N at least 1`,
    );
  }
  return rows;
}

function outputsOf(given: unknown, binary: boolean, possible: readonly TensorDescription[]): RequestedOutput[] {
  if (given !== undefined && !Array.isArray(given)) throw expected('outputs', given, 'an array');
  // No wish is a wish for all.
  if (given === undefined || given.length === 0) return possible.map((output) => ({ ...output, binary }));
  const seen = new Set<string>();
  return given.map((each: unknown, i) => {
    const field = `outputs[${i}]`;
    const output = objectAt(each, field);
    const description = possible.find(({ name }) => name === output.name);
    if (description === undefined) {
      throw expected(`${field}.name`, output.name, `one of ${possible.map(({ name }) => name).join(', ')}`);
    }
    if (seen.has(description.name)) throw invalid(`${field} is a second ${description.name}; expected one`);
    seen.add(description.name);
    const parameters = parametersOf(output, `${field}.parameters`);
    return { ...description, binary: flag(parameters, 'binary_data', `${field}.parameters`) ?? binary };
  });
}

function parametersOf(owner: JsonObject, field: string): JsonObject {
  if (owner.parameters === undefined) return {};
  const parameters = objectAt(owner.parameters, field);
  const refused = REFUSED_PARAMETERS.find((name) => Object.hasOwn(parameters, name));
  if (refused !== undefined) throw invalid(`${field}.${refused} is given; this server has no such thing`);
  return parameters;
}

function flag(parameters: JsonObject, name: string, field: string): boolean | undefined {
  const value = parameters[name];
  if (value !== undefined && typeof value !== 'boolean') throw expected(`${field}.${name}`, value, 'true or false');
  return value;
}

function fromBytes({ rows, datatype, ...tensor }: EncodedTensor, bytes: Uint8Array): Float32Array {
  const data = new Float32Array(elements(rows, tensor));
  if (datatype === 'FP32') {
    // Node runs on little-endian machines only, where these bytes are a Float32Array as they are.
    new Uint8Array(data.buffer).set(bytes);
    return data;
  }
  const type = datatypeOf(datatype);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const path = (i: number) => `${tensor.name} (element ${i})`;
  for (let i = 0; i < data.length; i++) data[i] = float32Of(type.read(view, i * type.bytes), datatype, type, path, i);
  return data;
}

function fromJson(
  { rows, datatype, ...tensor }: EncodedTensor,
  values: readonly unknown[],
  { columns }: NumbersDescription,
): Float32Array {
  const { name } = tensor;
  const data = new Float32Array(elements(rows, tensor));
  const type = datatypeOf(datatype);
  const mayMiss = columns?.some(({ missing }) => missing === true) ?? false;
  const path = (i: number) => `${name} (element ${i})`;
  let offset = 0;
  const add = (value: unknown): void => {
    const number = datatype === 'BOOL' && typeof value === 'boolean' ? Number(value) : value;
    if (number === null && mayMiss) data[offset] = Number.NaN;
    else if (typeof number !== 'number') throw expected(path(offset), value, datatype);
    else data[offset] = float32Of(number, datatype, type, path, offset);
    offset++;
  };
  const visit = (value: unknown, dimensions: readonly number[]): void => {
    const [length, ...inner] = dimensions;
    if (length === undefined) {
      add(value);
      return;
    }
    if (!Array.isArray(value)) throw expected(`data of ${name}`, value, `arrays nested as ${shapeText(rows, tensor)}`);
    if (value.length !== length) {
      throw invalid(`data of ${name} has an array of ${value.length}; expected ${length} (${shapeText(rows, tensor)})`);
    }
    for (const each of value) visit(each, inner);
  };
  if (Array.isArray(values[0])) visit(values, [rows, ...tensor.shape]);
  else for (const value of values) add(value);
  return data;
}

/** A value as float32; NaN stays, for whoever knows whether it stands for a missing value. */
function float32Of(
  value: number,
  datatype: string,
  { range }: Datatype,
  path: (i: number) => string,
  i: number,
): number {
  const number = Math.fround(value);
  if (range === undefined) {
    if (Number.isFinite(number) || Number.isNaN(number)) return number;
    throw invalid(`${path(i)} is ${value}; expected a finite float32 number`);
  }
  if (!(Number.isInteger(value) && value >= range[0] && value <= range[1])) throw expected(path(i), value, datatype);
  if (number !== value || !Number.isSafeInteger(value))
    throw invalid(`${path(i)} is ${value}, which the model's FP32 cannot hold; send FP32`);
  return number;
}

/** @see https://en.wikipedia.org/wiki/Half-precision_floating-point_format */
function numberFromHalf(bits: number): number {
  const sign = bits >> 15 === 0 ? 1 : -1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

const word = new DataView(new ArrayBuffer(4));

/** The upper half of a float32. */
function numberFromBrainFloat(bits: number): number {
  word.setUint16(0, bits);
  return word.getFloat32(0);
}

function datatypeOf(name: string): Datatype {
  const type = DATATYPES.get(name);
  if (type === undefined) throw new TypeError(`no datatype ${name}`);
  return type;
}

function elements(rows: number, { shape }: TensorDescription): number {
  return shape.reduce((product, dimension) => product * dimension, rows);
}

function shapeText(rows: number | string, { shape }: TensorDescription): string {
  return `[${[rows, ...shape].join(', ')}]`;
}

function objectAt(value: unknown, field: string): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw expected(field, value, 'an object');
  return value as JsonObject;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function expected(field: string, value: unknown, what: string): CodecError {
  return invalid(`${field} is ${named(value)}; expected ${what}`);
}

function invalid(message: string): CodecError {
  return new CodecError('INVALID_INPUT', message);
}
