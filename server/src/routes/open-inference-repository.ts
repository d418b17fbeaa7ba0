import { MODEL_NAME_PATTERN } from '@elbo/models';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { named } from '../codecs/numbers.js';
import { parseJson } from '../codecs/parse-json.js';
import { GRAPH_ROLES, graphName } from '../inference/graphs.js';
import { ProblemError } from '../problems.js';
import { openInferenceProblems, RepositoryIndexSchema } from '../schemas/open-inference.js';

/** Of a load, those that this server knows; of an unload, which has no dependents here. */
const PARAMETERS = { load: [], unload: ['unload_dependents'] } as const;

/** What can be wrong with a body that is an object of JSON. */
const OBJECT_PROBLEMS = [
  'INVALID_REQUEST',
  'INVALID_CODING',
  'INVALID_JSON',
  'UNSUPPORTED_MEDIA_TYPE',
  'BODY_TOO_LARGE',
] as const;

const TAGS = ['open inference protocol'];

const IndexBody = Type.Object({
  ready: Type.Optional(Type.Boolean({ description: 'Only what can be run' })),
});

const ChangeBody = Type.Object({
  parameters: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
});

/**
 * What is in the store, and changing what of it is served.
 * @see https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
 */
export const repositoryRoutes: FastifyPluginAsyncTypebox = async (app) => {
  app.post(
    '/repository/index',
    {
      config: { untypedBody: true, optionalBody: true },
      schema: {
        operationId: 'repositoryIndex',
        tags: TAGS,
        summary: 'Every model and its graphs',
        body: { content: { 'application/json': { schema: IndexBody } } },
        response: {
          200: { description: 'What there is', content: { 'application/json': { schema: RepositoryIndexSchema } } },
          ...openInferenceProblems(...OBJECT_PROBLEMS),
        },
      },
    },
    async (request) => {
      const { ready } = objectIn(request.body);
      if (ready !== undefined && typeof ready !== 'boolean') {
        throw new ProblemError('INVALID_REQUEST', `ready is ${named(ready)}; expected true or false`);
      }
      const { registry } = app.service;
      const loaded = registry.list().flatMap((model) => {
        const { name, version } = model.manifest;
        return [name, ...GRAPH_ROLES.map((role) => graphName(model, role))].map((each) => ({
          name: each,
          version,
          state: 'READY',
          reason: '',
        }));
      });
      if (ready === true) return loaded;
      const keys = new Set(registry.list().map(({ key }) => key));
      // What goes on in place of a refused version is ready all the same.
      const refused = registry.refusals().filter(({ key }) => !keys.has(key));
      return [
        ...loaded,
        ...refused.map(({ key, reason }) => ({ ...nameAndVersion(key), state: 'UNAVAILABLE', reason })),
      ];
    },
  );

  for (const change of ['load', 'unload'] as const) {
    app.post(
      `/repository/models/:name/${change}`,
      {
        config: { untypedBody: true, optionalBody: true, admin: true },
        schema: {
          operationId: `${change}Model`,
          tags: TAGS,
          summary: change === 'load' ? 'Load a model, or read it anew' : 'Take a model out of service',
          params: Type.Object({ name: Type.String({ description: "A model's name, without a graph" }) }),
          body: { content: { 'application/json': { schema: ChangeBody } } },
          response: {
            200: { description: 'Done', content: { 'application/json': { schema: Type.Object({}) } } },
            ...openInferenceProblems(...OBJECT_PROBLEMS, 'MODEL_NOT_FOUND', 'MODEL_REFUSED'),
          },
        },
      },
      async (request) => {
        const { name } = request.params;
        checkParameters(objectIn(request.body).parameters, PARAMETERS[change]);
        if (!new RegExp(MODEL_NAME_PATTERN).test(name)) {
          throw new ProblemError(
            'INVALID_REQUEST',
            `${named(name)} is no model's name; the graphs of a model are loaded and unloaded together`,
          );
        }
        await app.service.registry[change](name);
        return {};
      },
    );
  }
};

function nameAndVersion(key: string): { name: string; version: string } {
  const [name = '', version = ''] = key.split('/');
  return { name, version };
}

/** The object in a body that may be left out. */
function objectIn(body: unknown): Readonly<Record<string, unknown>> {
  const text = body === undefined ? '' : (body as Buffer).toString();
  const value: unknown = text === '' ? {} : parseJson(text);
  return checkedObject(value, 'the body');
}

function checkParameters(parameters: unknown, known: readonly string[]): void {
  if (parameters === undefined) return;
  const strange = Object.keys(checkedObject(parameters, 'parameters')).find((name) => !known.includes(name));
  if (strange !== undefined) {
    throw new ProblemError(
      'INVALID_REQUEST',
      `parameters has ${named(strange)}, which this server does not know; expected ${known.join(', ') || 'none'}`,
    );
  }
}

function checkedObject(value: unknown, field: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ProblemError('INVALID_REQUEST', `${field} is ${named(value)}; expected an object`);
  }
  return value as Readonly<Record<string, unknown>>;
}
