import type { FastifyInstance, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { KeyRing } from '../api-keys.js';
import type { OpenableRoute, Security } from '../configuration.js';
import { ProblemError } from '../problems.js';
import { routeNotFound } from './errors.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route changes what is served: it takes an admin key, and is not there where the server has none. */
    admin?: boolean;
    /** The route takes no key. */
    open?: boolean;
  }
  interface FastifyRequest {
    /** Name of the key that the request came with; null where it came with none that is known. */
    caller: string | null;
  }
}

/** @see https://www.rfc-editor.org/rfc/rfc6750#section-3 */
const CHALLENGE = { 'www-authenticate': 'Bearer realm="elbo"' };

/** Lets a request through that has the key which its route takes. */
export const access = fp(
  async (
    app: FastifyInstance,
    { apiKeys, adminKeys, openRoutes }: Pick<Security, 'apiKeys' | 'adminKeys' | 'openRoutes'>,
  ) => {
    const users = new KeyRing(apiKeys);
    const admins = new KeyRing(adminKeys);
    const open = new Set(openRoutes);
    app.decorateRequest('caller', null);
    const refusal = (request: FastifyRequest): ProblemError | undefined => {
      const { config, url } = request.routeOptions;
      const admin = config.admin === true;
      if (admin && admins.isEmpty) return routeNotFound(request.url);
      if (users.isEmpty && admins.isEmpty) return undefined;
      const key = keyOf(request);
      const adminName = key === undefined ? undefined : admins.ownerOf(key);
      const name = key === undefined ? undefined : (users.ownerOf(key) ?? adminName);
      request.caller = name ?? null;
      if (admin) {
        if (adminName !== undefined) return undefined;
        if (name === undefined) return unauthorized(key, 'an admin key');
        return new ProblemError('FORBIDDEN', 'this route takes an admin key; this is another');
      }
      return name !== undefined || users.isEmpty || config.open === true || isOpen(url, open)
        ? undefined
        : unauthorized(key, 'a key');
    };
    app.addHook('onRequest', (request, _reply, done) => done(refusal(request)));
  },
);

/** Whether a route is for orchestrators, which have no key. */
export function isHealthRoute(url: string | undefined): boolean {
  return url !== undefined && (url.startsWith('/health/') || url.startsWith('/v2/health/'));
}

function isOpen(url: string | undefined, open: ReadonlySet<OpenableRoute>): boolean {
  if (isHealthRoute(url)) return true;
  if (url === '/metrics') return open.has('metrics');
  const documentation = url === '/openapi.json' || url?.startsWith('/docs') === true;
  return documentation && open.has('docs');
}

function keyOf({ headers }: FastifyRequest): string | undefined {
  const { authorization, 'x-api-key': header } = headers;
  if (typeof header === 'string') return header;
  return authorization === undefined ? undefined : /^bearer +([^ ]+) *$/i.exec(authorization)?.[1];
}

function unauthorized(key: string | undefined, expected: string): ProblemError {
  const given = key === undefined ? 'the request has no key' : 'the key is not known';
  return new ProblemError(
    'UNAUTHORIZED',
    `${given}; expected ${expected} as authorization: Bearer KEY or x-api-key: KEY`,
    CHALLENGE,
  );
}
