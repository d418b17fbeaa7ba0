import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { findGraph, findVersions, GRAPH_ROLES, type ServedGraph, servedGraph } from '../inference/graphs.js';
import type { DurationStatistic, InferenceStatistics } from '../inference/statistics.js';
import { ModelStatisticsSchema, openInferenceProblems } from '../schemas/open-inference.js';

declare module 'fastify' {
  interface FastifyInstance {
    statistics: InferenceStatistics;
  }
}

const NEVER: DurationStatistic = { count: 0, ns: 0 };

const ANSWER = {
  description: 'Counts since the service started',
  content: { 'application/json': { schema: ModelStatisticsSchema } },
};

const TAGS = ['open inference protocol'];

/**
 * How often graphs ran, and how long that took.
 * @see https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
 */
export const statisticsRoutes: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/models/stats',
    {
      schema: {
        operationId: 'allStatistics',
        tags: TAGS,
        summary: 'Statistics of every graph; of a model that is named stats, ask for its graphs',
        response: { 200: ANSWER, ...openInferenceProblems() },
      },
    },
    async () => ({
      model_stats: app.service.registry
        .list()
        .flatMap((model) => GRAPH_ROLES.map((role) => statisticsOf(servedGraph(model, role)))),
    }),
  );

  app.get(
    '/models/:name/stats',
    {
      schema: {
        operationId: 'modelStatistics',
        tags: TAGS,
        summary: 'Statistics of a graph in every loaded version',
        params: Type.Object({ name: Type.String() }),
        response: { 200: ANSWER, ...openInferenceProblems('MODEL_NOT_FOUND') },
      },
    },
    async (request) => ({
      model_stats: findVersions(app.service.registry, request.params.name).map(statisticsOf),
    }),
  );

  app.get(
    '/models/:name/versions/:version/stats',
    {
      schema: {
        operationId: 'modelStatisticsVersion',
        tags: TAGS,
        summary: 'Statistics of a graph in one version',
        params: Type.Object({ name: Type.String(), version: Type.String() }),
        response: { 200: ANSWER, ...openInferenceProblems('MODEL_NOT_FOUND') },
      },
    },
    async (request) => {
      const { name, version } = request.params;
      return { model_stats: [statisticsOf(findGraph(app.service.registry, name, version))] };
    },
  );

  function statisticsOf({ name, model, role }: ServedGraph) {
    const { lastInference, inferences, executions, success, fail, queue, compute } = app.statistics.read({
      model: model.id,
      role,
    });
    return {
      name,
      version: model.manifest.version,
      last_inference: lastInference,
      inference_count: inferences,
      execution_count: executions,
      inference_stats: {
        success,
        fail,
        queue,
        compute_input: NEVER,
        compute_infer: compute,
        compute_output: NEVER,
        cache_hit: NEVER,
        cache_miss: NEVER,
      },
      batch_stats: [],
    };
  }
};
