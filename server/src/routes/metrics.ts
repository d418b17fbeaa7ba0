import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { problems } from '../schemas/common.js';

export const metricsRoute: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/metrics',
    {
      config: { caching: 'never' },
      schema: {
        operationId: 'metrics',
        tags: ['health'],
        summary: 'What Prometheus reads: p-values of each model, and how far they are from uniform',
        querystring: Type.Object({}, { additionalProperties: false }),
        response: {
          200: { description: 'Prometheus text format', content: { 'text/plain': { schema: Type.String() } } },
          ...problems('INVALID_REQUEST'),
        },
      },
    },
    async (_, reply) => reply.type(app.metrics.contentType).send(await app.metrics.metrics()),
  );
};
