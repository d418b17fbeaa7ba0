import type { FastifyRequest } from 'fastify';
import { PROBLEMS, type ProblemCode } from './problems.js';

/** Where the routes of the Open Inference Protocol are. */
export const OPEN_INFERENCE_PREFIX = '/v2';

/** Whether an answer to this request, of whichever route or none, must keep to the Open Inference Protocol. */
export function isOpenInference({ routeOptions, url }: FastifyRequest): boolean {
  const [path = ''] = (routeOptions.url ?? url).split('?');
  return path === OPEN_INFERENCE_PREFIX || path.startsWith(`${OPEN_INFERENCE_PREFIX}/`);
}

/** The status of a problem there: what is wrong with a request is 400 in that protocol, whether in form or in content. */
export function openInferenceStatus(code: ProblemCode): number {
  const { status } = PROBLEMS[code];
  return status === 422 ? 400 : status;
}

/** @see https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol */
export function openInferenceError(message: string): { readonly error: string } {
  return { error: message };
}
