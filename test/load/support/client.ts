import { once } from 'node:events';
import { type Agent, request as httpRequest } from 'node:http';
import { buffer } from 'node:stream/consumers';

export interface Request {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: Buffer;
  readonly milliseconds: number;
}

/** Posts and reads the whole answer; rejects where there is none. */
export async function post(url: string, agent: Agent, { path, headers, body }: Request): Promise<Answer> {
  const start = performance.now();
  const sent = httpRequest(`${url}${path}`, {
    method: 'POST',
    agent,
    headers: { ...headers, 'content-length': body.length },
  });
  sent.end(body);
  const [response] = await once(sent, 'response');
  return {
    status: response.statusCode ?? 0,
    type: response.headers['content-type'] ?? '',
    body: await buffer(response),
    milliseconds: performance.now() - start,
  };
}

/** Lets `clients` take turns until it is over. */
export async function inTurns(
  clients: number,
  isOver: () => boolean,
  turn: (n: number) => Promise<void>,
): Promise<void> {
  let n = 0;
  const client = async () => {
    while (!isOver()) await turn(n++);
  };
  await Promise.all(Array.from({ length: clients }, client));
}

/** Of unsorted values; NaN of none. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

/** Seconds of load: a few in `npm test`, ten minutes in `npm run test:load`. */
export const LOAD_SECONDS = Number(process.env.ELBO_LOAD_SECONDS ?? 10);
