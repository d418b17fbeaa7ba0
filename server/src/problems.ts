import { STATUS_CODES } from 'node:http';
import { CodecError, type CodecErrorCode } from './codecs/errors.js';
import { InferenceError, type InferenceErrorCode } from './inference/errors.js';

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8';

/** Every error that the service answers with: its stable code, its HTTP status, and what it is about. */
export const PROBLEMS = {
  INVALID_HTTP: { status: 400, title: 'The request is not valid HTTP' },
  INVALID_CODING: { status: 400, title: 'The body is not in the content coding that it should have' },
  INVALID_JSON: { status: 400, title: 'The body is not valid JSON' },
  INVALID_REQUEST: { status: 400, title: 'A parameter or field is missing, unknown or not what it should be' },
  UNAUTHORIZED: { status: 401, title: 'The request has no key that is known' },
  FORBIDDEN: { status: 403, title: 'The key does not allow this' },
  ROUTE_NOT_FOUND: { status: 404, title: 'There is no such route' },
  MODEL_NOT_FOUND: { status: 404, title: 'There is no such model or version' },
  FILE_NOT_FOUND: { status: 404, title: 'The model has no such file to give' },
  MODEL_REFUSED: { status: 409, title: 'A version in the store was refused' },
  METHOD_NOT_ALLOWED: { status: 405, title: 'The route has no such method' },
  NOT_ACCEPTABLE: { status: 406, title: 'None of the accepted types can be made' },
  REQUEST_TIMEOUT: { status: 408, title: 'The request took too long to arrive' },
  BODY_TOO_LARGE: { status: 413, title: 'The body is larger than the limit' },
  IMAGE_TOO_LARGE: { status: 413, title: 'An image has more pixels than the limit' },
  TOO_MANY_ITEMS: { status: 413, title: 'The request has more items than the limit' },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, title: 'The body has a type or content coding that the route does not take' },
  INVALID_INPUT: { status: 422, title: 'The input is not what the model takes' },
  INVALID_IMAGE: { status: 422, title: 'An image cannot be read' },
  RATE_NOT_STATED: { status: 422, title: 'The calibration cannot state this false positive rate' },
  OUTPUT_NOT_FINITE: { status: 422, title: 'The model has no finite answer to this input' },
  RATE_LIMITED: { status: 429, title: 'The caller sent more requests or items than the limit' },
  HEADERS_TOO_LARGE: { status: 431, title: 'The request line and headers are larger than the limit' },
  INTERNAL: { status: 500, title: 'The server failed' },
  OVERLOADED: { status: 503, title: 'Too many items are waiting' },
  TIMED_OUT: { status: 503, title: 'The request was not answered in time' },
  OUT_OF_MEMORY: { status: 503, title: 'The device has no memory for the batch' },
  WORKER_LOST: { status: 503, title: 'The worker that had the request was lost' },
  UNAVAILABLE: { status: 503, title: 'The service cannot run models now' },
  NOT_READY: { status: 503, title: 'The service is not ready' },
} as const satisfies Record<string, { status: number; title: string }>;
export type ProblemCode = keyof typeof PROBLEMS;

/** A problem document of RFC 9457. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ProblemCode;
}

/** An answer that tells the caller what is wrong. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError';
  readonly code: ProblemCode;
  readonly headers: Readonly<Record<string, string>>;

  constructor(code: ProblemCode, detail: string, headers: Readonly<Record<string, string>> = {}) {
    super(detail);
    this.code = code;
    this.headers = headers;
  }
}

export function problemOf(code: ProblemCode, detail: string): Problem {
  const { status, title } = PROBLEMS[code];
  return { type: `urn:elbo:problem:${code.toLowerCase().replaceAll('_', '-')}`, title, status, detail, code };
}

/**
 * A whole HTTP response for a socket whose request could not even be parsed.
 * @see https://nodejs.org/api/http.html#event-clienterror
 */
export function rawProblemResponse(code: ProblemCode, detail: string): string {
  const body = JSON.stringify(problemOf(code, detail));
  const { status } = PROBLEMS[code];
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    `Content-Type: ${PROBLEM_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}

const RETRY_SOON = { 'retry-after': '1' };

const BY_INFERENCE_CODE: Readonly<Record<InferenceErrorCode, ProblemCode>> = {
  OVERLOADED: 'OVERLOADED',
  TOO_MANY_ITEMS: 'TOO_MANY_ITEMS',
  TIMED_OUT: 'TIMED_OUT',
  OUT_OF_MEMORY: 'OUT_OF_MEMORY',
  WORKER_LOST: 'WORKER_LOST',
  UNAVAILABLE: 'UNAVAILABLE',
  OUTPUT_NOT_FINITE: 'OUTPUT_NOT_FINITE',
  MODEL_NOT_FOUND: 'MODEL_NOT_FOUND',
  RATE_NOT_STATED: 'RATE_NOT_STATED',
  // Its client is gone, so nobody reads the answer.
  CANCELLED: 'UNAVAILABLE',
  PROVIDER_UNAVAILABLE: 'INTERNAL',
  MODEL_REFUSED: 'MODEL_REFUSED',
  RUN_FAILED: 'INTERNAL',
};

const BY_CODEC_CODE: Readonly<Record<CodecErrorCode, ProblemCode>> = {
  INVALID_CODING: 'INVALID_CODING',
  INVALID_INPUT: 'INVALID_INPUT',
  INVALID_JSON: 'INVALID_JSON',
  INVALID_IMAGE: 'INVALID_IMAGE',
  IMAGE_TOO_LARGE: 'IMAGE_TOO_LARGE',
  BODY_TOO_LARGE: 'BODY_TOO_LARGE',
  TOO_MANY_ITEMS: 'TOO_MANY_ITEMS',
  REQUEST_TIMEOUT: 'REQUEST_TIMEOUT',
};

/** The problem that an error from anywhere in the service is answered with; what is unexpected becomes INTERNAL. */
export function problemErrorOf(error: Error & { code?: string; statusCode?: number }, bodyLimit: number): ProblemError {
  if (error instanceof ProblemError) return error;
  if (error instanceof CodecError) return new ProblemError(BY_CODEC_CODE[error.code], error.message);
  if (error instanceof InferenceError) {
    const code = BY_INFERENCE_CODE[error.code];
    if (code === 'INTERNAL') return internal();
    return new ProblemError(code, error.message, PROBLEMS[code].status === 503 ? RETRY_SOON : {});
  }
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return new ProblemError('BODY_TOO_LARGE', `the body has more than the limit of ${bodyLimit} bytes`);
  }
  if (error instanceof SyntaxError) {
    return new ProblemError('INVALID_JSON', `the body is not JSON: ${error.message} (there is no NaN and no Infinity)`);
  }
  const status = error.statusCode ?? 500;
  return status >= 400 && status < 500 ? new ProblemError('INVALID_REQUEST', error.message) : internal();
}

function internal(): ProblemError {
  return new ProblemError('INTERNAL', 'an unexpected error; the server log has it');
}
