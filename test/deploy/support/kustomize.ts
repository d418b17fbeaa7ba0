import { readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';

/** A Kubernetes object as it stands in a manifest. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Record<string, string> };
  readonly [field: string]: unknown;
}

type Fields = Record<string, unknown>;

interface Image {
  readonly name: string;
  readonly newName: string;
  readonly newTag: string;
}

interface Kustomization {
  readonly apiVersion: string;
  readonly kind: 'Kustomization' | 'Component';
  readonly namespace?: string;
  readonly resources?: readonly string[];
  readonly components?: readonly string[];
  readonly patches?: readonly {
    readonly target?: { readonly kind: string; readonly name: string };
    readonly patch: string;
  }[];
  readonly images?: readonly Image[];
  readonly configMapGenerator?: readonly { readonly name: string; readonly files: readonly string[] }[];
}

const FIELDS: readonly string[] = [
  'apiVersion',
  'kind',
  'namespace',
  'resources',
  'components',
  'patches',
  'images',
  'configMapGenerator',
] satisfies (keyof Kustomization)[];

/** What merges a list's items instead of replacing the list, as the API's schemas say (x-kubernetes-patch-merge-key). */
const MERGE_KEYS: Readonly<Record<string, string>> = {
  containers: 'name',
  env: 'name',
  volumes: 'name',
  volumeMounts: 'mountPath',
};

/**
 * As much of `kustomize build` as this project's manifests use, so that tests need no program. A ConfigMap's name has no
 * hash at its end.
 * @param choose changes the text of the kustomization, as a user would
 */
export function build(directory: string, choose: (text: string) => string = (text) => text): KubernetesObject[] {
  const kustomization = readKustomization(directory, choose);
  const objects = accumulate(directory, kustomization, []);
  const { namespace } = kustomization;
  return namespace === undefined ? objects : objects.map((object) => inNamespace(object, namespace));
}

/** @throws {Error} for a field that `build` would overlook */
export function readKustomization(directory: string, choose: (text: string) => string = (text) => text): Kustomization {
  const kustomization = parse(choose(readFileSync(join(directory, 'kustomization.yaml'), 'utf8'))) as Kustomization;
  const unknown = Object.keys(kustomization).filter((field) => !FIELDS.includes(field));
  if (unknown.length > 0) throw new Error(`${directory}: ${unknown.join(', ')} is not known to this kustomize`);
  return kustomization;
}

/** Every object of a file. */
export function readObjects(file: string): KubernetesObject[] {
  return parseAllDocuments(readFileSync(file, 'utf8'), { merge: true }).map((document) => {
    const [error] = [...document.errors, ...document.warnings];
    if (error !== undefined) throw new Error(`${file}: ${error.message}`);
    return document.toJS() as KubernetesObject;
  });
}

function accumulate(
  directory: string,
  kustomization: Kustomization,
  before: readonly KubernetesObject[],
): KubernetesObject[] {
  let objects = [...before];
  for (const resource of kustomization.resources ?? []) {
    const path = resolve(directory, resource);
    objects.push(...(statSync(path).isDirectory() ? build(path) : readObjects(path)));
  }
  for (const { name, files } of kustomization.configMapGenerator ?? []) {
    const data = Object.fromEntries(
      files.map((file) => [file.split('/').at(-1), readFileSync(join(directory, file), 'utf8')]),
    );
    objects.push({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data });
  }
  for (const component of kustomization.components ?? []) {
    const path = resolve(directory, component);
    objects = accumulate(path, readKustomization(path), objects);
  }
  for (const { target, patch } of kustomization.patches ?? []) {
    const change = parse(patch) as Fields[] | KubernetesObject;
    const { kind, name } = target ?? {
      kind: String((change as Fields).kind),
      name: (change as KubernetesObject).metadata.name,
    };
    const at = objects.findIndex((object) => object.kind === kind && object.metadata.name === name);
    if (at < 0) throw new Error(`${directory}: there is no ${kind} ${name} to patch`);
    objects[at] = (
      Array.isArray(change) ? change.reduce(without, objects[at]) : merged(objects[at], change)
    ) as KubernetesObject;
  }
  const images = kustomization.images ?? [];
  return images.length === 0 ? objects : objects.map((object) => withImages(object, images) as KubernetesObject);
}

/** The strategic merge of a patch. */
function merged(value: unknown, change: unknown, key = ''): unknown {
  if (Array.isArray(change)) {
    const mergeKey = MERGE_KEYS[key];
    if (mergeKey === undefined || !Array.isArray(value)) return change;
    const items = [...(value as Fields[])];
    for (const item of change as Fields[]) {
      const at = items.findIndex((one) => one[mergeKey] === item[mergeKey]);
      if (at < 0) items.unshift(item);
      else items[at] = merged(items[at], item) as Fields;
    }
    return items;
  }
  if (typeof change !== 'object' || change === null) return change;
  const result: Fields = { ...(value as Fields) };
  for (const [field, part] of Object.entries(change)) result[field] = merged(result[field], part, field);
  return result;
}

/** An operation of a JSON patch, of which there is one kind here. */
function without(object: unknown, { op, path }: Fields): unknown {
  const keys = String(path).split('/').slice(1);
  const last = keys.pop() ?? '';
  const copy = structuredClone(object) as Fields;
  const parent = keys.reduce((fields, key) => fields[key] as Fields, copy);
  if (op !== 'remove' || !(last in parent)) throw new Error(`${op} ${path}: cannot be done`);
  delete parent[last];
  return copy;
}

function withImages(value: unknown, images: readonly Image[]): unknown {
  if (Array.isArray(value)) return value.map((item) => withImages(item, images));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, field]) => {
      const image = key === 'image' ? images.find(({ name }) => name === field) : undefined;
      return [key, image === undefined ? withImages(field, images) : `${image.newName}:${image.newTag}`];
    }),
  );
}

const inNamespace = (object: KubernetesObject, namespace: string): KubernetesObject =>
  object.kind === 'Namespace' ? object : { ...object, metadata: { ...object.metadata, namespace } };
