import { ElboClient, type Schemas } from '@elbo/client';
import { signal } from '@preact/signals';
import { TroubleError, troubleOf, UNREACHABLE } from './problem.js';

export type ModelSummary = Schemas['ModelSummary'];
export type ModelDetails = Schemas['ModelDetails'];
export type AnomalyScores = Schemas['AnomalyScores'];
export type AnomalyScore = AnomalyScores['scores'][number];

const KEY = 'elbo-api-key';

/** The key that the service asked for; it lives as long as the tab. */
export const apiKey = signal(sessionStorage.getItem(KEY) ?? '');

/** Whether a call was answered 401, and with which words. */
export const keyWanted = signal<string | undefined>(undefined);

export function giveKey(key: string): void {
  sessionStorage.setItem(KEY, key);
  apiKey.value = key;
  keyWanted.value = undefined;
}

/** Where the service is: beside this page, whatever a proxy put before both. */
const BASE = new URL('.', location.href).href.replace(/\/$/, '');

/** Every route, in the types of the service's own document. */
export const service = new ElboClient({ baseUrl: BASE }).api;

service.use({
  onRequest: ({ request }) => {
    if (apiKey.peek() !== '') request.headers.set('authorization', `Bearer ${apiKey.peek()}`);
  },
});

/** A request as it was sent, to be shown as a command. */
export interface Sent {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
}

export interface Answered<T> {
  readonly value: T;
  readonly sent: Sent;
}

/** Options that each call passes on to the client. */
export type CallOptions = {
  readonly fetch: (request: Request) => Promise<Response>;
  readonly signal: AbortSignal;
};

interface ClientAnswer<T> {
  readonly data?: T;
  readonly error?: unknown;
  readonly response: Response;
}

/**
 * Makes one call and keeps how it was sent.
 * @throws {TroubleError} for every answer that is no success
 */
export async function answered<T>(
  signal: AbortSignal,
  call: (options: CallOptions) => Promise<ClientAnswer<T>>,
): Promise<Answered<T>> {
  let sent: Sent | undefined;
  const { data, error, response } = await call({
    signal,
    fetch: async (request) => {
      sent = await sentOf(request);
      try {
        return await fetch(request);
      } catch (error) {
        throw signal.aborted ? error : new TroubleError(UNREACHABLE);
      }
    },
  });
  if (response.ok && data !== undefined && sent !== undefined) return { value: data, sent };
  const trouble = troubleOf(response, error);
  if (response.status === 401) keyWanted.value = trouble.detail;
  throw new TroubleError(trouble);
}

const SHOWN_HEADERS = ['accept', 'content-type', 'authorization'];

async function sentOf(request: Request): Promise<Sent> {
  const isText = request.headers.get('content-type')?.startsWith('application/json') === true;
  return {
    method: request.method,
    url: request.url,
    headers: Object.fromEntries([...request.headers].filter(([name]) => SHOWN_HEADERS.includes(name))),
    body: isText ? await request.clone().text() : undefined,
  };
}

export const FLOAT32 = 'application/octet-stream';

/** Numbers of an answer in little-endian float32, as every browser's machine has them. */
export function float32Of({ value }: { readonly value: ArrayBuffer }): Float32Array {
  return new Float32Array(value);
}
