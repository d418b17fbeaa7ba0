import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { findGraph, type ServedGraph } from '../inference/graphs.js';
import type { ModelRegistry } from '../inference/registry.js';

const Name = Type.String({
  description: "`mnist:encoder`, `mnist:decoder` or `mnist:scorer`; a model's name alone means its scorer",
});

/** Every route of a graph is there for its latest version and for one that is named. */
export const GRAPH_PATHS = [
  { path: '/models/:name', params: Type.Object({ name: Name }), suffix: '' },
  {
    path: '/models/:name/versions/:version',
    params: Type.Object({ name: Name, version: Type.String({ description: 'A loaded version' }) }),
    suffix: 'Version',
  },
] as const;

/**
 * The graph that a request's path names.
 * @throws {InferenceError} MODEL_NOT_FOUND, saying what there is
 */
export function graphOf(registry: ModelRegistry, { params }: FastifyRequest): ServedGraph {
  const { name, version } = params as { name: string; version?: string };
  return findGraph(registry, name, version);
}
