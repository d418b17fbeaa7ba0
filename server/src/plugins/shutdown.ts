import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { ProblemError } from '../problems.js';

/**
 * While the server closes: what was accepted is finished, its connection is closed after the answer (an idle keep-alive
 * connection would hold the exit up), and what still arrives on open connections is refused.
 */
export const shutdown = fp(async (app: FastifyInstance) => {
  let closing = false;
  app.addHook('preClose', async () => {
    closing = true;
  });
  app.addHook('onRequest', async () => {
    if (closing) throw new ProblemError('UNAVAILABLE', 'the service is stopping', { 'retry-after': '1' });
  });
  app.addHook('onSend', async (_request, reply) => {
    if (closing) reply.header('connection', 'close');
  });
});
