import type { FastifyReply, FastifyRequest } from 'fastify';
import Negotiator from 'negotiator';
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
import { Cancellation } from '../inference/cancellation.js';
import type { ServedModel } from '../inference/model.js';
import { contentTypeOf } from '../plugins/content.js';
import { ProblemError } from '../problems.js';
import { remembered } from '../remembered.js';
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

/** Picks, for a request, one of the types that a route can answer with. */
export type OutputTypes<Type extends OutputType> = (request: FastifyRequest) => Type;

/**
 * The type that the client likes best among those that can be made; the first where it doesn't care.
 * @returns a function that throws {ProblemError} NOT_ACCEPTABLE, naming them
 */
export function outputTypes<Type extends OutputType>(...possible: readonly [Type, ...Type[]]): OutputTypes<Type> {
  const preferred = remembered((accept) => {
    const chosen = new Negotiator({ headers: { accept } }).mediaType([...possible]);
    return possible.find((type) => type === chosen);
  });
  return ({ headers: { accept = '' } }) => {
    const type = accept === '' ? possible[0] : preferred(accept);
    if (type !== undefined) return type;
    throw new ProblemError(
      'NOT_ACCEPTABLE',
      `accept: ${accept} cannot be met; this can be had as ${possible.join(', ')}`,
    );
  };
}

const imageOutputType = outputTypes<OutputType>(JSON_TYPE, PNG_TYPE, BINARY_TYPE, NPY_TYPE, LINES_TYPE);
const rowOutputType = outputTypes<OutputType>(JSON_TYPE, BINARY_TYPE, NPY_TYPE, LINES_TYPE);

/**
 * The type that a model's items are wanted as: only images make a picture.
 * @throws {ProblemError} NOT_ACCEPTABLE
 */
export function itemOutputType(request: FastifyRequest, { manifest }: ServedModel): OutputType {
  return manifest.input.kind === 'image' ? imageOutputType(request) : rowOutputType(request);
}

export function isTensorType(type: OutputType): type is TensorType {
  return type === BINARY_TYPE || type === NPY_TYPE;
}

/**
 * Cancelled when the client goes away before it has its answer; to be called before anything is awaited. `request.signal`
 * doesn't say so: in Node, a request's `close` event comes as soon as its body was read.
 */
export function clientGone(reply: FastifyReply): Cancellation {
  const cancellation = new Cancellation();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) cancellation.cancel();
  });
  return cancellation;
}
