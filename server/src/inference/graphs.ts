import type { GraphRole } from '@elbo/models';
import { InferenceError } from './errors.js';
import { outputShapes, type ServedModel } from './model.js';
import type { ModelRegistry } from './registry.js';
import type { GraphInput } from './rows.js';
import type { InferenceService, RunOptions } from './service.js';

export const GRAPH_ROLES = ['encoder', 'decoder', 'scorer'] as const satisfies readonly GraphRole[];

/** Between a model's name and a graph's: no character of a model's name. */
const SEPARATOR = ':';

/** What the service adds to the outputs of a scorer, since a score means little without what it is held against. */
const P_VALUE = 'p_value';

/** One graph of a model version, addressable by itself. */
export interface ServedGraph {
  /** As it was asked for: `mnist:encoder`, or `mnist` for the scorer. */
  readonly name: string;
  readonly model: ServedModel;
  readonly role: GraphRole;
  readonly inputs: readonly GraphInput[];
  /** Shapes of one row. */
  readonly outputs: readonly { readonly name: string; readonly shape: readonly number[] }[];
}

/** Outputs by name, N x shape. */
export type GraphOutputs = Readonly<Record<string, Float32Array>>;

export function graphName({ manifest }: ServedModel, role: GraphRole): string {
  return `${manifest.name}${SEPARATOR}${role}`;
}

/**
 * The graph of a name: `mnist:encoder`, `mnist:decoder`, `mnist:scorer`; a model's name alone means its scorer.
 * @param version the latest where unset
 * @throws {InferenceError} MODEL_NOT_FOUND, saying what there is
 */
export function findGraph(registry: ModelRegistry, name: string, version?: string): ServedGraph {
  const { modelName, role } = partsOf(name);
  return servedGraph(registry.get(modelName, version), role, name);
}

/**
 * The graph of a name in every loaded version, ascending.
 * @throws {InferenceError} MODEL_NOT_FOUND, saying what there is
 */
export function findVersions(registry: ModelRegistry, name: string): [ServedGraph, ...ServedGraph[]] {
  const { modelName, role } = partsOf(name);
  const [first = registry.get(modelName), ...others] = registry.versions(modelName);
  return [servedGraph(first, role, name), ...others.map((model) => servedGraph(model, role, name))];
}

export function servedGraph(model: ServedModel, role: GraphRole, name = graphName(model, role)): ServedGraph {
  const { encode, decode, score } = model.calls;
  const { inputs } = { encoder: encode, decoder: decode, scorer: score }[role];
  const outputs = [...outputShapes(model, role)].map(([output, shape]) => ({ name: output, shape }));
  return {
    name,
    model,
    role,
    inputs,
    outputs: role === 'scorer' ? [...outputs, { name: P_VALUE, shape: [] }] : outputs,
  };
}

/**
 * Runs a graph.
 * @param rows N x shape of its first input; the service takes their memory
 * @param wanted names of outputs that are needed; others may be left out
 * @throws {InferenceError} as the service does
 */
export async function runGraph(
  service: InferenceService,
  { model, role }: ServedGraph,
  rows: Float32Array,
  wanted: readonly string[],
  options: RunOptions,
): Promise<GraphOutputs> {
  switch (role) {
    case 'encoder': {
      const { mean, logVariance } = await service.encode(model, rows, options);
      return { mean, log_variance: logVariance };
    }
    case 'decoder':
      return { x_mean: await service.decode(model, rows, options) };
    case 'scorer': {
      const parts = wanted.includes('error_map') || wanted.includes('x_mean');
      const scoring = await service.score(model, rows, { ...options, parts });
      const { scores } = scoring;
      const column = (value: (score: (typeof scores)[number]) => number) => Float32Array.from(scores, value);
      return {
        ...Object.fromEntries(
          model.manifest.scorer.components.map((name) => [name, column(({ components }) => components[name] ?? 0)]),
        ),
        score: column(({ score }) => score),
        [P_VALUE]: column(({ pValue }) => pValue),
        ...(scoring.parts && { error_map: scoring.parts.errorMap }),
        ...(scoring.parts?.expected && { x_mean: scoring.parts.expected }),
      };
    }
  }
}

function partsOf(name: string): { modelName: string; role: GraphRole } {
  const at = name.indexOf(SEPARATOR);
  if (at === -1) return { modelName: name, role: 'scorer' };
  const modelName = name.slice(0, at);
  const role = GRAPH_ROLES.find((each) => each === name.slice(at + 1));
  if (role === undefined) {
    const graphs = GRAPH_ROLES.map((each) => `${modelName.slice(0, 64)}${SEPARATOR}${each}`).join(', ');
    throw new InferenceError(
      'MODEL_NOT_FOUND',
      `${JSON.stringify(name.slice(0, 100))} is no graph; expected one of ${graphs}`,
    );
  }
  return { modelName, role };
}
