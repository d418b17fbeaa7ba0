import type { FastifyReply } from 'fastify';
import { float32FromNumbers } from '../codecs/float32.js';
import { pngFromItems } from '../codecs/image-output.js';
import { type JsonTensor, jsonWithTensors } from '../codecs/json.js';
import { type LineFields, linesOf, streamOf } from '../codecs/lines.js';
import { npyFromNumbers } from '../codecs/npy.js';
import type { ServedModel } from '../inference/model.js';
import {
  BINARY_TYPE,
  isTensorType,
  JSON_TYPE,
  LINES_TYPE,
  type OutputType,
  PNG_TYPE,
  type TensorType,
} from './inference-request.js';

/** A JSON answer: the model, plain fields, then tensors. */
export function sendJson(
  reply: FastifyReply,
  { manifest }: ServedModel,
  fields: Readonly<Record<string, unknown>>,
  tensors: Readonly<Record<string, JsonTensor>> = {},
): FastifyReply {
  const { name, version } = manifest;
  const json = reply.request.times.during('encode', () =>
    jsonWithTensors({ model: name, version, ...fields }, tensors),
  );
  return reply.type(JSON_TYPE).send(json);
}

/** One tensor, as little-endian float32 or as a `.npy` file of them. */
export function sendTensor(
  reply: FastifyReply,
  model: ServedModel,
  type: TensorType,
  data: Float32Array,
  shape: readonly number[],
): FastifyReply {
  const bytes = reply.request.times.during('encode', () =>
    type === BINARY_TYPE ? float32FromNumbers(data) : npyFromNumbers(data, shape),
  );
  return named(reply, model, type).header('elbo-shape', shape.join(',')).send(bytes);
}

/** One line of JSON an item. */
export function sendLines(reply: FastifyReply, model: ServedModel, lines: Iterable<string>): FastifyReply {
  return named(reply, model, LINES_TYPE).send(streamOf(lines));
}

export function sendPng(reply: FastifyReply, model: ServedModel, png: Buffer): FastifyReply {
  return named(reply, model, PNG_TYPE).send(png);
}

/** What goes with the items of an answer. */
export interface ItemContext {
  /** Plain fields of a JSON answer. */
  readonly fields?: Readonly<Record<string, unknown>>;
  /** Class of each item, in JSON and in lines. */
  readonly labels?: readonly number[] | undefined;
  /** Latent of each item, in JSON and in lines. */
  readonly latents?: JsonTensor;
}

/** Items of a model's input shape, as the type that was asked for. */
export async function sendItems(
  reply: FastifyReply,
  model: ServedModel,
  type: OutputType,
  outputs: Float32Array,
  { fields, labels, latents }: ItemContext = {},
): Promise<FastifyReply> {
  const { input } = model.manifest;
  const shape = [outputs.length / model.itemSize, ...input.shape];
  if (type === PNG_TYPE && input.kind === 'image') {
    const png = await reply.request.times.during('encode', () => pngFromItems(outputs, input));
    return sendPng(reply, model, png);
  }
  if (isTensorType(type)) return sendTensor(reply, model, type, outputs, shape);
  if (type === LINES_TYPE) return sendLines(reply, model, itemLines(model, outputs, labels, latents));
  const tensors = { ...(latents && { latents }), outputs: { data: outputs, shape } };
  return sendJson(reply, model, { ...fields, labels, shape }, tensors);
}

/** Items of a model's input shape as lines: `{label, latent, output}`, the first two where they are given. */
export function itemLines(
  model: ServedModel,
  outputs: Float32Array,
  labels?: LineFields[string],
  latents?: JsonTensor,
): Iterable<string> {
  const count = outputs.length / model.itemSize;
  const output = { data: outputs, shape: [count, ...model.manifest.input.shape] };
  return linesOf(count, { label: labels }, { ...(latents && { latent: latents }), output });
}

/** Says which model answers where the body does not. */
export function named(reply: FastifyReply, model: ServedModel, type: OutputType): FastifyReply {
  return reply.type(type).header('elbo-model', model.key);
}
