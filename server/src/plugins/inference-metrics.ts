import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { Counter, collectDefaultMetrics, Gauge } from 'prom-client';
import { ChildHistogram, type Observations } from '../histogram.js';
import type { ModelCall } from '../inference/model.js';
import { VERSION } from '../version.js';

/** Rows of a batch are counts, so bounds are, too. */
const BATCH_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096];

/** What the process and its workers do, for `GET /metrics`. */
export const inferenceMetrics = fp(async (app: FastifyInstance) => {
  const { service, metrics: registry } = app;
  const registers = [registry];
  // Its own registry: tests, and whoever embeds the service, have several apps in a process.
  collectDefaultMetrics({ register: registry });

  const batchRows = new ChildHistogram({
    name: 'elbo_batch_rows',
    help: 'Items that ran together, without padding',
    labelNames: ['model'],
    buckets: BATCH_BUCKETS,
    registers,
  });
  interface CallCounts {
    readonly rows: Observations;
    readonly labels: { model: string; version: string; graph: string };
    items: number;
  }
  // Few: a name, a version and a graph each. Not keyed by objects, so that counts go on when a model is loaded again.
  const calls = new Map<string, CallCounts>();
  const byCall = new WeakMap<ModelCall, CallCounts>();
  new Counter({
    name: 'elbo_items_total',
    help: 'Items that a graph ran on',
    labelNames: ['model', 'version', 'graph'],
    registers,
    collect() {
      this.reset();
      for (const { labels, items } of calls.values()) this.inc(labels, items);
    },
  });
  new Gauge({
    name: 'elbo_queue_items',
    help: 'Items accepted and not yet answered',
    registers,
    collect() {
      this.set(service.admitted);
    },
  });
  new Gauge({
    name: 'elbo_workers',
    help: 'Inference threads',
    labelNames: ['state'],
    registers,
    collect() {
      const { workers, workersAlive } = service.status;
      this.set({ state: 'alive' }, workersAlive);
      this.set({ state: 'lost' }, Math.max(0, workers - workersAlive));
    },
  });
  new Gauge({
    name: 'elbo_models',
    help: 'Model versions that are loaded',
    registers,
    collect() {
      this.set(service.registry.list().length);
    },
  });
  new Gauge({
    name: 'elbo_provider_info',
    help: 'Execution provider that the models run on',
    labelNames: ['provider'],
    registers,
    collect() {
      this.set({ provider: service.status.provider }, 1);
    },
  });
  new Gauge({
    name: 'elbo_build_info',
    help: 'Version of the service and of Node',
    labelNames: ['version', 'node'],
    registers,
  }).set({ version: VERSION, node: process.versions.node }, 1);
  const restarts = new Counter({
    name: 'elbo_worker_restarts_total',
    help: 'Inference threads started in place of lost ones',
    registers,
  });
  const loads = new Counter({
    name: 'elbo_model_loads_total',
    help: 'Model versions that were loaded or refused',
    labelNames: ['result'],
    registers,
  });
  // The store was read before there was anybody to count.
  loads.inc({ result: 'loaded' }, service.registry.list().length);
  loads.inc({ result: 'refused' }, service.registry.refusals().length);

  service.observe({
    ran(call, rows) {
      let counts = byCall.get(call);
      if (counts === undefined) {
        counts = countsOf(call);
        byCall.set(call, counts);
      }
      counts.items += rows;
      counts.rows.observe(rows);
    },
    workerLost: () => restarts.inc(),
    loaded: () => loads.inc({ result: 'loaded' }),
    refused: () => loads.inc({ result: 'refused' }),
  });

  function countsOf({ model: id, role }: ModelCall): CallCounts {
    const [key = ''] = id.split('@');
    const known = calls.get(`${key} ${role}`);
    if (known !== undefined) return known;
    const [model = '', version = ''] = key.split('/');
    const counts = { rows: batchRows.child({ model }), labels: { model, version, graph: role }, items: 0 };
    calls.set(`${key} ${role}`, counts);
    return counts;
  }
});
