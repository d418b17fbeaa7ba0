import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { isOpenInference, openInferenceError, openInferenceStatus } from '../open-inference-errors.js';
import { PROBLEM_TYPE, PROBLEMS, ProblemError, problemErrorOf, problemOf } from '../problems.js';

export interface ErrorsOptions {
  readonly bodyLimit: number;
  /** Whether routes for admin keys are told of. */
  readonly adminRoutes: boolean;
}

/**
 * Answers every error, of whatever origin, with a problem document.
 * @see https://www.rfc-editor.org/rfc/rfc9457
 */
export const errors = fp(async (app: FastifyInstance, { bodyLimit, adminRoutes }: ErrorsOptions) => {
  const routes = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method, config }) => {
    if (config?.admin === true && !adminRoutes) return;
    const methods = routes.get(url) ?? new Set();
    for (const name of [method].flat()) methods.add(name);
    routes.set(url, methods);
  });

  app.setErrorHandler<FastifyError>((error, request, reply) => {
    // Fastify finds fault with a body before it says that nobody is there to read it.
    const isAboutNothing = request.is404 && !(error instanceof ProblemError);
    const problem = isAboutNothing ? notFound(request) : problemErrorOf(error, bodyLimit);
    if (problem.code === 'INTERNAL') request.log.error(error);
    // Fastify closes the connection on a body that it refuses, and a client that is still sending then sees a reset in
    // place of the answer. Node reads and drops the rest, no longer than the request timeout.
    reply.removeHeader('connection');
    return sendProblem(reply, problem);
  });

  app.setNotFoundHandler((request, reply) => sendProblem(reply, notFound(request)));

  function notFound({ method, url }: FastifyRequest): ProblemError {
    const [path = ''] = url.split('?');
    const allowed = [...routes].flatMap(([route, methods]) => (matches(route, path) ? [...methods] : []));
    if (allowed.length === 0) return routeNotFound(url);
    return new ProblemError('METHOD_NOT_ALLOWED', `${path} has no ${method}; it has ${allowed.join(', ')}`, {
      allow: allowed.join(', '),
    });
  }
});

export function routeNotFound(url: string): ProblemError {
  const [path = ''] = url.split('?');
  return new ProblemError('ROUTE_NOT_FOUND', `there is no ${shortened(path)}; GET /docs lists the routes`);
}

/** Answers with a problem document; under `/v2` with the error of its protocol. */
export function sendProblem(reply: FastifyReply, { code, message, headers }: ProblemError): FastifyReply {
  if (isOpenInference(reply.request)) {
    return reply
      .code(openInferenceStatus(code))
      .headers(headers)
      .type('application/json; charset=utf-8')
      .send(JSON.stringify(openInferenceError(message)));
  }
  return reply
    .code(PROBLEMS[code].status)
    .headers(headers)
    .type(PROBLEM_TYPE)
    .send(JSON.stringify(problemOf(code, message)));
}

function matches(route: string, path: string): boolean {
  const wanted = route.split('/');
  const given = path.split('/');
  return wanted.length === given.length && wanted.every((part, i) => part.startsWith(':') || part === given[i]);
}

function shortened(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
