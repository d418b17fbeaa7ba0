import type { FastifyInstance } from 'fastify';
import { buildApp } from './app.js';
import type { InferenceService } from './inference/service.js';

/** The routes, ready to be described. No model is needed: routes don't depend on any. */
export async function appWithoutModels(): Promise<FastifyInstance> {
  const service = { observe: () => {}, registry: { list: () => [], refusals: () => [] } };
  const app = await buildApp({ service: service as unknown as InferenceService, bodyLimit: 1 << 24 });
  await app.ready();
  return app;
}

/** The description of the routes as it stands in openapi/openapi.json. */
export async function openApiDocument(): Promise<string> {
  const app = await appWithoutModels();
  const document = app.swagger();
  await app.close();
  return `${JSON.stringify(document, null, 2)}\n`;
}
