import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { Gauge, Histogram, Registry } from 'prom-client';
import { type Drift, DriftMonitor } from '../inference/drift.js';
import type { ServedModel } from '../inference/model.js';

declare module 'fastify' {
  interface FastifyInstance {
    /** What Prometheus reads. */
    metrics: Registry;
    /** How the last p-values of a model are distributed. */
    driftOf(model: ServedModel): Drift | undefined;
    /** Counts the p-values of items that were asked for, whether or not the model had to run for them. */
    countPValues(model: ServedModel, pValues: readonly number[]): void;
  }
}

const OF_MODEL = ['model', 'version'] as const;

/** Uniform p-values put a share of the same size under each bound. */
const P_VALUE_BUCKETS = [0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1];

/** Counts what the service scores, for `GET /metrics` and `GET /models/{name}`. */
export const metrics = fp(async (app: FastifyInstance) => {
  const registry = new Registry();
  const monitors = new Map<ServedModel, DriftMonitor>();
  const pValues = new Histogram({
    name: 'elbo_anomaly_p_value',
    help: 'p-values of scored items; uniform while inputs are as in the calibration',
    labelNames: OF_MODEL,
    buckets: P_VALUE_BUCKETS,
    registers: [registry],
  });
  const ofWindow = (name: string, help: string, value: (drift: Drift) => number) =>
    new Gauge({
      name: `elbo_anomaly_p_value_${name}`,
      help: `${help}, over the last 1000 items`,
      labelNames: OF_MODEL,
      registers: [registry],
      collect() {
        // Of a model that was unloaded nothing is left.
        this.reset();
        for (const [model, { drift }] of monitors) {
          if (drift !== undefined) this.set(labelsOf(model), value(drift));
        }
      },
    });
  ofWindow('window_items', 'Items that the distance is computed over', ({ items }) => items);
  ofWindow('ks_distance', 'Kolmogorov-Smirnov distance of p-values to uniform', ({ distance }) => distance);
  ofWindow('ks_p_value', 'Probability of such a distance while inputs are as in the calibration', (d) => d.pValue);

  const countPValues = (model: ServedModel, values: readonly number[]): void => {
    const monitor = monitors.get(model) ?? new DriftMonitor(model.calibrationScores.length);
    monitors.set(model, monitor);
    const labels = labelsOf(model);
    for (const value of values) {
      pValues.observe(labels, value);
      monitor.add(value);
    }
  };
  app.service.observe({
    scored: (model, scores) =>
      countPValues(
        model,
        scores.map(({ pValue }) => pValue),
      ),
    unloaded: (model) => monitors.delete(model),
  });
  app.decorate('metrics', registry);
  app.decorate('countPValues', countPValues);
  app.decorate('driftOf', (model: ServedModel) => monitors.get(model)?.drift);
});

function labelsOf({ manifest }: ServedModel): Record<(typeof OF_MODEL)[number], string> {
  return { model: manifest.name, version: manifest.version };
}
