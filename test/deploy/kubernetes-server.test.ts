import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeApiKey } from '@elbo/server/api-keys';
import { GRACE_MS, readConfiguration } from '@elbo/server/configuration';
import type {} from '@elbo/server/plugins/shutdown';
import { parser } from '@prometheus-io/lezer-promql';
import type { IContainer, IProbe } from 'kubernetes-models/v1';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import {
  type FixtureStore,
  fixtureStore,
  type RunningService,
  startService,
} from '../server/support/running-service.js';
import { BUILDS, KUBERNETES, OBJECTS, PODS, type PodTemplate } from './support/manifests.js';

// What the manifests say of the server, held against the server.

let store: FixtureStore;
let running: RunningService;
beforeAll(async () => {
  store = await fixtureStore();
  running = await startService(store.directory);
});
afterAll(async () => {
  await running.close();
  await store.remove();
});

const isServer = ({ image = '' }: IContainer) => /\/elbo-server(-cuda)?:/.test(image);
const SERVERS = PODS.flatMap((pod) => pod.spec.containers.filter(isServer).map((container) => ({ ...pod, container })));

/** What the container's environment would be; a Secret's entries are keys. */
function environmentOf({ env = [] }: IContainer): Record<string, string> {
  return Object.fromEntries(
    env.map(({ name, value, valueFrom }) => {
      if (valueFrom?.secretKeyRef === undefined) return [name, value ?? ''];
      return [name, makeApiKey('someone').entry];
    }),
  );
}

describe('servers', () => {
  test('are those of both overlays, with and without their components, and of KServe', () => {
    expect(SERVERS.map(({ title }) => title)).toEqual([
      'Deployment elbo of server',
      'Deployment elbo of server-gpu',
      'InferenceService elbo of kserve',
      'Deployment elbo of server with all components',
      'Deployment elbo of server-gpu with all components',
    ]);
  });

  test.each(SERVERS)('$title has an environment that the server knows and takes', ({ container }) => {
    const { configuration, warnings } = readConfiguration(environmentOf(container), 2);
    expect(warnings).toEqual([]);
    expect(container.ports?.map(({ containerPort }) => containerPort)).toEqual([configuration.port]);
  });

  test('with keys have keys', () => {
    const [{ container }] = SERVERS.filter(({ title }) => title === 'Deployment elbo of server with all components');
    const { security } = readConfiguration(environmentOf(container)).configuration;
    expect(security.apiKeys).toHaveLength(1);
    expect(security.adminKeys).toHaveLength(1);
    expect(security.openRoutes).toEqual(['metrics']);
  });

  test('on GPUs use them, with an image that has CUDA, and ask for one in each pod', () => {
    const onGpu = SERVERS.filter(({ title }) => title.includes('server-gpu'));
    expect(onGpu).toHaveLength(2);
    for (const { container } of onGpu) {
      expect(readConfiguration(environmentOf(container)).configuration).toMatchObject({ provider: 'cuda', workers: 1 });
      expect(container.image).toMatch(/\/elbo-server-cuda:/);
      expect(container.resources?.limits).toMatchObject({ 'nvidia.com/gpu': '1' });
    }
  });

  test.each(SERVERS)('$title gets no ELBO_PORT from the link to a Service elbo', ({ spec }) => {
    expect(spec.enableServiceLinks).toBe(false);
  });

  test('an ELBO_PORT of such a link would end the server', () => {
    expect(() => readConfiguration({ ELBO_PORT: 'tcp://10.0.0.1:80' })).toThrow(/ELBO_PORT/);
  });

  test.each(SERVERS)('$title has a whole number of CPUs, which are as many inference threads', ({ container }) => {
    const { limits, requests } = container.resources ?? {};
    expect(limits?.cpu).toMatch(/^[1-9]\d*$/);
    expect(requests?.cpu).toBe(limits?.cpu);
  });

  test.each(SERVERS)('$title has the time that the server needs to end', ({ spec, container }) => {
    const { shutdownDelaySeconds } = readConfiguration(environmentOf(container)).configuration;
    expect(shutdownDelaySeconds).toBeGreaterThan(0);
    expect(spec.terminationGracePeriodSeconds).toBeGreaterThan(shutdownDelaySeconds + GRACE_MS / 1000);
    // The probe has failed, and endpoints are without the pod, before the server takes no more.
    expect(shutdownDelaySeconds).toBeGreaterThanOrEqual(secondsToFail(container.readinessProbe));
  });

  test.each(SERVERS)('$title has probes that a running server answers', async ({ container }) => {
    const { startupProbe, livenessProbe, readinessProbe } = container;
    for (const probe of [startupProbe, livenessProbe, readinessProbe]) {
      const { path = '', port } = probe?.httpGet ?? {};
      expect((await fetch(`${running.url}${path}`)).status, path).toBe(200);
      expect(container.ports?.flatMap(({ name, containerPort }) => [name, containerPort])).toContain(port);
    }
    // A server that is about to end is not ready, and alive.
    running.app.lifecycle.stopping = true;
    try {
      expect((await fetch(`${running.url}${readinessProbe?.httpGet?.path}`)).status).not.toBe(200);
      expect((await fetch(`${running.url}${livenessProbe?.httpGet?.path}`)).status).toBe(200);
    } finally {
      running.app.lifecycle.stopping = false;
    }
  });

  test.each(SERVERS)(
    '$title reads the store where the volume is, and cannot write it',
    ({ title, spec, container }) => {
      const store = spec.volumes?.find(
        ({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName === 'elbo-models',
      );
      expect(store !== undefined).toBe(title.includes('with all components'));
      const mount = container.volumeMounts?.find(({ name }) => name === store?.name);
      // KServe mounts it itself, at /mnt/models.
      if (title.includes('kserve')) expect(environmentOf(container).ELBO_MODELS_DIR).toBe('/mnt/models');
      // The image's ELBO_MODELS_DIR, which the mount hides.
      else if (store !== undefined) expect(mount).toMatchObject({ mountPath: '/models', readOnly: true });
    },
  );
});

describe('metrics', () => {
  const values = parse(
    readFileSync(join(KUBERNETES, 'components/autoscaling/prometheus-adapter-values.yaml'), 'utf8'),
  ) as { rules: { custom: { seriesQuery: string; name: { as: string }; metricsQuery: string }[] } };
  const scaled = [...BUILDS.values()]
    .flat()
    .filter(({ kind }) => kind === 'HorizontalPodAutoscaler')
    .flatMap(({ spec }) => (spec as { metrics: { pods: { metric: { name: string } } }[] }).metrics)
    .map(({ pods }) => pods.metric.name);

  test('what an autoscaler reads is what the adapter offers, from a gauge that the server has', async () => {
    expect(scaled.length).toBeGreaterThan(0);
    expect([...new Set(scaled)]).toEqual(values.rules.custom.map(({ name }) => name.as));
    const text = await (await fetch(`${running.url}/metrics`)).text();
    for (const { seriesQuery } of values.rules.custom) {
      const [series] = seriesQuery.split('{');
      expect(text).toContain(`# TYPE ${series} gauge\n`);
    }
  });

  test("the adapter's queries are PromQL", () => {
    const filled = { Series: 'elbo_queue_items', LabelMatchers: 'namespace="elbo",pod=~"a|b"', GroupBy: 'pod' };
    for (const { seriesQuery, metricsQuery } of values.rules.custom) {
      const query = metricsQuery.replaceAll(/<<\.(\w+)>>/g, (_, name: keyof typeof filled) => filled[name]);
      expect(query).not.toContain('<<');
      for (const text of [seriesQuery, query]) expect(faultsOf(text), text).toEqual([]);
    }
    expect(faultsOf('sum(elbo_queue_items')).not.toEqual([]);
  });

  test('Prometheus asks where the server answers', async () => {
    const monitors = OBJECTS.filter(({ object }) => object.kind === 'PodMonitor');
    expect(monitors.length).toBeGreaterThan(0);
    for (const { object } of monitors) {
      for (const { path } of (object.spec as { podMetricsEndpoints: { path: string }[] }).podMetricsEndpoints) {
        expect((await fetch(`${running.url}${path}`)).status).toBe(200);
      }
    }
    const runtime = OBJECTS.find(({ object }) => object.kind === 'ServingRuntime')?.object.spec as {
      annotations: Record<string, string>;
      containers: PodTemplate['spec']['containers'];
    };
    const { annotations, containers } = runtime;
    expect((await fetch(`${running.url}${annotations['prometheus.kserve.io/path']}`)).status).toBe(200);
    expect(annotations['prometheus.kserve.io/port']).toBe(String(containers[0].ports?.[0].containerPort));
  });
});

test("KServe's service and runtime name the same format and protocol, which the server speaks", async () => {
  const ofKind = (kind: string) => OBJECTS.find(({ object }) => object.kind === kind)?.object.spec;
  const runtime = ofKind('ServingRuntime') as { supportedModelFormats: { name: string }[]; protocolVersions: string[] };
  const { predictor } = ofKind('InferenceService') as {
    predictor: { model: { modelFormat: { name: string }; protocolVersion: string; storageUri: string } };
  };
  expect(runtime.supportedModelFormats.map(({ name }) => name)).toContain(predictor.model.modelFormat.name);
  expect(runtime.protocolVersions).toContain(predictor.model.protocolVersion);
  const { name } = (await (await fetch(`${running.url}/${predictor.model.protocolVersion}`)).json()) as {
    name: string;
  };
  expect(name).toBe('elbo');
  const claims = OBJECTS.filter(({ object }) => object.kind === 'PersistentVolumeClaim');
  expect(claims.map(({ object }) => `pvc://${object.metadata.name}`)).toContain(predictor.model.storageUri);
});

const secondsToFail = ({ periodSeconds = 10, failureThreshold = 3, timeoutSeconds = 1 }: IProbe = {}): number =>
  periodSeconds * failureThreshold + timeoutSeconds;

/** Places where a query is no PromQL. */
function faultsOf(query: string): number[] {
  const faults: number[] = [];
  parser.parse(query).iterate({
    enter: ({ type, from }) => {
      if (type.isError) faults.push(from);
    },
  });
  return faults;
}
