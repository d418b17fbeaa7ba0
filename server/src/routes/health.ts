import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { ProblemError } from '../problems.js';
import { problems } from '../schemas/common.js';

const Live = Type.Object({ status: Type.Literal('live') });

const Ready = Type.Object({
  status: Type.Literal('ready'),
  provider: Type.String({ description: 'Execution provider that the models run on' }),
  provider_note: Type.Optional(Type.String({ description: 'Why it is not the one that was hoped for' })),
  workers: Type.Object({ alive: Type.Integer(), configured: Type.Integer() }),
  models: Type.Array(Type.String(), { description: '`name/version` of each loaded model' }),
});

export const healthRoutes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/health/live',
    {
      config: { caching: 'never' },
      schema: {
        operationId: 'live',
        tags: ['health'],
        summary: 'Whether the process answers',
        response: {
          200: { description: 'It does', content: { 'application/json': { schema: Live } } },
          ...problems(),
        },
      },
    },
    async () => ({ status: 'live' as const }),
  );

  app.get(
    '/health/ready',
    {
      config: { caching: 'never' },
      schema: {
        operationId: 'ready',
        tags: ['health'],
        summary: 'Whether models can be run, and on what',
        response: {
          200: { description: 'They can', content: { 'application/json': { schema: Ready } } },
          ...problems('NOT_READY'),
        },
      },
    },
    async () => {
      if (app.lifecycle.stopping) throw new ProblemError('NOT_READY', 'the service is stopping');
      const { status, registry } = app.service;
      if (status.notReady !== undefined) throw new ProblemError('NOT_READY', status.notReady);
      return {
        status: 'ready' as const,
        provider: status.provider,
        ...(status.providerNote === undefined ? {} : { provider_note: status.providerNote }),
        workers: { alive: status.workersAlive, configured: status.workers },
        models: registry.list().map(({ key }) => key),
      };
    },
  );
};
