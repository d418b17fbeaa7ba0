import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Service } from 'kubernetes-models/v1';
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { isCoreObject, unknownFields } from './support/api-schema.js';
import { type KubernetesObject, readKustomization } from './support/kustomize.js';
import { APPLIED, BUILDS, FILES, KUBERNETES, OBJECTS, PODS } from './support/manifests.js';

const KUSTOMIZATIONS = FILES.filter((file) => file.endsWith('kustomization.yaml'));

/** Kinds of others, whose definitions are in no package here. */
const OTHER_KINDS = ['InferenceService', 'PodMonitor', 'ServingRuntime'];

describe('files', () => {
  test('every file that a kustomization names exists, and every file is named by one or explained', () => {
    const named = KUSTOMIZATIONS.flatMap((file) => {
      const directory = dirname(join(KUBERNETES, file));
      const { resources = [], components = [], configMapGenerator = [] } = readKustomization(directory);
      const parts = [...resources, ...components, ...configMapGenerator.flatMap(({ files }) => files)];
      return parts.map((part) => resolve(directory, part));
    });
    expect(named.filter((path) => !existsSync(path))).toEqual([]);
    const unnamed = FILES.filter((file) => !KUSTOMIZATIONS.includes(file) && !named.includes(join(KUBERNETES, file)));
    // Helm's values are no object of Kubernetes.
    expect(unnamed.sort()).toEqual(['README.md', 'components/autoscaling/prometheus-adapter-values.yaml']);
  });

  test('every component that is only named in a comment exists', () => {
    const servers = [...BUILDS.keys()].filter((name) => name.endsWith('with all components'));
    expect(servers).toHaveLength(2);
    for (const name of servers) {
      expect(BUILDS.get(name)?.map(({ kind }) => kind)).toEqual(
        expect.arrayContaining(['Deployment', 'HorizontalPodAutoscaler', 'PodMonitor']),
      );
    }
  });

  test.each(FILES.filter((file) => file.endsWith('.yaml')))('%s has no key twice and no other fault', (file) => {
    for (const document of parseAllDocuments(readFileSync(join(KUBERNETES, file), 'utf8'), { merge: true })) {
      expect([...document.errors, ...document.warnings]).toEqual([]);
    }
  });
});

describe('objects', () => {
  test.each(OBJECTS.filter(({ object }) => isCoreObject(object)))('$title fits its API schema', ({ object }) => {
    expect(unknownFields(object)).toEqual([]);
  });

  test('those without a schema here are the known ones', () => {
    const kinds = new Set(OBJECTS.filter(({ object }) => !isCoreObject(object)).map(({ object }) => object.kind));
    expect([...kinds].sort()).toEqual(OTHER_KINDS);
  });

  test('the schema notices a wrong value, a missing field and an unknown one', () => {
    const service = (spec: object): KubernetesObject => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'a' },
      spec,
    });
    expect(unknownFields(service({ ports: [{ port: 80, targetport: 'http' }] }))).toEqual(['/spec/ports/0/targetport']);
    expect(() => unknownFields(service({ ports: [{ port: 'http' }] }))).toThrow(/port/);
    expect(() => unknownFields(service({ ports: [{ name: 'http' }] }))).toThrow(/port/);
  });

  test.each(OBJECTS)('$title is in the namespace', ({ object: { kind, metadata } }) => {
    if (kind === 'Namespace') expect(metadata.name).toBe('elbo');
    else expect(metadata.namespace).toBe('elbo');
  });

  test.each([...BUILDS])('what selects pods in %s selects some', (_, objects) => {
    const labelsOfPods = PODS.map(({ labels }) => labels);
    for (const { kind, metadata, spec } of objects) {
      for (const selector of selectorsOf(kind, spec)) {
        const matches = labelsOfPods.filter((labels) =>
          Object.entries(selector).every(([key, value]) => labels[key] === value),
        );
        expect(matches.length, `${kind} ${metadata.name}`).toBeGreaterThan(0);
      }
    }
  });

  test('a Service, a budget and the policy of who may call select servers alone', () => {
    const others = PODS.filter(({ labels }) => labels['app.kubernetes.io/component'] !== 'server');
    expect(others.length).toBeGreaterThan(0);
    for (const { object } of OBJECTS) {
      if (object.metadata.name === 'elbo' && object.kind === 'NetworkPolicy') continue;
      for (const selector of selectorsOf(object.kind, object.spec)) {
        for (const { title, labels } of others) {
          const isSelected = Object.entries(selector).every(([key, value]) => labels[key] === value);
          expect(isSelected && object.kind !== 'Deployment', `${object.kind} ${title}`).toBe(false);
        }
      }
    }
  });

  test.each([...BUILDS])('ports that are named in %s are ports of the container', (_, objects) => {
    const names = PODS.flatMap(({ spec }) =>
      spec.containers.flatMap(({ ports = [] }) => ports.map(({ name }) => name)),
    );
    for (const { kind, spec } of objects) {
      if (kind === 'Service')
        for (const { targetPort } of (spec as Service['spec'])?.ports ?? []) expect(names).toContain(targetPort);
      if (kind === 'NetworkPolicy') for (const port of policyPorts(spec)) expect(names).toContain(port);
      if (kind === 'PodMonitor') {
        for (const { port } of (spec as { podMetricsEndpoints: { port: string }[] }).podMetricsEndpoints)
          expect(names).toContain(port);
      }
    }
  });

  test.each([...BUILDS])(
    'what is scaled in %s is there, and leaves its number of pods to the autoscaler',
    (_, objects) => {
      for (const { kind, spec } of objects) {
        if (kind !== 'HorizontalPodAutoscaler') continue;
        const { scaleTargetRef } = spec as { scaleTargetRef: { apiVersion: string; kind: string; name: string } };
        const target = objects.find(
          (one) => one.kind === scaleTargetRef.kind && one.metadata.name === scaleTargetRef.name,
        );
        expect(target?.apiVersion).toBe(scaleTargetRef.apiVersion);
        // Else every `kubectl apply` would undo what the autoscaler did.
        expect(target?.spec).not.toHaveProperty('replicas');
      }
    },
  );
});

describe('pods', () => {
  test.each(PODS)('$title fits the schema of a pod', ({ spec }) => {
    expect(unknownFields({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a' }, spec })).toEqual([]);
  });

  test.each(PODS)('$title runs without rights', ({ spec }) => {
    expect(spec.automountServiceAccountToken).toBe(false);
    expect(spec.securityContext).toMatchObject({
      runAsNonRoot: true,
      runAsUser: 1000,
      runAsGroup: 1000,
      seccompProfile: { type: 'RuntimeDefault' },
    });
    for (const { securityContext } of spec.containers) {
      expect(securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
    }
    for (const { hostPath } of spec.volumes ?? []) expect(hostPath).toBeUndefined();
  });

  test.each(PODS)('$title says what it needs, and no more memory than that is promised', ({ spec }) => {
    for (const { name, resources } of spec.containers) {
      for (const resource of ['cpu', 'memory']) {
        expect(resources?.requests, name).toHaveProperty(resource);
        expect(resources?.limits, name).toHaveProperty(resource);
      }
      expect(resources?.requests?.memory).toBe(resources?.limits?.memory);
    }
  });

  test.each(PODS)('$title can write to /tmp', ({ spec }) => {
    for (const { name, volumeMounts = [] } of spec.containers) {
      const mount = volumeMounts.find(({ mountPath }) => mountPath === '/tmp');
      expect(mount?.readOnly ?? false, name).toBe(false);
      expect(spec.volumes?.find((volume) => volume.name === mount?.name)?.emptyDir, name).toBeDefined();
    }
  });

  test.each(PODS)('$title has the volumes that it mounts, and there are claims and settings for them', ({ spec }) => {
    const names = (wanted: string) =>
      OBJECTS.filter(({ object }) => object.kind === wanted).map(({ object }) => object.metadata.name);
    const volumes = spec.volumes ?? [];
    for (const { persistentVolumeClaim, configMap } of volumes) {
      if (persistentVolumeClaim) expect(names('PersistentVolumeClaim')).toContain(persistentVolumeClaim.claimName);
      if (configMap) expect(names('ConfigMap')).toContain(configMap.name);
    }
    for (const { volumeMounts = [] } of spec.containers) {
      expect(volumes.map(({ name }) => name)).toEqual(expect.arrayContaining(volumeMounts.map(({ name }) => name)));
    }
  });

  test('their images are those of one place, with a version', () => {
    const { images = [] } = readKustomization(join(KUBERNETES, 'images'));
    const expected = images.map(({ newName, newTag }) => `${newName}:${newTag}`);
    const used = PODS.flatMap(({ spec }) => spec.containers.map(({ image }) => image ?? ''));
    expect([...new Set(used)].sort()).toEqual(expected.sort());
    for (const { newTag } of images) expect(newTag).toMatch(/^\d+\.\d+\.\d+$/);
  });
});

const hasKubectl = ((): boolean => {
  try {
    execFileSync('kubectl', ['kustomize', '--help'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

describe.skipIf(!hasKubectl)(`kustomize makes the same${hasKubectl ? '' : ' (needs kubectl)'}`, () => {
  test.each(APPLIED)('of %s', (name) => {
    const text = execFileSync('kubectl', ['kustomize', join(KUBERNETES, name)], { encoding: 'utf8' });
    // Without the hash that a generated ConfigMap has at its end.
    const objects = parseAllDocuments(text.replaceAll(/(elbo-sweep-settings)-[a-z0-9]{10}/g, '$1')).map((document) =>
      document.toJS(),
    );
    const sorted = (all: readonly KubernetesObject[]) =>
      [...all].sort((a, b) => `${a.kind} ${a.metadata.name}`.localeCompare(`${b.kind} ${b.metadata.name}`));
    expect(sorted(BUILDS.get(name) ?? [])).toEqual(sorted(objects));
  });
});

type Labels = Readonly<Record<string, string>>;

/** Labels that an object finds pods by. */
function selectorsOf(kind: string, spec: unknown): Labels[] {
  const { selector, podSelector } = (spec ?? {}) as {
    selector?: Labels & { matchLabels?: Labels };
    podSelector?: { matchLabels: Labels };
  };
  if (kind === 'Service') return selector === undefined ? [] : [selector];
  if (kind === 'NetworkPolicy') return [podSelector?.matchLabels ?? {}];
  return selector?.matchLabels === undefined ? [] : [selector.matchLabels];
}

function policyPorts(spec: unknown): (string | number)[] {
  const { ingress = [] } = spec as { ingress?: { ports: { port: string | number }[] }[] };
  return ingress.flatMap(({ ports }) => ports.map(({ port }) => port));
}
