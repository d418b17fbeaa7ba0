import type { FastifyReply } from 'fastify';
import { float32FromNumbers } from '../codecs/float32.js';
import { pngFromItems } from '../codecs/image-output.js';
import { type JsonTensor, jsonWithTensors } from '../codecs/json.js';
import type { ServedModel } from '../inference/model.js';
import { BINARY_TYPE, JSON_TYPE, type OutputType, PNG_TYPE } from './inference-request.js';

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

/** A tensor as little-endian float32. */
export function sendFloat32(
  reply: FastifyReply,
  model: ServedModel,
  data: Float32Array,
  shape: readonly number[],
): FastifyReply {
  const bytes = reply.request.times.during('encode', () => float32FromNumbers(data));
  return named(reply, model, BINARY_TYPE).header('elbo-shape', shape.join(',')).send(bytes);
}

export function sendPng(reply: FastifyReply, model: ServedModel, png: Buffer): FastifyReply {
  return named(reply, model, PNG_TYPE).send(png);
}

/** Items of a model's input shape, as the type that was asked for; `fields` and `tensors` go with JSON. */
export async function sendItems(
  reply: FastifyReply,
  model: ServedModel,
  type: OutputType,
  outputs: Float32Array,
  fields: Readonly<Record<string, unknown>> = {},
  tensors: Readonly<Record<string, JsonTensor>> = {},
): Promise<FastifyReply> {
  const { input } = model.manifest;
  const shape = [outputs.length / model.itemSize, ...input.shape];
  if (type === PNG_TYPE && input.kind === 'image') {
    const png = await reply.request.times.during('encode', () => pngFromItems(outputs, input));
    return sendPng(reply, model, png);
  }
  if (type === BINARY_TYPE) return sendFloat32(reply, model, outputs, shape);
  return sendJson(reply, model, { ...fields, shape }, { ...tensors, outputs: { data: outputs, shape } });
}

function named(reply: FastifyReply, model: ServedModel, type: OutputType): FastifyReply {
  return reply.type(type).header('elbo-model', model.key);
}
