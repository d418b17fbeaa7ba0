import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { ProblemError } from '../problems.js';

declare module 'fastify' {
  interface FastifyInstance {
    /** Set by whoever is about to close the server: it isn't ready any more, and still takes requests. */
    lifecycle: { stopping: boolean };
  }
}

/** Time that the body of an accepted request has to arrive once the server closes. */
const BODY_GRACE_MS = 5000;

/**
 * While the server closes: what was accepted is finished, its connection is closed after the answer (an idle keep-alive
 * connection would hold the exit up), and what still arrives on open connections is refused.
 */
export const shutdown = fp(async (app: FastifyInstance) => {
  app.decorate('lifecycle', { stopping: false });
  let closing = false;
  const sockets = new Set<Socket>();
  const requests = new Set<IncomingMessage>();
  app.server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  app.addHook('onRequest', ({ raw }, reply, done) => {
    requests.add(raw);
    reply.raw.once('close', () => requests.delete(raw));
    done();
  });
  app.addHook('preClose', async () => {
    closing = true;
    app.lifecycle.stopping = true;
    // Node would wait for connections that have sent nothing, or half a head, as browsers and balancers open them.
    const accepted = new Set([...requests].map(({ socket }) => socket));
    for (const socket of sockets) if (!accepted.has(socket)) socket.destroy();
    const dropUnfinished = () => {
      for (const { complete, socket } of requests) if (!complete) socket.destroy();
    };
    setTimeout(dropUnfinished, BODY_GRACE_MS).unref();
  });
  app.addHook('onRequest', (request, _reply, done) => {
    // It lives until it has finished, and whoever is told otherwise might kill it before.
    if (!closing || request.routeOptions.url?.endsWith('/health/live') === true) done();
    else done(new ProblemError('UNAVAILABLE', 'the service is stopping', { 'retry-after': '1' }));
  });
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (closing) reply.header('connection', 'close');
    done();
  });
});
