import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import helmet from '@fastify/helmet';
import statics from '@fastify/static';
import type { FastifyInstance } from 'fastify';

const NOT_BUILT =
  'The explorer is not built: run npm run build. The service works without it; /docs lists its routes.\n';

/** Nothing but files of this server, pictures that the page made itself, and no script or style inside the page. */
const POLICY = {
  defaultSrc: ["'none'"],
  scriptSrc: ["'self'"],
  styleSrc: ["'self'"],
  imgSrc: ["'self'", 'blob:', 'data:'],
  connectSrc: ["'self'"],
  baseUri: ["'none'"],
  formAction: ["'none'"],
  frameAncestors: ["'none'"],
};

/** Where the build of the workspace `explorer` writes the page. */
const BUILT = fileURLToPath(new URL('../../assets/explorer/', import.meta.url));

export interface ExplorerOptions {
  /** Directory of the built page. */
  readonly explorer?: string | undefined;
}

/**
 * The page at `/`, open to all: it holds nothing of a model, and asks for a key where the routes that it calls take one.
 * Names of files under `/assets` have a hash of their content, so they are kept for good; the page itself is asked for again.
 */
export async function explorer(app: FastifyInstance, { explorer: root = BUILT }: ExplorerOptions): Promise<void> {
  app.addHook('onRoute', (route) => {
    route.config = { ...route.config, open: true };
  });
  if (!existsSync(`${root}/index.html`)) {
    app.get('/', { schema: { hide: true } }, async (_request, reply) =>
      reply.type('text/plain; charset=utf-8').send(NOT_BUILT),
    );
    return;
  }
  app.addHook('onRequest', async (_request, reply) => {
    // That of the service's answers, which would stand in the place of helmet's.
    reply.removeHeader('content-security-policy');
  });
  await app.register(helmet, {
    contentSecurityPolicy: { useDefaults: false, directives: POLICY },
    // Without TLS in front, whatever else is on this host would be asked for by https.
    strictTransportSecurity: false,
    xFrameOptions: { action: 'deny' },
  });
  app.addHook('onSend', async (request, reply) => {
    if (reply.statusCode >= 400) return;
    const isHashed = request.routeOptions.url?.startsWith('/assets/') === true;
    reply.header('cache-control', isHashed ? 'public, max-age=31536000, immutable' : 'no-cache');
    reply.header('vary', 'accept-encoding');
  });
  await app.register(statics, {
    root,
    // A route for each file, so that the answer to any other path is that of the service.
    wildcard: false,
    globIgnore: ['**/*.br', '**/*.gz'],
    preCompressed: true,
    cacheControl: false,
    decorateReply: false,
  });
}
