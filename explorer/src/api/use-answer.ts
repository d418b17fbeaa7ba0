import { useEffect, useRef, useState } from 'preact/hooks';
import { type Trouble, troubleOfError } from './problem.js';
import { apiKey } from './service.js';

export interface Answer<T> {
  /** The last answer, also while the next one is on its way. */
  readonly value: T | undefined;
  readonly trouble: Trouble | undefined;
  readonly pending: boolean;
  /** When the page tries again by itself, in seconds from the answer. */
  readonly retryIn: number | undefined;
  readonly retry: () => void;
}

export type Ask<T> = (signal: AbortSignal) => Promise<T>;

/** Up to this many seconds the page waits longer than the service asks for. */
const LONGEST_WAIT = 30;
/** A timer takes no month, and whoever waits for longer has a button. */
const LONGEST_ASKED = 3600;

interface State<T> {
  readonly value?: T;
  readonly trouble?: Trouble;
  readonly pending: boolean;
  readonly retryIn?: number;
}

/** One request at a time: the newest that was asked for. */
class Latest<T> {
  #controller: AbortController | undefined;
  /** What comes after the one on its way, or after the time that the service asked for. */
  #next: Ask<T> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #attempts = 0;
  readonly #show: (change: (state: State<T>) => State<T>) => void;

  constructor(show: (change: (state: State<T>) => State<T>) => void) {
    this.#show = show;
  }

  /** @param letFinish whether what is under way goes on, and this comes after it; else it is cancelled */
  ask(ask: Ask<T>, letFinish: boolean): void {
    if (letFinish && (this.#controller !== undefined || this.#timer !== undefined)) {
      this.#next = ask;
      return;
    }
    this.#attempts = 0;
    void this.#start(ask);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#next = undefined;
    this.#controller?.abort();
    this.#controller = undefined;
  }

  async #start(ask: Ask<T>): Promise<void> {
    this.stop();
    const controller = new AbortController();
    this.#controller = controller;
    this.#show(({ value, trouble }) => ({ value, trouble, pending: true }));
    const outcome = await ask(controller.signal).then(
      (value) => ({ value, trouble: undefined }),
      (error: unknown) => ({ value: undefined, trouble: troubleOfError(error) }),
    );
    if (this.#controller !== controller) return;
    this.#controller = undefined;
    const { trouble } = outcome;
    if (trouble?.retryAfter !== undefined) {
      this.#askLater(this.#next ?? ask, trouble, trouble.retryAfter);
      return;
    }
    this.#attempts = 0;
    const next = this.#next;
    this.#show(({ value }) => ({ value: outcome.value ?? value, trouble, pending: next !== undefined }));
    if (next !== undefined) void this.#start(next);
  }

  /** Longer each time, since whoever is asked too much asks everybody to come again. */
  #askLater(ask: Ask<T>, trouble: Trouble, seconds: number): void {
    const asked = Math.min(LONGEST_ASKED, Math.max(1, seconds));
    const retryIn = Math.max(asked, Math.min(LONGEST_WAIT, asked * 2 ** this.#attempts++));
    this.#next = ask;
    this.#show(({ value }) => ({ value, trouble, pending: false, retryIn }));
    this.#timer = setTimeout(() => void this.#start(this.#next ?? ask), retryIn * 1000);
  }
}

/**
 * Asks whenever `key` changes, and once more when a key for the service was given.
 * @param key names what is asked; undefined asks nothing
 * @param live what was asked before is answered before the next is asked, as a slider needs it: never a queue, and never
 *   a slider that shows nothing for as long as it moves. Else it is cancelled.
 */
export function useAnswer<T>(key: string | undefined, ask: Ask<T>, { live = false } = {}): Answer<T> {
  const [state, setState] = useState<State<T>>({ pending: key !== undefined });
  const latest = useRef<Latest<T>>(undefined);
  latest.current ??= new Latest<T>(setState);
  const newest = useRef(ask);
  newest.current = ask;
  const credentials = apiKey.value;

  useEffect(() => {
    if (key === undefined) {
      latest.current?.stop();
      setState({ pending: false });
    } else latest.current?.ask(newest.current, live);
  }, [key, credentials]);
  useEffect(() => () => latest.current?.stop(), []);

  return {
    value: state.value,
    trouble: state.trouble,
    pending: state.pending,
    retryIn: state.retryIn,
    retry: () => latest.current?.ask(newest.current, false),
  };
}
