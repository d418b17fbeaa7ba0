import type { FastifyContextConfig, FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { Counter } from 'prom-client';
import { ChildHistogram, geometricBuckets, type Observations } from '../histogram.js';
import type { ServedModel } from '../inference/model.js';
import { PROBLEMS, type ProblemCode, problemErrorOf } from '../problems.js';
import { STAGES } from './request-times.js';

declare module 'fastify' {
  interface FastifyInstance {
    /** Counts a request that ended before it had a route. */
    countRejection(code: ProblemCode): void;
  }
}

/** Refusals for what the server has or allows, and not for what the request says. */
const REJECTIONS: ReadonlySet<ProblemCode> = new Set([
  'UNAUTHORIZED',
  'FORBIDDEN',
  'RATE_LIMITED',
  'REQUEST_TIMEOUT',
  'BODY_TOO_LARGE',
  'HEADERS_TOO_LARGE',
  'IMAGE_TOO_LARGE',
  'TOO_MANY_ITEMS',
  'OVERLOADED',
  'WORKER_LOST',
  'UNAVAILABLE',
]);

/** Methods that a route can have; any other would let callers make as many series as they like. */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

interface RouteCounts {
  readonly duration: Observations;
  readonly route: string;
  /** By method, then by status. */
  readonly requests: Map<string, number[]>;
}

type StageTimes = readonly Observations[];

/** Counts and times requests, for `GET /metrics`. */
export const requestMetrics = fp(async (app: FastifyInstance, { bodyLimit }: { bodyLimit: number }) => {
  const registers = [app.metrics];
  const durations = new ChildHistogram({
    name: 'elbo_http_request_duration_seconds',
    help: 'From the head of a request to the end of its answer',
    labelNames: ['route'],
    buckets: geometricBuckets(1e-4, 30, 2),
    registers,
  });
  const stages = new ChildHistogram({
    name: 'elbo_stage_duration_seconds',
    help: 'What the time of a request that ran a model went into',
    labelNames: ['stage', 'model'],
    buckets: geometricBuckets(1e-5, 20, 2),
    registers,
  });
  // Keyed by objects that live as long as their routes and models, so that a request looks up and makes nothing.
  const routes = new Map<FastifyContextConfig, RouteCounts>();
  const stagesOf = new WeakMap<ServedModel, StageTimes>();
  new Counter({
    name: 'elbo_http_requests_total',
    help: 'Requests answered',
    labelNames: ['method', 'route', 'status'],
    registers,
    collect() {
      this.reset();
      for (const { route, requests } of routes.values()) {
        for (const [method, byStatus] of requests) {
          byStatus.forEach((count, status) => {
            this.inc({ method, route, status: String(status) }, count);
          });
        }
      }
    },
  });
  const rejections = new Counter({
    name: 'elbo_rejections_total',
    help: 'Requests refused for what the server has or allows',
    labelNames: ['reason'],
    registers,
  });

  const countRejection = (code: ProblemCode): void => {
    if (REJECTIONS.has(code)) rejections.inc({ reason: code.toLowerCase() });
  };
  for (const code of Object.keys(PROBLEMS) as ProblemCode[]) {
    // A series that starts at 0 shows the first one as an increase.
    if (REJECTIONS.has(code)) rejections.inc({ reason: code.toLowerCase() }, 0);
  }
  app.decorate('countRejection', countRejection);
  app.addHook('onError', (_request, _reply, error, done) => {
    countRejection(problemErrorOf(error, bodyLimit).code);
    done();
  });

  app.addHook('onResponse', (request, reply, done) => {
    const { config, url = 'none' } = request.routeOptions;
    let counts = routes.get(config);
    if (counts === undefined) {
      counts = { route: url, duration: durations.child({ route: url }), requests: new Map() };
      routes.set(config, counts);
    }
    counts.duration.observe(reply.elapsedTime / 1000);
    const method = METHODS.has(request.method) ? request.method : 'other';
    let byStatus = counts.requests.get(method);
    if (byStatus === undefined) {
      byStatus = [];
      counts.requests.set(method, byStatus);
    }
    byStatus[reply.statusCode] = (byStatus[reply.statusCode] ?? 0) + 1;

    const { times } = request;
    if (times.model !== undefined && reply.statusCode < 400) {
      const ofModel = stageTimes(times.model);
      for (let i = 0; i < STAGES.length; i++) {
        const stage = STAGES[i];
        if (stage !== undefined) ofModel[i]?.observe(times.of(stage) / 1000);
      }
    }
    done();
  });

  function stageTimes(model: ServedModel): StageTimes {
    let ofModel = stagesOf.get(model);
    if (ofModel === undefined) {
      ofModel = STAGES.map((stage) => stages.child({ stage, model: model.manifest.name }));
      stagesOf.set(model, ofModel);
    }
    return ofModel;
  }
});
