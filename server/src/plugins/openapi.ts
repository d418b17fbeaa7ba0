import { MetricSchema } from '@elbo/models';
import helmet from '@fastify/helmet';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import type { TObject } from 'typebox';
import { VERSION } from '../version.js';
import { withContentCodings } from './openapi-coding.js';
import { withSecurity } from './openapi-security.js';

/** Describes the routes registered after it: `/openapi.json`, and a page to try them on at `/docs`. */
export const openapi = fp(async (app: FastifyInstance) => {
  const optionalBodies = new Set<string>();
  const adminRoutes = new Set<string>();
  app.addHook('onRoute', ({ url, config }) => {
    const path = url.replaceAll(/:(\w+)/g, '{$1}');
    if (config?.optionalBody === true) optionalBodies.add(path);
    if (config?.admin === true) adminRoutes.add(path);
  });
  await app.register(swagger, {
    convertConstToEnum: false,
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Elbo',
        version: VERSION,
        description: 'Variational autoencoders as a service: embeddings, synthetic samples and anomaly scores.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      servers: [{ url: '/' }],
      tags: [
        { name: 'inference', description: 'Run a model' },
        { name: 'models', description: 'What is loaded' },
        { name: 'health', description: 'For orchestrators' },
        { name: 'open inference protocol', description: 'For clients of KServe, Triton and others' },
      ],
    },
    refResolver: {
      buildLocalReference: (json, _baseUri, _fragment, i) => (typeof json.$id === 'string' ? json.$id : `schema${i}`),
    },
    transformObject: (document) => {
      if (!('openapiObject' in document)) return document.swaggerObject;
      const { openapiObject } = document;
      for (const path of optionalBodies) {
        // The generator marks every body as required.
        const body = openapiObject.paths?.[path]?.post?.requestBody;
        if (body !== undefined && 'required' in body) body.required = false;
      }
      restoreMetricExamples(openapiObject.components?.schemas ?? {});
      withSecurity(openapiObject, adminRoutes);
      withContentCodings(openapiObject);
      return withPrefixItems(openapiObject) as typeof openapiObject;
    },
  });
  await app.register(async (pages) => {
    // The policy of content comes from the plugin that knows the page's scripts.
    await pages.register(helmet, { contentSecurityPolicy: false });
    await pages.register(swaggerUi, {
      routePrefix: '/docs',
      staticCSP: true,
      // Without TLS in front, a browser would look for the page's scripts where nobody serves them.
      transformStaticCSP: (header) => header.replace(/\s*upgrade-insecure-requests;?/, ''),
    });
  });
  app.get('/openapi.json', { config: { caching: 'revalidate' }, schema: { hide: true } }, async () => app.swagger());
});

/**
 * @fastify/swagger 9.9 takes what stands inside `additionalProperties` for schemas, `properties` included, and drops the one
 * that is called `examples` as if it were the keyword.
 */
function restoreMetricExamples(schemas: Readonly<Record<string, unknown>>): void {
  for (const schema of Object.values(schemas)) {
    const { metrics } = (schema as { properties?: { metrics?: { additionalProperties?: TObject } } }).properties ?? {};
    if (metrics?.additionalProperties !== undefined) metrics.additionalProperties = MetricSchema;
  }
}

/** TypeBox writes tuples as JSON Schema drafts up to 2019-09 do; OpenAPI 3.1 takes 2020-12, where `items` is no list. */
function withPrefixItems(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withPrefixItems);
  if (typeof value !== 'object' || value === null) return value;
  const object: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(value)) object[key] = withPrefixItems(inner);
  if (!Array.isArray(object.items)) return object;
  const { items, additionalItems, ...others } = object;
  // An empty schema allows nothing beyond `maxItems`; linters take `items: false` for a missing one.
  const end = additionalItems === false ? { maxItems: items.length } : {};
  return { ...others, ...end, prefixItems: items, items: {} };
}
