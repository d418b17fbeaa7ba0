import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parser } from '@prometheus-io/lezer-promql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import {
  type FixtureStore,
  fixtureStore,
  type RunningService,
  startService,
} from '../server/support/running-service.js';

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly type: string;
  readonly targets?: readonly { readonly expr: string }[];
}

const deploy = fileURLToPath(new URL('../../deploy', import.meta.url));
const read = (path: string): string => readFileSync(`${deploy}/${path}`, 'utf8');
const { panels } = JSON.parse(read('grafana/dashboards/elbo.json')) as { panels: readonly Panel[] };
const { groups } = parse(read('prometheus/alerts.yml')) as {
  groups: readonly { readonly rules: readonly { readonly alert: string; readonly expr: string }[] }[];
};
const queries = [
  ...panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ name: `panel: ${title}`, expr }))),
  ...groups.flatMap(({ rules }) => rules.map(({ alert, expr }) => ({ name: `alert: ${alert}`, expr }))),
];

/** Names and labels of every series that the server answers `/metrics` with. */
const labelsOf = new Map<string, Set<string>>([['up', new Set()]]);
let store: FixtureStore;
let service: RunningService;
beforeAll(async () => {
  store = await fixtureStore();
  service = await startService(store.directory);
  const item = Array.from({ length: 64 }, () => 0.5);
  // Drift is told from some dozens of items on.
  const body = JSON.stringify({ inputs: Array.from({ length: 200 }, () => item) });
  const headers = { 'content-type': 'application/json' };
  const scored = await fetch(`${service.url}/anomaly-score?model=grey`, { method: 'POST', headers, body });
  expect(scored.status).toBe(200);
  const text = await (await fetch(`${service.url}/metrics`)).text();
  for (const [, name = '', labels = ''] of text.matchAll(/^(\w+)(?:\{(.*)\})? \S+$/gm)) {
    const known = labelsOf.get(name) ?? new Set();
    for (const [, label = ''] of labels.matchAll(/(\w+)="/g)) known.add(label);
    labelsOf.set(name, known);
  }
  // A counter of what has not happened yet shows its name alone.
  for (const [, name = ''] of text.matchAll(/^# TYPE (\w+) (?:counter|gauge)$/gm)) {
    if (!labelsOf.has(name)) labelsOf.set(name, new Set());
  }
});
afterAll(async () => {
  await service.close();
  await store.remove();
});

/** What Prometheus adds to every series. */
const TARGET_LABELS = ['job', 'instance'];

describe.each(queries)('$name', ({ expr }) => {
  const nodes: { readonly name: string; readonly text: string }[] = [];
  const query = expr.replaceAll('$__rate_interval', '1m');
  parser.parse(query).iterate({
    enter: ({ name, from, to }) => {
      nodes.push({ name, text: query.slice(from, to) });
    },
  });

  it('is PromQL', () => {
    expect(nodes.filter(({ name }) => name === '⚠')).toEqual([]);
  });

  it('asks for series and labels that the server has', () => {
    const selectors = nodes.filter(({ name }) => name === 'VectorSelector');
    expect(selectors.length).toBeGreaterThan(0);
    const labels = new Set(TARGET_LABELS);
    for (const { text } of selectors) {
      const name = /^\w+/.exec(text)?.[0] ?? '';
      const known = labelsOf.get(name);
      expect(known, name).toBeDefined();
      for (const label of known ?? []) labels.add(label);
    }
    for (const { name, text } of nodes) if (name === 'LabelName') expect([...labels]).toContain(text);
  });
});

it('has panels of different numbers, each with queries', () => {
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  for (const { type, targets = [] } of panels) if (type !== 'row') expect(targets.length).toBeGreaterThan(0);
});

it('shows throughput, the parts of latency, the queue, batch sizes, rejections and drift', () => {
  const all = queries.map(({ expr }) => expr).join('\n');
  for (const series of [
    'elbo_http_requests_total',
    'elbo_http_request_duration_seconds_bucket',
    'elbo_stage_duration_seconds_sum',
    'elbo_queue_items',
    'elbo_batch_rows_sum',
    'elbo_rejections_total',
    'elbo_anomaly_p_value_ks_distance',
  ]) {
    expect(all).toContain(series);
  }
});
