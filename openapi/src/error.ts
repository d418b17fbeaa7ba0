import type { Schemas } from './types.js';

/** What is wrong, as RFC 9457 has it, with a stable `code` for programs. */
export type Problem = Schemas['Problem'];

/** An answer of the service, or of what is before it, that is no success. Where no answer came, `fetch`'s own error is thrown. */
export class ElboError extends Error {
  override readonly name = 'ElboError';
  /** The HTTP status. */
  readonly status: number;
  /** Absent where the answer is not the service's, such as a proxy's page. */
  readonly problem: Problem | undefined;
  /** Names the request in the service's log. */
  readonly requestId: string | undefined;
  /** Seconds after which the request is worth another try, where the answer says so. */
  readonly retryAfter: number | undefined;

  constructor(response: Response, body: unknown) {
    const problem = isProblem(body) ? body : undefined;
    super(
      problem === undefined ? `HTTP ${response.status} from ${response.url}` : `${problem.title}: ${problem.detail}`,
    );
    this.status = response.status;
    this.problem = problem;
    this.requestId = response.headers.get('x-request-id') ?? undefined;
    const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
    this.retryAfter = Number.isNaN(seconds) ? undefined : seconds;
  }
}

function isProblem(body: unknown): body is Problem {
  return typeof body === 'object' && body !== null && 'code' in body && 'detail' in body && 'title' in body;
}
