import cors from '@fastify/cors';
import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';

/** On every answer: nothing that the service sends is a page, but for /docs. */
const API_HEADERS = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
};

const EXPOSED_HEADERS = [
  'elbo-model',
  'elbo-seed',
  'elbo-shape',
  'ratelimit-limit',
  'ratelimit-remaining',
  'ratelimit-reset',
  'retry-after',
  'server-timing',
  'x-request-id',
];

/**
 * What browsers may do with answers. /docs has helmet for that, which makes its headers anew for each request.
 * @param options.corsOrigins origins of other pages that may call; none: no page may
 */
export const browsers = fp(async (app: FastifyInstance, { corsOrigins }: { corsOrigins: readonly string[] }) => {
  app.addHook('onRequest', (_request, reply, done) => {
    reply.headers(API_HEADERS);
    done();
  });
  if (corsOrigins.length > 0) {
    await app.register(cors, {
      origin: corsOrigins.includes('*') ? '*' : [...corsOrigins],
      methods: ['GET', 'HEAD', 'POST'],
      allowedHeaders: [
        'accept',
        'authorization',
        'content-encoding',
        'content-type',
        'traceparent',
        'x-api-key',
        'x-request-id',
      ],
      exposedHeaders: EXPOSED_HEADERS,
      maxAge: 600,
      strictPreflight: false,
    });
  }
});
