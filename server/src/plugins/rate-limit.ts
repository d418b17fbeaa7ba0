import fastifyRateLimit from '@fastify/rate-limit';
import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import type { RateLimit } from '../configuration.js';
import { ProblemError } from '../problems.js';
import { isHealthRoute } from './access.js';

/**
 * Refuses requests of a caller beyond so many in a window of time. A caller is a key's name, and an address (of IPv6 the
 * /64 network) where there is no key.
 */
export const rateLimit = fp(async (app: FastifyInstance, { requests, windowMs }: RateLimit) => {
  await app.register(fastifyRateLimit, { global: false });
  const limits = { max: requests, timeWindow: windowMs };
  const ofAddress = app.createRateLimit(limits);
  const ofKey = app.createRateLimit({ ...limits, keyGenerator: ({ caller }) => caller ?? '' });

  app.addHook('onRequest', async (request, reply) => {
    if (isHealthRoute(request.routeOptions.url)) return;
    const use = await (request.caller === null ? ofAddress : ofKey)(request);
    if (use.isAllowed) return;
    if (!use.isExceeded) {
      reply.headers(headers(use.remaining, use.ttlInSeconds));
      return;
    }
    const window = windowMs === 1000 ? 'second' : 'minute';
    throw new ProblemError(
      'RATE_LIMITED',
      `more than the limit of ${requests} requests a ${window}; the next are taken in ${use.ttlInSeconds} s`,
      { ...headers(0, use.ttlInSeconds), 'retry-after': String(use.ttlInSeconds) },
    );
  });

  function headers(remaining: number, reset: number): Record<string, string> {
    return {
      'ratelimit-limit': String(requests),
      'ratelimit-remaining': String(remaining),
      'ratelimit-reset': String(reset),
    };
  }
});
