export {
  type AnswerForms,
  type CallOptions,
  ElboClient,
  type ElboClientOptions,
  type Images,
  type ItemOptions,
  type Items,
  type Tensor,
} from './client.js';
export { ElboError, type Problem } from './error.js';
export type { components, operations, paths, Schemas } from './types.js';
