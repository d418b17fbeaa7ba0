/** What went wrong with a request, for people. */
export interface Trouble {
  readonly title: string;
  readonly detail: string;
  /** The HTTP status; undefined where no answer came. */
  readonly status: number | undefined;
  /** Seconds after which the service asks to try again. */
  readonly retryAfter: number | undefined;
}

export class TroubleError extends Error {
  readonly trouble: Trouble;

  constructor(trouble: Trouble) {
    super(trouble.detail);
    this.trouble = trouble;
  }
}

export const UNREACHABLE: Trouble = {
  title: 'The service cannot be reached',
  detail: 'Is it running, and is this device online?',
  status: undefined,
  retryAfter: undefined,
};

/** Of an answer that is no success; `body` is a problem document where the service itself answered. */
export function troubleOf(response: Response, body: unknown): Trouble {
  const problem = typeof body === 'object' && body !== null ? (body as { title?: unknown; detail?: unknown }) : {};
  const retryAfter = Number(response.headers.get('retry-after') ?? Number.NaN);
  return {
    title: typeof problem.title === 'string' ? problem.title : `The answer was ${response.status}`,
    detail:
      typeof problem.detail === 'string' ? problem.detail : 'Something between this page and the service answered.',
    status: response.status,
    retryAfter: Number.isFinite(retryAfter) ? retryAfter : undefined,
  };
}

export function troubleOfError(error: unknown): Trouble {
  if (error instanceof TroubleError) return error.trouble;
  return { title: 'This page failed', detail: String(error), status: undefined, retryAfter: undefined };
}
