import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { fixtureStore } from './support/running-service.js';

const MAIN = fileURLToPath(new URL('../../server/dist/main.js', import.meta.url));

interface Attribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}
interface Span {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly Attribute[];
}
interface Export {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] };
    readonly scopeSpans: readonly { readonly spans: readonly Span[] }[];
  }[];
}

const attributeOf = (attributes: readonly Attribute[], key: string): unknown =>
  Object.values(attributes.find((attribute) => attribute.key === key)?.value ?? {})[0];

it('sends a span for each request and its stages, the last ones before it exits', async () => {
  const exports: Export[] = [];
  const paths: (string | undefined)[] = [];
  const collector = createServer(async (request, response) => {
    paths.push(request.url);
    exports.push(JSON.parse(await text(request)) as Export);
    response.setHeader('content-type', 'application/json').end('{}');
  }).listen(0, '127.0.0.1');
  await once(collector, 'listening');
  const store = await fixtureStore();
  const inherited = Object.entries(process.env).filter(([name]) => !/^(ELBO|OTEL)_/.test(name));
  const child = spawn(process.execPath, [MAIN], {
    env: {
      ...Object.fromEntries(inherited),
      ELBO_HOST: '127.0.0.1',
      ELBO_PORT: '0',
      ELBO_MODELS_DIR: store.directory,
      ELBO_WORKERS: '1',
      ELBO_LOG_REQUESTS: 'all',
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}`,
      OTEL_SERVICE_NAME: 'elbo-test',
      // Longer than the test, so that only the exit sends.
      OTEL_BSP_SCHEDULE_DELAY: '600000',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    collector.close();
    await store.remove();
  });
  const lines: Record<string, unknown>[] = [];
  const address = await new Promise<string>((resolve) => {
    createInterface(child.stdout).on('line', (line) => {
      const parsed = JSON.parse(line) as Record<string, unknown>;
      lines.push(parsed);
      if (typeof parsed.address === 'string') resolve(parsed.address);
    });
  });

  const traceId = '0af7651916cd43dd8448eb211c80319c';
  const response = await fetch(`${address}/anomaly-score?model=table&values=0.125,0,0,0,0`, {
    headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01` },
  });
  expect(response.status).toBe(200);
  await (await fetch(`${address}/models`)).text();
  child.kill('SIGTERM');
  expect((await once(child, 'exit'))[0]).toBe(0);

  expect(paths).toEqual(['/v1/traces']);
  const [resourceSpans] = exports.flatMap((each) => each.resourceSpans);
  expect(attributeOf(resourceSpans?.resource.attributes ?? [], 'service.name')).toBe('elbo-test');
  const spans = resourceSpans?.scopeSpans.flatMap((scope) => scope.spans) ?? [];
  const server = spans.find(({ name }) => name === 'GET /anomaly-score');
  expect(server).toMatchObject({ traceId, parentSpanId: 'b7ad6b7169203331', kind: 2 });
  expect(attributeOf(server?.attributes ?? [], 'http.response.status_code')).toBe(200);
  expect(attributeOf(server?.attributes ?? [], 'elbo.model')).toBe('table/1');
  const stages = spans.filter(({ parentSpanId }) => parentSpanId === server?.spanId);
  expect(stages.map(({ name }) => name)).toEqual(expect.arrayContaining(['decode', 'encode']));
  for (const { startTimeUnixNano, endTimeUnixNano } of stages) {
    expect(BigInt(startTimeUnixNano)).toBeGreaterThanOrEqual(BigInt(server?.startTimeUnixNano ?? 0));
    expect(BigInt(endTimeUnixNano)).toBeLessThanOrEqual(BigInt(server?.endTimeUnixNano ?? 0));
  }
  expect(spans.find(({ name }) => name === 'GET /models')?.traceId).not.toBe(traceId);
  expect(JSON.stringify(exports)).not.toContain('0.125');
  expect(lines.find(({ route }) => route === '/anomaly-score')).toMatchObject({ trace_id: traceId });
});
