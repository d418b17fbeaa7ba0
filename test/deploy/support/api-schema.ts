import { Deployment } from 'kubernetes-models/apps/v1';
import { HorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2';
import { Job } from 'kubernetes-models/batch/v1';
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1';
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1';
import { ConfigMap, Namespace, PersistentVolumeClaim, Pod, Service } from 'kubernetes-models/v1';
import type { KubernetesObject } from './kustomize.js';

interface Validated {
  validate(): void;
}

/** The API's own kinds that manifests here have, by `apiVersion/kind`. */
const MODELS: Readonly<Record<string, (data: never) => Validated>> = Object.fromEntries(
  [
    ConfigMap,
    Deployment,
    HorizontalPodAutoscaler,
    Job,
    Namespace,
    NetworkPolicy,
    PersistentVolumeClaim,
    Pod,
    PodDisruptionBudget,
    Service,
  ].map((Model) => [`${Model.apiVersion}/${Model.kind}`, (data: never) => new Model(data)]),
);

/** Fields that the API has had for longer than the package: its schemas are those of Kubernetes 1.27. */
const SINCE_1_28 = new Set(['backoffLimitPerIndex']);

export const isCoreObject = ({ apiVersion, kind }: KubernetesObject): boolean => `${apiVersion}/${kind}` in MODELS;

/**
 * Holds an object against its API schema. The compiled schemas say nothing of fields that they do not know, so what they
 * do not look at is what is not known.
 * @throws {Error} where a field has a wrong value
 * @returns paths of fields that the schema does not have
 */
export function unknownFields(object: KubernetesObject): string[] {
  const looks = new Map<string, { readonly value: object; readonly keys: Set<string> }>();
  const watched = <T>(value: T, path: string): T => {
    if (typeof value !== 'object' || value === null) return value;
    const look = looks.get(path) ?? { value, keys: new Set<string>() };
    looks.set(path, look);
    return new Proxy(value, {
      get(target, key) {
        const part: unknown = Reflect.get(target, key);
        if (typeof key !== 'string') return part;
        look.keys.add(key);
        return Object.hasOwn(target, key) ? watched(part, `${path}/${key}`) : part;
      },
    });
  };
  watched(MODELS[`${object.apiVersion}/${object.kind}`](object as never), '').validate();
  return [...looks].flatMap(([path, { value, keys }]) =>
    Object.keys(value)
      .filter((key) => !keys.has(key) && !SINCE_1_28.has(key))
      .map((key) => `${path}/${key}`),
  );
}
