import multipart from '@fastify/multipart';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { IMAGE_TYPES } from '../codecs/items.js';
import { isPartAFile, multipartLimits, readForm } from '../codecs/multipart.js';
import { parseJson } from '../codecs/parse-json.js';
import { ProblemError } from '../problems.js';
import { remembered } from '../remembered.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The body may be left out. */
    optionalBody?: boolean;
    /** A body is taken without a content type, as clients of the Open Inference Protocol send it. */
    untypedBody?: boolean;
  }
}

/** Reads bodies, and refuses those that a route has no schema for before a byte of them is read. */
export const content = fp(async (app: FastifyInstance) => {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, body, done) => {
    try {
      done(null, body === '' ? {} : request.times.during('decode', () => parseJson(body)));
    } catch (error) {
      done(error as Error);
    }
  });
  app.addContentTypeParser<Buffer>(
    ['application/octet-stream', 'application/x-npy', ...IMAGE_TYPES],
    { parseAs: 'buffer' },
    (_request, body, done) => done(null, body),
  );
  // Read by the route while it answers, so that it may be of any length.
  app.addContentTypeParser('application/x-ndjson', (_request, body, done) => done(null, body));
  const { bodyLimit = 0 } = app.initialConfig;
  await app.register(multipart, { limits: multipartLimits(bodyLimit), isPartAFile });
  app.addHook('preValidation', (request, _reply, done) => {
    if (request.isMultipart()) readBody(request).then(() => done(), done);
    else done();
  });
  const readBody = async (request: FastifyRequest): Promise<void> => {
    if (Number(request.headers['content-length'] ?? 0) > bodyLimit) {
      throw new ProblemError('BODY_TOO_LARGE', `the body has more than the limit of ${bodyLimit} bytes`);
    }
    try {
      request.body = await readForm(forParser(request).parts(), bodyLimit);
    } catch (error) {
      // Node drops the rest of a body that nobody has begun to read, but not of one that somebody has stopped to read.
      request.raw.unpipe();
      request.raw.resume();
      throw request.growingBody?.refusal ?? error;
    }
  };

  const refusal = (request: FastifyRequest): ProblemError | undefined => {
    const { schema, config } = request.routeOptions;
    const accepted = acceptedTypes(schema?.body as BodySchema | undefined);
    if (accepted.length === 0) return undefined;
    const { headers } = request.raw;
    const empty = headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0;
    if (empty && config.optionalBody === true) {
      // `curl -d ''` sends a form type for no body at all.
      delete headers['content-type'];
      return undefined;
    }
    const type = contentTypeOf(request);
    if (accepted.includes(type) || (type === '' && config.untypedBody === true)) return undefined;
    const given = type === '' ? 'the request has no content-type' : `the body is ${type}`;
    return new ProblemError('UNSUPPORTED_MEDIA_TYPE', `${given}; expected one of ${accepted.join(', ')}`, {
      accept: accepted.join(', '),
    });
  };
  app.addHook('onRequest', (request, _reply, done) => done(refusal(request)));
});

/** The parser of forms reads `raw`, and the headers of that, in place of what Fastify gives to others. */
function forParser(request: FastifyRequest): FastifyRequest {
  const { decodedBody: body, raw } = request;
  if (body === null) return request;
  return Object.create(request, { raw: { value: Object.assign(body, { headers: raw.headers }) } }) as FastifyRequest;
}

interface BodySchema {
  readonly content?: Readonly<Record<string, unknown>>;
}

/** The body's media type in lower case, without parameters; empty where there is none. */
export function contentTypeOf(request: FastifyRequest): string {
  return mediaTypeOf(request.headers['content-type'] ?? '');
}

const mediaTypeOf = remembered((header: string) => {
  const [type = ''] = header.split(';');
  return type.trim().toLowerCase();
});

const typesOfBodies = new WeakMap<BodySchema, readonly string[]>();

function acceptedTypes(body: BodySchema | undefined): readonly string[] {
  if (body === undefined) return [];
  let types = typesOfBodies.get(body);
  if (types === undefined) {
    types = Object.keys(body.content ?? {});
    typesOfBodies.set(body, types);
  }
  return types;
}
