import type { components } from './schema.js';

export type { components, operations, paths } from './schema.js';
/** Schemas of bodies by name, such as `Schemas['AnomalyScores']`. */
export type Schemas = components['schemas'];
