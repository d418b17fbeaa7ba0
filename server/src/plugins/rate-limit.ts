import fastifyRateLimit from '@fastify/rate-limit';
import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import type { RateLimit, Security } from '../configuration.js';
import type { Clock } from '../inference/clock.js';
import { ItemRate } from '../item-rate.js';
import { ProblemError } from '../problems.js';
import { isHealthRoute } from './access.js';

declare module 'fastify' {
  interface FastifyInstance {
    /** Counts the items of callers; null where they have no limit. */
    itemRate: ItemRate | null;
  }
  interface FastifyRequest {
    /** Who `itemRate` knows a request's sender as. */
    itemCaller: string;
  }
}

export interface RateLimitOptions extends Pick<Security, 'rateLimit' | 'itemRateLimit'> {
  readonly clock?: Pick<Clock, 'now'> | undefined;
}

/**
 * Limits what a caller sends in a window of time: requests, which are refused here, and items, which routes count as soon as
 * they know them. A caller is a key's name, and an address (of IPv6 the /64 network) where there is no key.
 */
export const rateLimit = fp(async (app: FastifyInstance, { rateLimit, itemRateLimit, clock }: RateLimitOptions) => {
  app.decorate('itemRate', itemRateLimit === undefined ? null : new ItemRate(itemRateLimit, clock));
  app.decorateRequest('itemCaller', '');
  if (rateLimit !== undefined || itemRateLimit !== undefined) await app.register(fastifyRateLimit, { global: false });
  if (rateLimit !== undefined) limitRequests(app, rateLimit);
  if (itemRateLimit !== undefined) nameCallers(app);
});

function limitRequests(app: FastifyInstance, { requests, windowMs }: RateLimit): void {
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
}

function nameCallers(app: FastifyInstance): void {
  // Limits nobody, and says which network a request is from.
  const networkOf = app.createRateLimit({ allowList: () => true });
  app.addHook('onRequest', async (request) => {
    request.itemCaller =
      request.caller === null ? `address ${(await networkOf(request)).key}` : `key ${request.caller}`;
  });
}
