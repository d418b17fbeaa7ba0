import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import helmet from '@fastify/helmet';
import statics from '@fastify/static';
import type { FastifyInstance } from 'fastify';
import { etagOf, isModified, notModified } from './caching.js';

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
  const etags = await etagsOf(root);
  app.addHook<Readable>('onSend', async (request, reply, payload) => {
    if (reply.statusCode >= 400) return payload;
    const { url = '' } = request.routeOptions;
    const isHashed = url.startsWith('/assets/');
    reply.header('cache-control', isHashed ? 'public, max-age=31536000, immutable' : 'no-cache');
    reply.header('vary', 'accept-encoding');
    const etag = etags.get(url);
    if (etag === undefined) return payload;
    reply.header('etag', etag);
    if (isModified(request, etag)) return payload;
    payload.destroy();
    return notModified(reply);
  });
  await app.register(statics, {
    root,
    // A route for each file, so that the answer to any other path is that of the service.
    wildcard: false,
    globIgnore: ['**/*.br', '**/*.gz'],
    preCompressed: true,
    cacheControl: false,
    // By size and time: both are the same for every version of a page out of a package, whose times are all one.
    etag: false,
    lastModified: false,
    decorateReply: false,
  });
}

/** Of the files whose names stay the same, by the paths of their routes. */
async function etagsOf(root: string): Promise<ReadonlyMap<string, string>> {
  const files = (await readdir(root, { withFileTypes: true })).filter((entry) => entry.isFile());
  const etags = await Promise.all(
    files.map(async ({ name }) => [`/${name}`, etagOf(await readFile(join(root, name)))] as const),
  );
  return new Map([
    ...etags,
    ...etags.flatMap(([path, etag]) => (path === '/index.html' ? [['/', etag] as const] : [])),
  ]);
}
