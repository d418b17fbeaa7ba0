import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { ServedModel } from '../inference/model.js';
import { CACHE_HEADERS, CONDITIONAL, MODEL_PARAMETERS, NOT_MODIFIED, problems } from '../schemas/common.js';

export const modelRoutes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/models',
    {
      config: { caching: 'revalidate' },
      schema: {
        operationId: 'listModels',
        tags: ['models'],
        summary: 'Every loaded version of every model',
        headers: CONDITIONAL,
        querystring: Type.Object({}, { additionalProperties: false }),
        response: {
          ...NOT_MODIFIED,
          200: {
            description: 'What is loaded',
            headers: CACHE_HEADERS,
            content: { 'application/json': { schema: { $ref: 'ModelList#' } } },
          },
          ...problems('INVALID_REQUEST'),
        },
      },
    },
    async () => ({ models: app.service.registry.list().map(summary) }),
  );

  app.get(
    '/models/:name',
    {
      config: { caching: 'revalidate' },
      schema: {
        operationId: 'getModel',
        tags: ['models'],
        summary: 'One model: shapes, latent structure, calibration, metrics, training record',
        params: Type.Object({ name: Type.String({ description: 'Name of a loaded model' }) }),
        headers: CONDITIONAL,
        querystring: Type.Object({ version: MODEL_PARAMETERS.version }, { additionalProperties: false }),
        response: {
          ...NOT_MODIFIED,
          200: {
            description: 'The model',
            headers: CACHE_HEADERS,
            content: { 'application/json': { schema: { $ref: 'ModelDetails#' } } },
          },
          ...problems('INVALID_REQUEST', 'MODEL_NOT_FOUND'),
        },
      },
    },
    async (request) => {
      const { registry } = app.service;
      const model = registry.get(request.params.name, request.query.version);
      const { latent, likelihood, prior, condition, scorer, calibration, training } = model.manifest;
      const versions = registry.versions(request.params.name).map(({ manifest }) => manifest.version);
      const drift = app.driftOf(model);
      return {
        ...summary(model),
        latent,
        versions,
        likelihood,
        prior,
        condition,
        scorer,
        calibration,
        ...(drift && { drift: { items: drift.items, distance: drift.distance, p_value: drift.pValue } }),
        training,
      };
    },
  );

  app.post(
    '/models/:name/reload',
    {
      config: { admin: true, optionalBody: true },
      schema: {
        operationId: 'reloadModel',
        tags: ['models'],
        summary: 'Read every version of a model in the store anew, verify and warm it up, then move the traffic there',
        params: Type.Object({ name: Type.String({ description: 'Name of a model in the store' }) }),
        querystring: Type.Object({}, { additionalProperties: false }),
        response: {
          200: {
            description: 'What serves now',
            content: { 'application/json': { schema: { $ref: 'ModelChanges#' } } },
          },
          ...problems('INVALID_REQUEST', 'MODEL_NOT_FOUND', 'MODEL_REFUSED'),
        },
      },
    },
    async (request) => {
      const { name } = request.params;
      const { loaded, unloaded } = await app.service.registry.load(name);
      const versions = app.service.registry.versions(name).map(({ manifest }) => manifest.version);
      return { name, versions, loaded: loaded.map(({ key }) => key), unloaded: unloaded.map(({ key }) => key) };
    },
  );

  function summary(model: ServedModel): Record<string, unknown> {
    const { name, version, description, family, input, metrics } = model.manifest;
    const { size, active_units, kl_per_dimension } = model.manifest.latent;
    // The rest can be a thousand numbers.
    const latent = { size, active_units, kl_per_dimension };
    const { registry } = app.service;
    const isDefault = name === registry.defaultModel && model === registry.versions(name).at(-1);
    return { name, version, is_default: isDefault, description, family, input, latent, metrics };
  }
};
