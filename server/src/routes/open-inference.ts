import { numbersOf } from '@elbo/models';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type TSchema, Type } from 'typebox';
import {
  classesOfTensor,
  inferAnswer,
  numbersOfTensor,
  readInferRequest,
  type Signature,
} from '../codecs/open-inference.js';
import type { Cancellation } from '../inference/cancellation.js';
import { findVersions, runGraph, type ServedGraph } from '../inference/graphs.js';
import type { RunOptions } from '../inference/service.js';
import { ProblemError } from '../problems.js';
import { BODY_PROBLEMS, RUN_PROBLEMS } from '../schemas/common.js';
import {
  INFER_ANSWER,
  INFER_CONTENT,
  LENGTH_HEADER_SCHEMA,
  ModelMetadataSchema,
  openInferenceProblems,
  ServerMetadataSchema,
} from '../schemas/open-inference.js';
import { VERSION } from '../version.js';
import { admitItems, refuseWhenFull } from './admission.js';
import { GRAPH_PATHS, graphOf } from './graph-paths.js';
import { BINARY_TYPE, clientGone, JSON_TYPE } from './inference-request.js';
import { configurationRoutes } from './open-inference-configuration.js';
import { repositoryRoutes } from './open-inference-repository.js';
import { statisticsRoutes } from './open-inference-statistics.js';

/** @see https://github.com/triton-inference-server/server/tree/main/docs/protocol */
const EXTENSIONS = ['binary_tensor_data', 'model_configuration', 'model_repository', 'statistics'];

const OF_MODELS = { tags: ['open inference protocol'] };

/**
 * The Open Inference Protocol, version 2, under a prefix of its own. Bodies reach its routes as bytes and are checked by
 * its codec, whose messages name what the protocol names; their schemas are for the documentation.
 * @see https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
 */
export const openInferenceRoutes: FastifyPluginAsyncTypebox = async (app) => {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser<Buffer>('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  const validate = app.validatorCompiler;
  app.setValidatorCompiler<object>((route) => {
    return route.httpPart === 'body' || validate === undefined ? (value: unknown) => ({ value }) : validate(route);
  });
  await app.register(configurationRoutes);
  await app.register(statisticsRoutes);
  await app.register(repositoryRoutes);

  app.get(
    '',
    {
      schema: {
        ...OF_MODELS,
        operationId: 'serverMetadata',
        summary: 'What this server is',
        response: ok(ServerMetadataSchema),
      },
    },
    async () => ({ name: 'elbo', version: VERSION, extensions: EXTENSIONS }),
  );

  app.get(
    '/health/live',
    {
      schema: {
        ...OF_MODELS,
        operationId: 'serverLive',
        summary: 'Whether the process answers',
        response: ok(Type.Object({ live: Type.Literal(true) })),
      },
    },
    async () => ({ live: true as const }),
  );

  app.get(
    '/health/ready',
    {
      schema: {
        ...OF_MODELS,
        operationId: 'serverReady',
        summary: 'Whether models can be run',
        response: { ...ok(Type.Object({ ready: Type.Literal(true) })), ...openInferenceProblems('NOT_READY') },
      },
    },
    async () => {
      checkReady();
      return { ready: true as const };
    },
  );

  for (const { path, params, suffix } of GRAPH_PATHS) {
    app.get(
      path,
      {
        schema: {
          ...OF_MODELS,
          operationId: `modelMetadata${suffix}`,
          summary: 'Inputs and outputs of a graph',
          params,
          response: { ...ok(ModelMetadataSchema), ...openInferenceProblems('MODEL_NOT_FOUND') },
        },
      },
      async (request) => {
        const graph = graphOf(app.service.registry, request);
        return {
          name: graph.name,
          versions: findVersions(app.service.registry, graph.name).map(({ model }) => model.manifest.version),
          platform: 'onnxruntime_onnx',
          inputs: graph.inputs.map(tensorMetadata),
          outputs: graph.outputs.map(tensorMetadata),
        };
      },
    );

    app.get(
      `${path}/ready`,
      {
        schema: {
          ...OF_MODELS,
          operationId: `modelReady${suffix}`,
          summary: 'Whether a graph can be run',
          params,
          response: {
            ...ok(Type.Object({ name: Type.String(), ready: Type.Literal(true) })),
            ...openInferenceProblems('MODEL_NOT_FOUND', 'NOT_READY'),
          },
        },
      },
      async (request) => {
        const { name } = graphOf(app.service.registry, request);
        checkReady();
        return { name, ready: true as const };
      },
    );

    app.post(
      `${path}/infer`,
      {
        onRequest: refuseWhenFull,
        config: { untypedBody: true },
        schema: {
          ...OF_MODELS,
          operationId: `infer${suffix}`,
          summary: 'Run a graph',
          params,
          headers: LENGTH_HEADER_SCHEMA,
          body: { content: INFER_CONTENT },
          response: {
            200: INFER_ANSWER,
            ...openInferenceProblems(...BODY_PROBLEMS, ...RUN_PROBLEMS),
          },
        },
      },
      async (request, reply) => {
        const started = process.hrtime.bigint();
        const cancellation = clientGone(reply);
        const graph = graphOf(app.service.registry, request);
        const key = { model: graph.model.id, role: graph.role };
        try {
          const rows = await infer(request, reply, graph, cancellation);
          app.statistics.succeeded(key, rows, nanosecondsSince(started));
        } catch (error) {
          app.statistics.failed(key, nanosecondsSince(started));
          throw error;
        }
        return reply;
      },
    );
  }

  /** @returns rows that were answered */
  async function infer(
    call: FastifyRequest,
    reply: FastifyReply,
    graph: ServedGraph,
    cancellation: Cancellation,
  ): Promise<number> {
    const { body, headers, times } = call;
    const { manifest } = graph.model;
    const length = headers['inference-header-content-length'];
    const bytes = (body as Buffer | undefined) ?? Buffer.alloc(0);
    const request = times.during('decode', () =>
      readInferRequest(bytes, length?.toString(), graph satisfies Signature),
    );
    times.concerns(graph.model, request.rows);
    const { id, rows, inputs } = request;
    const answer = await admitItems(call, rows, async () => {
      const [items, label] = inputs;
      const description = graph.role === 'decoder' ? { shape: items.shape } : numbersOf(manifest.input);
      const options: RunOptions = {
        labels: label && classesOfTensor(label),
        cancellation,
        times: times.run,
        // 0 is none, as in Triton.
        timeout: request.timeoutMicroseconds ? request.timeoutMicroseconds / 1000 : undefined,
      };
      const wanted = request.outputs.map(({ name }) => name);
      const results = await runGraph(app.service, graph, numbersOfTensor(items, description), wanted, options);
      const outputs = request.outputs.map((output) => ({
        ...output,
        data: results[output.name] ?? new Float32Array(0),
      }));
      return times.during('encode', () =>
        inferAnswer({ model_name: graph.name, model_version: manifest.version, id }, outputs, rows),
      );
    });
    if (answer.headerLength === undefined) reply.type(JSON_TYPE);
    else reply.type(BINARY_TYPE).header('inference-header-content-length', answer.headerLength);
    reply.send(answer.body);
    return rows;
  }

  function checkReady(): void {
    const notReady = app.lifecycle.stopping ? 'the service is stopping' : app.service.status.notReady;
    if (notReady !== undefined) throw new ProblemError('NOT_READY', notReady, { 'retry-after': '1' });
  }
};

/** A 200 response in JSON, and the error that every route can have. */
function ok(schema: TSchema): Record<number, unknown> {
  return {
    200: { description: 'The answer', content: { 'application/json': { schema } } },
    ...openInferenceProblems(),
  };
}

function tensorMetadata({ name, shape }: { name: string; shape: readonly number[] }) {
  return { name, datatype: 'FP32' as const, shape: [-1, ...shape] };
}

function nanosecondsSince(started: bigint): number {
  return Number(process.hrtime.bigint() - started);
}
