import type { Socket } from 'node:net';
import accepts from '@fastify/accepts';
import { type FastifyBaseLogger, type FastifyInstance, fastify, LogController } from 'fastify';
import type { InferenceService } from './inference/service.js';
import { InferenceStatistics } from './inference/statistics.js';
import { OPEN_INFERENCE_PREFIX } from './open-inference-errors.js';
import { caching } from './plugins/caching.js';
import { compression } from './plugins/compression.js';
import { content } from './plugins/content.js';
import { errors, sendProblem } from './plugins/errors.js';
import { metrics } from './plugins/metrics.js';
import { openapi } from './plugins/openapi.js';
import { shutdown } from './plugins/shutdown.js';
import { validation } from './plugins/validation.js';
import { type ProblemCode, problemErrorOf, rawProblemResponse } from './problems.js';
import { anomalyScoreRoutes } from './routes/anomaly-score.js';
import { decodeRoute } from './routes/decode.js';
import { encodeRoute } from './routes/encode.js';
import { healthRoutes } from './routes/health.js';
import { interpolateRoute } from './routes/interpolate.js';
import { isStreaming } from './routes/line-stream.js';
import { metricsRoute } from './routes/metrics.js';
import { modelRoutes } from './routes/models.js';
import { openInferenceRoutes } from './routes/open-inference.js';
import { reconstructRoute } from './routes/reconstruct.js';
import { sampleRoute } from './routes/sample.js';
import { ProblemSchema } from './schemas/common.js';
import {
  DecodeAnswer,
  EncodeAnswer,
  InputsBody,
  InterpolateAnswer,
  InterpolateBody,
  LatentsBody,
  SampleAnswer,
  SampleBody,
  ScoreAnswer,
} from './schemas/inference.js';
import { ModelChanges, ModelDetails, ModelList, ModelSummary } from './schemas/models.js';
import { OPEN_INFERENCE_SCHEMAS } from './schemas/open-inference.js';

declare module 'fastify' {
  interface FastifyInstance {
    service: InferenceService;
  }
}

export interface AppOptions {
  readonly service: InferenceService;
  /** Bytes of one body at most. */
  readonly bodyLimit: number;
  readonly logger?: FastifyBaseLogger;
}

/** Bytes of request line and headers: a query of 32 KiB and ordinary headers fit. */
const MAX_HEADER_BYTES = 48 * 1024;

const REQUEST_TIMEOUT_MS = 60_000;
const IDLE_TIMEOUT_MS = 120_000;

/** The service over HTTP. It doesn't close the service that it is given. */
export async function buildApp({ service, bodyLimit, logger }: AppOptions): Promise<FastifyInstance> {
  const app = fastify({
    ...(logger === undefined ? {} : { loggerInstance: logger }),
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: IDLE_TIMEOUT_MS,
    // `shutdown` refuses with a problem document instead.
    return503OnClosing: false,
    http: { maxHeaderSize: MAX_HEADER_BYTES },
    routerOptions: { maxParamLength: MAX_HEADER_BYTES },
    clientErrorHandler: answerClientError,
    frameworkErrors: (error, _request, reply) => {
      void sendProblem(reply, problemErrorOf(error, bodyLimit));
    },
  });
  app.decorate('service', service);
  const statistics = new InferenceStatistics();
  service.observe(statistics);
  app.decorate('statistics', statistics);
  for (const schema of [
    ProblemSchema,
    InputsBody,
    LatentsBody,
    SampleBody,
    InterpolateBody,
    EncodeAnswer,
    DecodeAnswer,
    SampleAnswer,
    InterpolateAnswer,
    ScoreAnswer,
    ModelSummary,
    ModelList,
    ModelDetails,
    ModelChanges,
    ...OPEN_INFERENCE_SCHEMAS,
  ]) {
    app.addSchema(schema);
  }
  await app.register(errors, { bodyLimit });
  await app.register(shutdown);
  await app.register(validation);
  await app.register(content);
  await app.register(accepts);
  await app.register(caching);
  await app.register(compression);
  await app.register(metrics);
  await app.register(openapi);
  for (const routes of [
    encodeRoute,
    decodeRoute,
    sampleRoute,
    interpolateRoute,
    reconstructRoute,
    anomalyScoreRoutes,
    modelRoutes,
    healthRoutes,
    metricsRoute,
  ]) {
    await app.register(routes);
  }
  await app.register(openInferenceRoutes, { prefix: OPEN_INFERENCE_PREFIX });
  return app;
}

/** @see https://nodejs.org/api/http.html#event-clienterror */
function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  // Its lines have a timeout of their own.
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && isStreaming(socket)) return;
  const [code, detail] = clientProblem(error);
  socket.end(rawProblemResponse(code, detail), () => socket.destroy());
}

function clientProblem(error: Error & { code?: string }): [ProblemCode, string] {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return [
        'HEADERS_TOO_LARGE',
        `the request line and headers have more than the limit of ${MAX_HEADER_BYTES} bytes; larger inputs go in the body of a POST`,
      ];
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return ['REQUEST_TIMEOUT', `the request did not arrive within ${REQUEST_TIMEOUT_MS / 1000} seconds`];
    default:
      return ['INVALID_HTTP', error.message];
  }
}
