import type { Readable } from 'node:stream';
import type { FastifyInstance, preParsingHookHandler } from 'fastify';
import fp from 'fastify-plugin';
import type { BodyReservation } from '../body-memory.js';
import { CONTENT_CODINGS, codingOf, decodedBody } from '../codecs/content-coding.js';
import { named } from '../codecs/numbers.js';
import { ProblemError } from '../problems.js';
import { contentTypeOf } from './content.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** The body without its content coding; null where it has none. */
    decodedBody: Readable | null;
    /** What the body takes of the memory while it comes; null where it is too small to be counted, or a stream of lines. */
    growingBody: BodyReservation | null;
  }
}

const CODINGS = CONTENT_CODINGS.join(', ');

/**
 * Takes the content coding off the bodies of requests while they are read, on routes that take a body. The limit of a body
 * is one of what it becomes; of a stream of lines each line has it, as without a coding.
 *
 * @fastify/compress does that, too, but for forms; it goes on after the limit, to the end of whatever the body becomes, and
 * takes a coding in capitals for an unknown one.
 */
export const decompression = fp(async (app: FastifyInstance, { bodyLimit }: { bodyLimit: number }) => {
  app.decorateRequest('decodedBody', null);
  app.decorateRequest('growingBody', null);
  const decode: preParsingHookHandler = (request, reply, payload, done) => {
    const header = request.headers['content-encoding'];
    const coding = header === undefined ? null : codingOf(header);
    if (coding === null) {
      done(null, payload);
      return;
    }
    if (coding === undefined) {
      // https://www.rfc-editor.org/rfc/rfc9110#section-15.5.16
      const detail = `header content-encoding is ${named(header)}; expected one of ${CODINGS}, or none`;
      done(new ProblemError('UNSUPPORTED_MEDIA_TYPE', detail, { 'accept-encoding': CODINGS }));
      return;
    }
    const limit = contentTypeOf(request) === 'application/x-ndjson' ? Number.POSITIVE_INFINITY : bodyLimit;
    const body = decodedBody(payload, coding, limit, (bytes) => request.growingBody?.grow(bytes));
    // Whoever refuses the request may have read none of it, and the next one of the connection comes after it.
    reply.raw.once('close', () => body.destroy());
    request.decodedBody = body;
    // Fastify holds content-length against what it reads, unless it is told how much that was before.
    const receivedEncodedLength = Number(request.headers['content-length'] ?? 0);
    done(null, Object.assign(body, { receivedEncodedLength }));
  };
  app.addHook('onRoute', (route) => {
    const { body } = (route.schema ?? {}) as { body?: unknown };
    if (body !== undefined) route.preParsing = [decode, ...[route.preParsing ?? []].flat()];
  });
});
