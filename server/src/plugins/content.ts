import multipart from '@fastify/multipart';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { parse as parseJson } from 'secure-json-parse';
import { IMAGE_TYPES } from '../codecs/items.js';
import { isPartAFile, multipartLimits, readForm } from '../codecs/multipart.js';
import { ProblemError } from '../problems.js';

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
  app.addHook('preValidation', async (request) => {
    if (!request.isMultipart()) return;
    if (Number(request.headers['content-length'] ?? 0) > bodyLimit) {
      throw new ProblemError('BODY_TOO_LARGE', `the body has more than the limit of ${bodyLimit} bytes`);
    }
    try {
      request.body = await readForm(request.parts(), bodyLimit);
    } catch (error) {
      // Node drops the rest of a body that nobody has begun to read, but not of one that somebody has stopped to read.
      request.raw.unpipe();
      request.raw.resume();
      throw error;
    }
  });

  app.addHook('onRequest', async (request) => {
    const accepted = acceptedTypes(request);
    if (accepted.length === 0) return;
    const { headers } = request.raw;
    const empty = headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0;
    if (empty && request.routeOptions.config.optionalBody === true) {
      // `curl -d ''` sends a form type for no body at all.
      delete headers['content-type'];
      return;
    }
    const type = contentTypeOf(request);
    if (type === '' && request.routeOptions.config.untypedBody === true) return;
    if (!accepted.includes(type)) {
      const given = type === '' ? 'the request has no content-type' : `the body is ${type}`;
      throw new ProblemError('UNSUPPORTED_MEDIA_TYPE', `${given}; expected one of ${accepted.join(', ')}`, {
        accept: accepted.join(', '),
      });
    }
  });
});

/** The body's media type in lower case, without parameters; empty where there is none. */
export function contentTypeOf(request: FastifyRequest): string {
  const [type = ''] = (request.headers['content-type'] ?? '').split(';');
  return type.trim().toLowerCase();
}

function acceptedTypes(request: FastifyRequest): string[] {
  const body = request.routeOptions.schema?.body as { content?: Record<string, unknown> } | undefined;
  return Object.keys(body?.content ?? {});
}
