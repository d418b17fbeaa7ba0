import { appWithoutModels } from '@elbo/server/openapi-document';
// Says that an app has metrics.
import type {} from '@elbo/server/plugins/metrics';
import { METRIC_DESCRIPTIONS } from '@elbo/training/evaluation/evaluate';
import { SAMPLE_METRIC_DESCRIPTIONS } from '@elbo/training/sample-quality/sample-quality';
import type { MetricObject } from 'prom-client';
import { code, page, table } from './markdown.js';

/** What a running service and `elbo evaluate` measure. */
export async function metricsPage(): Promise<string> {
  const app = await appWithoutModels();
  const metrics = app.metrics.getMetricsAsArray() as readonly (MetricObject & {
    readonly labelNames?: readonly string[];
  })[];
  await app.close();
  const own = metrics.filter(({ name }) => name.startsWith('elbo_'));
  return page(
    'Metrics',
    'What is measured of a running service, and what of a model.',
    '## Of a service',
    '`GET /metrics` is for Prometheus. Besides these there are the usual `process_…` and `nodejs_…` of the process.',
    table(
      ['metric', 'kind', 'labels', 'meaning'],
      own
        .map(({ name, type, help, labelNames = [] }) => [
          code(name),
          String(type),
          labelNames.map(code).join(', '),
          help,
        ])
        .sort(([a = ''], [b = '']) => (a < b ? -1 : 1)),
    ),
    '## Of a model',
    [
      '`elbo evaluate MODEL --metrics …` takes these names. Each number comes with the protocol that it was measured by; `--record` writes',
      'it into the manifest.',
    ].join('\n'),
    metricTable(METRIC_DESCRIPTIONS),
    'These compare samples with held-out images in features of a classifier (`--classifier`): they are not FID or KID.',
    metricTable(SAMPLE_METRIC_DESCRIPTIONS),
  );
}

function metricTable(descriptions: Readonly<Record<string, string>>): string {
  return table(
    ['name', 'meaning'],
    Object.entries(descriptions).map(([name, meaning]) => [code(name), meaning]),
  );
}
