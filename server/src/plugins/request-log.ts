import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import type { RequestLogging } from '../configuration.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Of the trace that the request is part of, for the log; null where none is written. */
    traceId: string | null;
  }
}

const DEBUGGING = new Set(['debug', 'trace']);

/** An id that can stand in a log line and a header as it is. */
const SANE_ID = /^[\w.:@/+=-]{1,128}$/;

/** The id that a request came with, so that a caller finds its own in the log, or a new one. */
export function requestId({ headers }: Pick<IncomingMessage, 'headers'>): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && SANE_ID.test(given) ? given : randomUUID();
}

/**
 * One line a request, after its answer. It names the route and not the path, and nothing of the query: GET /anomaly-score
 * has its input there. Headers have keys, so none is logged.
 */
export const requestLog = fp(async (app: FastifyInstance, { lines }: { lines: RequestLogging }) => {
  app.decorateRequest('traceId', null);
  if (lines === 'none') return;
  app.addHook('onResponse', (request, reply, done) => {
    const { log } = request;
    const shown = lines === 'all' || reply.statusCode >= 500;
    const level = shown ? 'info' : 'debug';
    if (!shown && !DEBUGGING.has(log.level)) {
      done();
      return;
    }
    const { model, items } = request.times;
    const { caller, traceId } = request;
    log[level](
      {
        method: request.method,
        route: request.routeOptions.url ?? 'none',
        status: reply.statusCode,
        duration_ms: Math.round(reply.elapsedTime * 100) / 100,
        ...(model && { model: model.key, items }),
        ...(caller !== null && { caller }),
        ...(traceId !== null && { trace_id: traceId }),
      },
      'request',
    );
    done();
  });
});
