import createClient, { type Client, type ClientOptions } from 'openapi-fetch';
import type { components, paths } from './schema.js';

export type { components, paths } from './schema.js';
/** Schemas of bodies by name, such as `Schemas['AnomalyScores']`. */
export type Schemas = components['schemas'];

export interface ElboClientOptions extends ClientOptions {
  /** Where the service is, such as `http://localhost:8080`. */
  readonly baseUrl: string;
  /** Of a service that asks for keys. */
  readonly apiKey?: string;
}

/**
 * A client whose paths, queries, bodies and answers have the types of the service's OpenAPI document.
 * @see https://openapi-ts.dev/openapi-fetch
 */
export function elboClient({ apiKey, headers, ...options }: ElboClientOptions): Client<paths, 'application/json'> {
  return createClient<paths, 'application/json'>({
    ...options,
    headers: { ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }), ...headers },
  });
}
