import { ChildHistogram, geometricBuckets } from '@elbo/server/histogram';
import type {} from '@elbo/server/plugins/inference-metrics';
import { Registry } from 'prom-client';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

let store: FixtureStore;
let running: RunningService;
beforeAll(async () => {
  store = await fixtureStore();
  running = await startService(store.directory, { bodyLimit: 4096 });
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

async function metrics(): Promise<Map<string, number>> {
  const { text } = await request(running.url).get('/metrics');
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const end = line.lastIndexOf(' ');
      return [line.slice(0, end), Number(line.slice(end + 1))];
    }),
  );
}

const float32 = (numbers: number[]) => Buffer.from(Float32Array.from(numbers).buffer);
const encode = () =>
  request(running.url)
    .post('/encode')
    .set('content-type', 'application/octet-stream')
    .send(float32(Array(128).fill(0.5)));

describe('GET /metrics', () => {
  it('counts and times requests by route, whatever paths are asked for', async () => {
    await encode();
    await request(running.url).post('/encode').send({ inputs: [] });
    await request(running.url).get('/models/grey');
    await request(running.url).get('/models/table');
    await request(running.url).get('/nowhere/1');
    await request(running.url).get('/nowhere/2');
    const seen = await metrics();
    expect(seen.get('elbo_http_requests_total{method="POST",route="/encode",status="200"}')).toBe(1);
    expect(seen.get('elbo_http_requests_total{method="POST",route="/encode",status="400"}')).toBe(1);
    expect(seen.get('elbo_http_requests_total{method="GET",route="/models/:name",status="200"}')).toBe(2);
    expect(seen.get('elbo_http_requests_total{method="GET",route="none",status="404"}')).toBe(2);
    expect(seen.get('elbo_http_request_duration_seconds_count{route="/encode"}')).toBe(2);
    expect(seen.get('elbo_http_request_duration_seconds_bucket{le="+Inf",route="/encode"}')).toBe(2);
    const sum = seen.get('elbo_http_request_duration_seconds_sum{route="/encode"}') ?? 0;
    expect(sum).toBeGreaterThan(0);
    expect(sum).toBeLessThan(10);
  });

  it('times the stages of what ran', async () => {
    await encode();
    const seen = await metrics();
    for (const stage of ['decode', 'queue', 'inference', 'encode']) {
      expect(
        seen.get(`elbo_stage_duration_seconds_count{stage="${stage}",model="grey"}`),
        stage,
      ).toBeGreaterThanOrEqual(1);
    }
  });

  it('counts refusals by reason', async () => {
    await request(running.url).post('/encode').send('x'.repeat(5000));
    await request(running.url)
      .post('/encode')
      .set('content-type', 'application/json')
      .send(`{"inputs":[${Array(257).fill('[]').join(',')}]}`);
    const seen = await metrics();
    expect(seen.get('elbo_rejections_total{reason="too_many_items"}')).toBe(1);
    expect(seen.get('elbo_rejections_total{reason="overloaded"}')).toBe(0);
  });

  it('tells of workers, models, queue, build and process', async () => {
    const seen = await metrics();
    expect(seen.get('elbo_workers{state="alive"}')).toBe(2);
    expect(seen.get('elbo_workers{state="lost"}')).toBe(0);
    expect(seen.get('elbo_models')).toBe(4);
    expect(seen.get('elbo_queue_items')).toBe(0);
    expect(seen.get('elbo_provider_info{provider="cpu"}')).toBe(1);
    expect([...seen.keys()].some((name) => name.startsWith('elbo_build_info{version="'))).toBe(true);
    expect(seen.has('nodejs_eventloop_lag_p99_seconds')).toBe(true);
    expect(seen.get('process_resident_memory_bytes')).toBeGreaterThan(0);
  });

  it('counts what the inference side tells of batches, loads and restarts', async () => {
    const { service } = running;
    const rgb = service.registry.get('rgb');
    const before = (await metrics()).get('elbo_items_total{model="rgb",version="1",graph="encoder"}') ?? 0;
    await service.encode(rgb, new Float32Array(3 * rgb.itemSize));
    await service.encode(rgb, new Float32Array(8 * rgb.itemSize));
    // A message that no worker expects ends its thread.
    running.workers[0]?.postMessage(null);
    const seen = await vi.waitFor(async () => {
      const now = await metrics();
      expect(now.get('elbo_worker_restarts_total')).toBe(1);
      return now;
    }, 20_000);
    expect(seen.get('elbo_items_total{model="rgb",version="1",graph="encoder"}')).toBe(before + 11);
    expect(seen.get('elbo_batch_rows_sum{model="rgb"}')).toBe(before + 11);
    expect(seen.get('elbo_model_loads_total{result="loaded"}')).toBe(4);
    expect(seen.get('elbo_model_loads_total{result="refused"}')).toBe(0);
  });
});

describe('server-timing', () => {
  it('tells what the time of an answer went into, in milliseconds', async () => {
    const response = await encode();
    const header = response.headers['server-timing'] ?? '';
    expect(header).toMatch(
      /^decode;dur=\d+\.\d\d, queue;dur=\d+\.\d\d, inference;dur=\d+\.\d\d, encode;dur=\d+\.\d\d$/,
    );
    const json = await request(running.url).post('/sample?count=2');
    expect(json.headers['server-timing']).toBeDefined();
    expect((await request(running.url).get('/models')).headers['server-timing']).toBeUndefined();
  });
});

describe('a histogram with children', () => {
  it('puts a value that is a bound under it, and sums up', async () => {
    const registry = new Registry();
    const histogram = new ChildHistogram({
      name: 'wait_seconds',
      help: 'help',
      labelNames: ['stage'],
      buckets: [0.1, 0.2, 0.4],
      registers: [registry],
    });
    const child = histogram.child({ stage: 'a' });
    for (const value of [0, 0.1, 0.15, 0.4, 5]) child.observe(value);
    expect(histogram.child({ stage: 'a' })).toBe(child);
    expect(await registry.metrics()).toBe(
      [
        '# HELP wait_seconds help',
        '# TYPE wait_seconds histogram',
        'wait_seconds_bucket{le="0.1",stage="a"} 2',
        'wait_seconds_bucket{le="0.2",stage="a"} 3',
        'wait_seconds_bucket{le="0.4",stage="a"} 4',
        'wait_seconds_bucket{le="+Inf",stage="a"} 5',
        'wait_seconds_sum{stage="a"} 5.65',
        'wait_seconds_count{stage="a"} 5',
        '',
      ].join('\n'),
    );
  });

  it('has bounds that grow by a factor', () => {
    expect(geometricBuckets(1e-5, 1e-4, 2)).toEqual([1e-5, 2e-5, 4e-5, 8e-5]);
  });
});
