import { createHash } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';

declare module 'fastify' {
  interface FastifyContextConfig {
    /**
     * `revalidate`: an answer has an ETag, and may be kept by whoever asks each time whether it still holds. No lifetime is
     * given, since nothing tells when another version of a model will answer under the same URL. `never`: what is true now
     * is not later.
     */
    caching?: 'revalidate' | 'never';
  }
}

/**
 * Adds ETag and Cache-Control to the answers of routes that say so, and answers `If-None-Match` with 304. ETags are weak:
 * they stay the same under another content coding, and name what is answered and not its last bytes.
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2
 */
export const caching = fp(async (app: FastifyInstance) => {
  app.addHook<unknown>('onSend', (request, reply, payload, done) => {
    const { caching } = request.routeOptions.config;
    done(null, caching === undefined ? payload : withCaching(caching, request, reply, payload));
  });

  function withCaching(
    caching: 'revalidate' | 'never',
    request: FastifyRequest,
    reply: FastifyReply,
    payload: unknown,
  ): unknown {
    // Without a lifetime, caches may make up one for errors, too.
    const isKept = caching === 'revalidate' && (reply.statusCode === 200 || reply.statusCode === 304);
    reply.header('cache-control', isKept ? 'no-cache' : 'no-store');
    if (!isKept) {
      reply.removeHeader('etag');
      return payload;
    }
    if (!reply.hasHeader('etag')) {
      if (typeof payload !== 'string' && !Buffer.isBuffer(payload)) return payload;
      reply.header('etag', etagOf(payload));
    }
    const isKnown =
      request.headers['if-none-match']?.trim() === '*' || !isModified(request, String(reply.getHeader('etag')));
    return reply.statusCode === 200 && isKnown ? notModified(reply) : payload;
  }
});

/** A weak ETag of what determines an answer. */
export function etagOf(...determinants: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  // A length before each, as else "ab" and "c" were "a" and "bc".
  for (const part of determinants) hash.update(`${Buffer.byteLength(part)}:`).update(part);
  return `W/"${hash.digest('base64url')}"`;
}

/** Whether a client names no ETag, or other ones than this. */
export function isModified(request: FastifyRequest, etag: string): boolean {
  const known = request.headers['if-none-match'];
  if (known === undefined) return true;
  const opaque = (tag: string) => tag.trim().replace(/^W\//, '');
  return !known.split(',').some((tag) => opaque(tag) === opaque(etag));
}

/** Makes the answer one without content. */
export function notModified(reply: FastifyReply): string {
  reply.code(304).removeHeader('content-type').removeHeader('content-length');
  return '';
}
