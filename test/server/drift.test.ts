import { RandomSource } from '@elbo/models';
import { DriftMonitor, kolmogorovTail } from '@elbo/server/inference/drift';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type FixtureStore, fixtureStore, type RunningService, startService } from './support/running-service.js';

const uniform = (count: number, seed: number) => {
  const random = new RandomSource(seed);
  return Array.from({ length: count }, () => random.uniform());
};

describe('the distance of p-values to uniform', () => {
  const watched = (values: readonly number[], calibrationSize = 100_000) => {
    const monitor = new DriftMonitor(calibrationSize);
    for (const value of values) monitor.add(value);
    return monitor.drift;
  };

  it('is unknown until 20 items were scored', () => {
    expect(watched(uniform(19, 1))).toBeUndefined();
    expect(watched(uniform(20, 1))?.items).toBe(20);
  });

  it('is the largest difference of the distribution functions', () => {
    // Up to 0.5 there is nothing, where half of them should be.
    const values = Array.from({ length: 500 }, (_, i) => 0.5 + (0.5 * (i + 1)) / 500);
    expect(watched(values)?.distance).toBeCloseTo(0.5, 2);
    expect(watched(values)?.pValue).toBeLessThan(1e-12);
    const even = Array.from({ length: 500 }, (_, i) => (i + 0.5) / 500);
    expect(watched(even)?.distance).toBeCloseTo(0.001, 3);
    expect(watched(even)?.pValue).toBe(1);
  });

  it('is small for a conformal p-value of a small calibration, whose steps are coarse', () => {
    const steps = uniform(1000, 3).map((u) => Math.ceil(u * 50) / 50);
    expect(watched(steps, 49)?.distance).toBeLessThan(0.05);
    expect(watched(steps, 49)?.pValue).toBeGreaterThan(0.05);
  });

  it('forgets what was long ago', () => {
    const drifted = new Array<number>(5000).fill(0.01);
    expect(watched([...drifted, ...uniform(1000, 4)])?.distance).toBeLessThan(0.05);
    expect(watched([...uniform(5000, 4), ...drifted.slice(0, 100)])?.distance).toBeGreaterThan(0.08);
  });

  it('has a p-value that is itself uniform at most, while nothing drifts', () => {
    const below = (level: number) => {
      const runs = Array.from({ length: 400 }, (_, i) => watched(uniform(200, 100 + i))?.pValue ?? 0);
      return runs.filter((p) => p <= level).length / runs.length;
    };
    // Three binomial deviations above the level.
    expect(below(0.05)).toBeLessThan(0.05 + 3 * Math.sqrt((0.05 * 0.95) / 400));
    expect(below(0.5)).toBeGreaterThan(0.4);
  });

  it.each([
    // Critical values of the Kolmogorov distribution: 1.3581 at 5 %, 1.6276 at 1 %.
    [1.3581, 0.05],
    [1.6276, 0.01],
  ])('%f over the root of n is as likely as tables say: %f', (critical, tail) => {
    const n = 1e8;
    expect(kolmogorovTail(critical / Math.sqrt(n), n, 1e16)).toBeCloseTo(tail, 4);
  });
});

describe('the service', () => {
  let store: FixtureStore;
  let running: RunningService;
  beforeAll(async () => {
    store = await fixtureStore();
    running = await startService(store.directory, { maxBatch: 64 });
  });
  afterAll(async () => {
    await running.close();
    await store.remove();
  });

  const metric = async (line: RegExp): Promise<number | undefined> => {
    const { text } = await request(running.url)
      .get('/metrics')
      .expect(200)
      .expect('content-type', /^text\/plain/);
    const found = line.exec(text)?.[1];
    return found === undefined ? undefined : Number(found);
  };

  it('counts p-values and tells how far they are from uniform, of each version', async () => {
    const distance = /^elbo_anomaly_p_value_ks_distance\{model="grey",version="2"\} (\S+)$/m;
    expect(await metric(distance)).toBeUndefined();
    expect((await request(running.url).get('/models/grey')).body).not.toHaveProperty('drift');
    const inputs = Array.from({ length: 30 }, () => new Array<number>(64).fill(1));
    const { body } = await request(running.url).post('/anomaly-score?model=grey').send({ inputs }).expect(200);
    const [{ p_value: p }] = body.scores;
    expect(await metric(/^elbo_anomaly_p_value_count\{model="grey",version="2"\} (\S+)$/m)).toBe(30);
    expect(await metric(/^elbo_anomaly_p_value_sum\{model="grey",version="2"\} (\S+)$/m)).toBeCloseTo(30 * p, 9);
    // All alike: one side of the step is empty.
    const expected = Math.max(1 - p, p - 1 / 200);
    expect(await metric(distance)).toBeCloseTo(expected, 9);
    expect(await metric(/^elbo_anomaly_p_value_ks_p_value\{model="grey",version="2"\} (\S+)$/m)).toBeLessThan(0.01);
    const { drift } = (await request(running.url).get('/models/grey')).body;
    expect(drift).toMatchObject({ items: 30, distance: expect.closeTo(expected, 9) });
    expect((await request(running.url).get('/models/grey?version=1')).body).not.toHaveProperty('drift');
  });

  it('counts an input that is asked again, whether or not its answer is sent again', async () => {
    const path = '/anomaly-score?model=table&values=1,2,3,4,5';
    const { body, headers } = await request(running.url).get(path).expect(200);
    const p = body.scores[0].p_value;
    const again = async (url: string) => request(url).get(path).set('if-none-match', String(headers.etag)).expect(304);
    for (let i = 0; i < 3; i++) await again(running.url);
    const counted = async (what: string) =>
      metric(new RegExp(`^elbo_anomaly_p_value_${what}\\{model="table",version="1"\\} (\\S+)$`, 'm'));
    expect(await counted('count')).toBe(4);
    expect(await counted('sum')).toBeCloseTo(4 * p, 9);
    // Another process has never seen the input, and has to look at it.
    const other = await startService(store.directory);
    try {
      const spy = vi.spyOn(other.service, 'score');
      for (let i = 0; i < 2; i++) await again(other.url);
      expect(spy).toHaveBeenCalledOnce();
      const { text } = await request(other.url).get('/metrics');
      expect(text).toMatch(/^elbo_anomaly_p_value_count\{model="table",version="1"\} 2$/m);
    } finally {
      await other.close();
    }
  });

  it('refuses a query that metrics do not know', async () => {
    await request(running.url).get('/metrics?model=grey').expect(400);
  });
});
