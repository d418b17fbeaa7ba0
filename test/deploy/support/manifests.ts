import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { IPodSpec } from 'kubernetes-models/v1';
import { build, type KubernetesObject } from './kustomize.js';

export const KUBERNETES = fileURLToPath(new URL('../../../deploy/kubernetes', import.meta.url));

/** What a user applies, as it stands. */
export const APPLIED = [
  'namespace',
  'volumes',
  'server',
  'server-gpu',
  'kserve',
  'jobs/train',
  'jobs/score',
  'jobs/sweep',
];

/** Takes the `#` from the components that wait to be chosen. */
const allComponents = (text: string): string => text.replaceAll(/^ {2}# - /gm, '  - ');

/** Everything that can be applied, by its name: as it stands, and the servers with all their components. */
export const BUILDS: ReadonlyMap<string, readonly KubernetesObject[]> = new Map([
  ...APPLIED.map((name) => [name, build(join(KUBERNETES, name))] as const),
  ...['server', 'server-gpu'].map(
    (name) => [`${name} with all components`, build(join(KUBERNETES, name), allComponents)] as const,
  ),
]);

/** Every object of every build, with a name for a test's title. */
export const OBJECTS: readonly { readonly title: string; readonly object: KubernetesObject }[] = [...BUILDS].flatMap(
  ([name, objects]) =>
    objects.map((object) => ({ title: `${object.kind} ${object.metadata.name} of ${name}`, object })),
);

/** Files below the directory of manifests, relative to it. */
export const FILES: readonly string[] = readdirSync(KUBERNETES, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(KUBERNETES, join(entry.parentPath, entry.name)));

export interface PodTemplate {
  readonly title: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly spec: IPodSpec;
}

/** The pods that are made of these objects. KServe makes one of its runtime's containers and the predictor's other fields. */
export function podsOf(build: string, objects: readonly KubernetesObject[]): PodTemplate[] {
  const runtime = objects.find(({ kind }) => kind === 'ServingRuntime') as KServeRuntime | undefined;
  return objects.flatMap((object): PodTemplate[] => {
    const { kind, metadata } = object;
    const title = `${kind} ${metadata.name} of ${build}`;
    if (kind === 'Pod') return [{ title, labels: metadata.labels ?? {}, spec: object.spec as IPodSpec }];
    if (kind === 'Deployment' || kind === 'Job') {
      const { template } = object.spec as {
        template: { metadata: { labels: Record<string, string> }; spec: IPodSpec };
      };
      return [{ title, labels: template.metadata.labels, spec: template.spec }];
    }
    if (kind === 'InferenceService' && runtime !== undefined) {
      const { predictor } = object.spec as { predictor: IPodSpec & KServePredictor };
      const { containers, volumes } = runtime.spec;
      const { minReplicas, maxReplicas, scaleMetric, scaleTarget, model, ...pod } = predictor;
      const spec = { ...pod, containers, volumes };
      return [{ title, labels: {}, spec }];
    }
    return [];
  });
}

/** Fields of a predictor that are KServe's own; the others are those of a pod. */
interface KServePredictor {
  readonly minReplicas: number;
  readonly maxReplicas: number;
  readonly scaleMetric: string;
  readonly scaleTarget: number;
  readonly model: unknown;
}

interface KServeRuntime extends KubernetesObject {
  readonly spec: Pick<IPodSpec, 'containers' | 'volumes'>;
}

export const PODS: readonly PodTemplate[] = [...BUILDS].flatMap(([name, objects]) => podsOf(name, objects));
