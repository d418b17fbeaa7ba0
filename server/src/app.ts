import type { Socket } from 'node:net';
import { type FastifyBaseLogger, type FastifyInstance, fastify, LogController } from 'fastify';
import { BodyMemory, memoryLimit } from './body-memory.js';
import type { RequestLogging, Security } from './configuration.js';
import type { Clock } from './inference/clock.js';
import type { InferenceService } from './inference/service.js';
import { InferenceStatistics } from './inference/statistics.js';
import { OPEN_INFERENCE_PREFIX } from './open-inference-errors.js';
import { access } from './plugins/access.js';
import { bodyMemory } from './plugins/body-memory.js';
import { browsers } from './plugins/browsers.js';
import { caching } from './plugins/caching.js';
import { compression } from './plugins/compression.js';
import { content } from './plugins/content.js';
import { decompression } from './plugins/decompression.js';
import { errors, sendProblem } from './plugins/errors.js';
import { type ExplorerOptions, explorer } from './plugins/explorer.js';
import { inferenceMetrics } from './plugins/inference-metrics.js';
import { metrics } from './plugins/metrics.js';
import { openapi } from './plugins/openapi.js';
import { rateLimit } from './plugins/rate-limit.js';
import { requestId, requestLog } from './plugins/request-log.js';
import { requestMetrics } from './plugins/request-metrics.js';
import { requestTimes } from './plugins/request-times.js';
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

export interface AppOptions extends ExplorerOptions {
  readonly service: InferenceService;
  /** Bytes of one body at most. */
  readonly bodyLimit: number;
  readonly logger?: FastifyBaseLogger;
  readonly logRequests?: RequestLogging;
  readonly security?: Partial<Security>;
  readonly timeouts?: Partial<Timeouts>;
  /** Connections open at once at most; beyond it new ones are closed at once. */
  readonly maxConnections?: number | undefined;
  /** Sends spans where OpenTelemetry's variables say. */
  readonly tracing?: boolean;
  /** What bodies of requests may take; of what the process may have and has at this moment, unless set. */
  readonly memory?: BodyMemory;
  /** What limits of items are counted by; the system's unless set. */
  readonly clock?: Pick<Clock, 'now'>;
}

/** How long slow clients are waited for, in milliseconds. */
export interface Timeouts {
  /** From the first byte of a request to the end of its headers. */
  readonly headers: number;
  /** From the first byte of a request to the end of its body. */
  readonly request: number;
  /** Between an answer and the next request on the same connection. */
  readonly keepAlive: number;
  /** Without a byte in either direction. */
  readonly idle: number;
  /** Between two looks at the first two. */
  readonly check: number;
}

const TIMEOUTS: Timeouts = { headers: 15_000, request: 60_000, keepAlive: 72_000, idle: 120_000, check: 5000 };

const OPEN: Security = {
  apiKeys: [],
  adminKeys: [],
  openRoutes: [],
  rateLimit: undefined,
  itemRateLimit: undefined,
  corsOrigins: [],
  trustedProxies: [],
};

/** Bytes of request line and headers: a query of 32 KiB and ordinary headers fit. */
const MAX_HEADER_BYTES = 48 * 1024;

/** The service over HTTP. It doesn't close the service that it is given. */
export async function buildApp({
  service,
  bodyLimit,
  logger,
  logRequests = 'failed',
  maxConnections,
  tracing = false,
  clock,
  memory = new BodyMemory(memoryLimit(), process.memoryUsage.rss()),
  ...options
}: AppOptions): Promise<FastifyInstance> {
  const timeouts = { ...TIMEOUTS, ...options.timeouts };
  const security = { ...OPEN, ...options.security };
  const app: FastifyInstance = fastify({
    ...(logger === undefined ? {} : { loggerInstance: logger }),
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    requestIdHeader: false,
    genReqId: requestId,
    trustProxy: security.trustedProxies.length === 0 ? false : [...security.trustedProxies],
    bodyLimit,
    requestTimeout: timeouts.request,
    keepAliveTimeout: timeouts.keepAlive,
    connectionTimeout: timeouts.idle,
    // `shutdown` refuses with a problem document instead.
    return503OnClosing: false,
    http: {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: timeouts.headers,
      connectionsCheckingInterval: timeouts.check,
    },
    routerOptions: { maxParamLength: MAX_HEADER_BYTES },
    clientErrorHandler: (error, socket) => {
      const code = answerClientError(error, socket, timeouts);
      if (code !== undefined) app.countRejection(code);
    },
    frameworkErrors: (error, _request, reply) => {
      void sendProblem(reply, problemErrorOf(error, bodyLimit));
    },
  });
  if (maxConnections !== undefined) app.server.maxConnections = maxConnections;
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
  await app.register(errors, { bodyLimit, adminRoutes: security.adminKeys.length > 0 });
  await app.register(requestTimes);
  await app.register(requestLog, { lines: logRequests });
  await app.register(metrics);
  await app.register(inferenceMetrics);
  await app.register(requestMetrics, { bodyLimit });
  if (tracing) await app.register((await import('./plugins/tracing.js')).tracing);
  await app.register(browsers, security);
  await app.register(shutdown);
  await app.register(access, security);
  await app.register(rateLimit, { ...security, clock });
  await app.register(validation);
  await app.register(decompression, { bodyLimit });
  await app.register(bodyMemory, { memory });
  await app.register(content);
  await app.register(caching);
  await app.register(compression);
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
  await app.register(explorer, options);
  return app;
}

/**
 * @returns what was answered; undefined where nobody is there to read it
 * @see https://nodejs.org/api/http.html#event-clienterror
 */
function answerClientError(
  error: Error & { code?: string },
  socket: Socket,
  timeouts: Timeouts,
): ProblemCode | undefined {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return undefined;
  }
  // Its lines have a timeout of their own.
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && isStreaming(socket)) return undefined;
  const [code, detail] = clientProblem(error, timeouts);
  socket.end(rawProblemResponse(code, detail), () => socket.destroy());
  return code;
}

function clientProblem(error: Error & { code?: string }, { headers, request }: Timeouts): [ProblemCode, string] {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return [
        'HEADERS_TOO_LARGE',
        `the request line and headers have more than the limit of ${MAX_HEADER_BYTES} bytes; larger inputs go in the body of a POST`,
      ];
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return [
        'REQUEST_TIMEOUT',
        `the request did not arrive in time: ${headers / 1000} seconds for its headers, ${request / 1000} seconds for all of it`,
      ];
    default:
      return ['INVALID_HTTP', error.message];
  }
}
