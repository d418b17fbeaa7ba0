import {
  DiagLogLevel,
  diag,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { VERSION } from '../version.js';

/**
 * A span for each request, with children for its stages, sent as OpenTelemetry's variables say
 * (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME, …). Imported only where it is switched on.
 * @see https://opentelemetry.io/docs/specs/semconv/http/http-spans/
 */
export const tracing = fp(async (app: FastifyInstance) => {
  // An exporter that cannot reach its collector says so nowhere else.
  const say = (message: string) => app.log.warn(`tracing: ${message}`);
  const quiet = () => {};
  diag.setLogger({ error: say, warn: say, info: quiet, debug: quiet, verbose: quiet }, DiagLogLevel.WARN);
  const provider = new NodeTracerProvider({
    resource: defaultResource()
      .merge(resourceFromAttributes({ 'service.name': 'elbo', 'service.version': VERSION }))
      .merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  // Spans are handed on with their request, so nothing has to follow asynchronous calls.
  provider.register({ contextManager: null });
  const tracer = trace.getTracer('elbo', VERSION);
  const spans = new WeakMap<FastifyRequest, Span>();

  app.addHook('onRequest', (request, _reply, done) => {
    const { method } = request;
    const { url: route } = request.routeOptions;
    const span = tracer.startSpan(
      route === undefined ? method : `${method} ${route}`,
      { kind: SpanKind.SERVER, attributes: { 'http.request.method': method, 'http.route': route } },
      propagation.extract(ROOT_CONTEXT, request.headers),
    );
    spans.set(request, span);
    if (span.isRecording()) request.traceId = span.spanContext().traceId;
    done();
  });

  app.addHook('onError', (request, _reply, error, done) => {
    const span = spans.get(request);
    span?.setAttribute('error.type', error.code ?? error.name);
    done();
  });

  app.addHook('onResponse', (request, reply, done) => {
    const span = spans.get(request);
    if (span?.isRecording() === true) {
      addStages(span, request);
      span.setAttribute('http.response.status_code', reply.statusCode);
      if (reply.statusCode >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
    }
    span?.end();
    done();
  });

  app.addHook('onClose', async () => {
    await provider.shutdown().catch((error: unknown) => say(`spans were not sent: ${error}`));
    trace.disable();
    propagation.disable();
    diag.disable();
  });

  function addStages(parent: Span, { times }: FastifyRequest): void {
    const { model, items, decode, decodeStart, encode, encodeStart, run } = times;
    if (model === undefined) return;
    parent.setAttributes({ 'elbo.model': model.key, 'elbo.items': items });
    const context = trace.setSpan(ROOT_CONTEXT, parent);
    const child = (name: string, startTime: number, duration: number, attributes = {}) => {
      tracer.startSpan(name, { startTime, attributes }, context).end(startTime + duration);
    };
    if (decodeStart > 0) child('decode', decodeStart, decode);
    const running = run.queue + run.inference;
    if (running > 0) {
      const end = encodeStart > 0 ? encodeStart : performance.now();
      child('inference', end - running, running, {
        'elbo.queue_ms': run.queue,
        'elbo.inference_ms': run.inference,
      });
    }
    if (encodeStart > 0) child('encode', encodeStart, encode);
  }
});
