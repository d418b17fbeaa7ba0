import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import {
  type EncodedItems,
  itemsFromFiles,
  itemsFromFloat32,
  itemsFromImage,
  itemsFromJson,
  itemsFromNpy,
  itemsFromRows,
} from '../codecs/items.js';
import type { Form } from '../codecs/multipart.js';
import type { ServedModel } from '../inference/model.js';
import { contentTypeOf } from '../plugins/content.js';
import { ProblemError } from '../problems.js';
import type { InputsBody } from '../schemas/inference.js';

export const JSON_TYPE = 'application/json';
export const BINARY_TYPE = 'application/octet-stream';
export const PNG_TYPE = 'image/png';
export const NPY_TYPE = 'application/x-npy';
export const LINES_TYPE = 'application/x-ndjson';
export const FORM_TYPE = 'multipart/form-data';
/** Types that hold one tensor. */
export type TensorType = typeof BINARY_TYPE | typeof NPY_TYPE;
export type OutputType = typeof JSON_TYPE | typeof PNG_TYPE | typeof LINES_TYPE | TensorType;

/** The items in a request's body; its content type is one of the route's already. */
export function itemsOf(request: FastifyRequest, model: ServedModel): EncodedItems {
  return timed(
    request,
    model,
    request.times.during('decode', () => encodedItems(request, model)),
  );
}

/** The same items, whose decoding counts as the request's. */
export function timed(request: FastifyRequest, model: ServedModel, { count, decode }: EncodedItems): EncodedItems {
  request.times.concerns(model, count);
  return { count, decode: () => request.times.during('decode', decode) };
}

function encodedItems(request: FastifyRequest, model: ServedModel): EncodedItems {
  const { input } = model.manifest;
  switch (contentTypeOf(request)) {
    case JSON_TYPE: {
      const { inputs, rows } = request.body as Static<typeof InputsBody>;
      if (inputs !== undefined && rows === undefined) return itemsFromJson(inputs, input);
      if (rows !== undefined && inputs === undefined) return itemsFromRows(rows, input);
      throw new ProblemError('INVALID_REQUEST', 'expected one of the body fields inputs and rows');
    }
    case BINARY_TYPE:
      return itemsFromFloat32(request.body as Buffer, input);
    case NPY_TYPE:
      return itemsFromNpy(request.body as Buffer, input);
    case FORM_TYPE:
      return itemsFromFiles((request.body as Form).files, input);
    default:
      return itemsFromImage(request.body as Buffer, 'body', input);
  }
}

/**
 * The type that the client likes best among those that can be made; JSON where it doesn't care.
 * @throws {ProblemError} NOT_ACCEPTABLE, naming them
 */
export function outputType<Type extends OutputType>(request: FastifyRequest, possible: readonly Type[]): Type {
  const chosen = request.accepts().type([...possible]);
  const type = possible.find((candidate) => candidate === chosen);
  if (type === undefined) {
    throw new ProblemError(
      'NOT_ACCEPTABLE',
      `accept: ${request.headers.accept ?? ''} cannot be met; this can be had as ${possible.join(', ')}`,
    );
  }
  return type;
}

/** Types that a model's items can be had as: only images make a picture. */
export function itemOutputTypes({ manifest }: ServedModel): readonly OutputType[] {
  const others: readonly OutputType[] = [BINARY_TYPE, NPY_TYPE, LINES_TYPE];
  return manifest.input.kind === 'image' ? [JSON_TYPE, PNG_TYPE, ...others] : [JSON_TYPE, ...others];
}

export function isTensorType(type: OutputType): type is TensorType {
  return type === BINARY_TYPE || type === NPY_TYPE;
}

/**
 * Aborts when the client goes away before it has its answer; to be called before anything is awaited. `request.signal`
 * doesn't: in Node, a request's `close` event comes as soon as its body was read.
 */
export function clientGone(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  return controller.signal;
}
