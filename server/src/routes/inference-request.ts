import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import { type EncodedItems, itemsFromFloat32, itemsFromImage, itemsFromJson, itemsFromRows } from '../codecs/items.js';
import type { ServedModel } from '../inference/model.js';
import { contentTypeOf } from '../plugins/content.js';
import { ProblemError } from '../problems.js';
import type { InputsBody } from '../schemas/inference.js';

export const JSON_TYPE = 'application/json';
export const BINARY_TYPE = 'application/octet-stream';
export const PNG_TYPE = 'image/png';
export type OutputType = typeof JSON_TYPE | typeof BINARY_TYPE | typeof PNG_TYPE;

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
  return manifest.input.kind === 'image' ? [JSON_TYPE, PNG_TYPE, BINARY_TYPE] : [JSON_TYPE, BINARY_TYPE];
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
