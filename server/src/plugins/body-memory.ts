import { Transform } from 'node:stream';
import type { FastifyInstance, onRequestHookHandler, preParsingHookHandler } from 'fastify';
import fp from 'fastify-plugin';
import { type BodyMemory, isCounted } from '../body-memory.js';
import { contentTypeOf } from './content.js';

/**
 * Refuses bodies that the memory does not hold beside those that are there: by their `content-length` before they are read,
 * and while they come. Streams of lines take a line at a time, and are not counted.
 */
export const bodyMemory = fp(async (app: FastifyInstance, { memory }: { memory: BodyMemory }) => {
  const reserve: onRequestHookHandler = (request, reply, done) => {
    const { headers } = request;
    const type = contentTypeOf(request);
    const length = headers['content-length'];
    const isWhole = length !== undefined && headers['content-encoding'] === undefined;
    const isNone = length === undefined && headers['transfer-encoding'] === undefined;
    if (isNone || type === 'application/x-ndjson' || (isWhole && !isCounted(Number(length)))) return done();
    const reservation = memory.reserve(type);
    try {
      if (isWhole) reservation.check(Number(length));
    } catch (error) {
      return done(error as Error);
    }
    request.growingBody = reservation;
    reply.raw.once('close', () => reservation.release());
    done();
  };
  // After the coding has come off.
  const count: preParsingHookHandler = (request, _reply, payload, done) => {
    const { growingBody, decodedBody } = request;
    if (growingBody === null || decodedBody !== null) return done(null, payload);
    const counted = new Transform({
      transform: (chunk: Buffer, _encoding, next) => {
        try {
          growingBody.grow(chunk.length);
          next(null, chunk);
        } catch (error) {
          next(error as Error);
        }
      },
    });
    counted.on('error', () => payload.unpipe(counted).resume());
    payload.on('error', (error) => counted.destroy(error)).pipe(counted);
    // The parser of forms reads the connection itself, unless there is this.
    if (contentTypeOf(request) === 'multipart/form-data') request.decodedBody = counted;
    done(null, Object.assign(counted, { receivedEncodedLength: 0 }));
  };
  app.addHook('onRoute', (route) => {
    const { body } = (route.schema ?? {}) as { body?: unknown };
    if (body === undefined) return;
    route.onRequest = [...[route.onRequest ?? []].flat(), reserve];
    route.preParsing = [...[route.preParsing ?? []].flat(), count];
  });
});
