import { extname } from 'node:path';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { ServedModel } from '../inference/model.js';
import { ProblemError } from '../problems.js';
import { quote } from '../quote.js';
import { binary, CACHE_HEADERS, CONDITIONAL, MODEL_PARAMETERS, NOT_MODIFIED, problems } from '../schemas/common.js';

const BYTES_TYPE = 'application/octet-stream';

/** Content types by the extension of a file's name. */
const FILE_TYPES: Readonly<Record<string, string>> = {
  '.json': 'application/json',
  '.png': 'image/png',
  '.webp': 'image/webp',
  '.svg': 'image/svg+xml',
  '.f32': BYTES_TYPE,
  '.u8': BYTES_TYPE,
  '.u16': BYTES_TYPE,
};

/** A drawing that is looked at by itself has styles inside. */
const STYLED = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

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
      const { latent, likelihood, prior, condition, scorer, calibration, reference, files, training } = model.manifest;
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
        reference,
        files: Object.entries(files).map(([file, record]) => ({ name: file, ...record })),
        training,
      };
    },
  );

  app.get(
    '/models/:name/files/:file',
    {
      config: { caching: 'revalidate' },
      schema: {
        operationId: 'getModelFile',
        tags: ['models'],
        summary: 'A file of a model: its manifest, pictures, calibration scores or reference data',
        params: Type.Object({
          name: Type.String({ description: 'Name of a loaded model' }),
          file: Type.String({ description: 'Such as `manifest.json` or `preview.png`; no graph' }),
        }),
        headers: CONDITIONAL,
        querystring: Type.Object({ version: MODEL_PARAMETERS.version }, { additionalProperties: false }),
        response: {
          ...NOT_MODIFIED,
          200: {
            description: 'The file as it stands in the store; its ETag is its SHA-256',
            headers: CACHE_HEADERS,
            content: Object.fromEntries(
              Object.values(FILE_TYPES).map((type) => [type, binary('The bytes of the file')]),
            ),
          },
          ...problems('INVALID_REQUEST', 'MODEL_NOT_FOUND', 'FILE_NOT_FOUND'),
        },
      },
    },
    async (request, reply) => {
      const { name, file } = request.params;
      const { files, key } = app.service.registry.get(name, request.query.version);
      const served = files.get(file);
      if (served === undefined) {
        const given = [...files.keys()].join(', ');
        throw new ProblemError('FILE_NOT_FOUND', `${key} gives no file ${quote(file)}; it gives ${given}`);
      }
      const extension = extname(file);
      if (extension === '.svg') reply.header('content-security-policy', STYLED);
      reply.header('etag', `W/"${served.sha256}"`).type(FILE_TYPES[extension] ?? BYTES_TYPE);
      return reply.send(Buffer.from(served.bytes.buffer, served.bytes.byteOffset, served.bytes.byteLength));
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
