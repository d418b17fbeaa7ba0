import { Worker } from 'node:worker_threads';
import { DataError } from '../data/data-error.js';
import type { Examples } from '../data/dataset.js';
import type { Batches, BatchPlan } from './batches.js';

export interface LoaderData {
  readonly examples: Pick<Examples, 'count' | 'shape' | 'dtype' | 'storage' | 'rows' | 'labels'>;
  readonly plan: BatchPlan;
}
export type LoaderRequest = { readonly step: number; readonly steps: number } | { readonly spent: Batches } | 'close';
export type LoaderReply = { readonly batches: Batches } | { readonly failure: Error; readonly kind: string };

/**
 * Minibatches from a thread of its own, so that reading, shuffling and drawing noise cost training no time. One request
 * is answered after the other; ask for the next steps before training the present ones.
 */
export class BatchLoader {
  readonly #worker: Worker;
  readonly #ended: Promise<void>;
  #last: Promise<unknown> = Promise.resolve();
  /** Who waits for the thread's next reply: one at a time. A reaction kept on `#ended` would keep every reply. */
  #waiting: { resolve(reply: LoaderReply): void; reject(error: Error): void } | undefined;
  #hasEnded = false;

  constructor({ count, shape, dtype, storage, rows, labels }: Examples, plan: BatchPlan) {
    const workerData: LoaderData = {
      examples: { count, shape, dtype, storage, ...(rows && { rows }), ...(plan.labels && labels && { labels }) },
      plan,
    };
    this.#worker = new Worker(new URL('./batch-loader-thread.js', import.meta.url), { workerData });
    this.#worker.on('message', (reply: LoaderReply) => this.#waiting?.resolve(reply));
    this.#ended = new Promise((resolve) => {
      this.#worker.once('exit', () => {
        this.#hasEnded = true;
        this.#waiting?.reject(endedError());
        resolve();
      });
    });
    // What ends the thread is told to whoever waits for minibatches; a forgotten loader holds up no process.
    this.#worker.on('error', () => {});
    this.#worker.unref();
  }

  /**
   * The inputs of the steps from `step` (from 0) up to, not including, `step + steps`, all of one epoch.
   * @throws {DataError} where the examples cannot be read
   */
  load(step: number, steps: number): Promise<Batches> {
    const answer = this.#last.then(() => this.#ask({ step, steps }));
    this.#last = answer.catch(() => {});
    return answer;
  }

  /**
   * Gives batches back, whose memory the next ones take: garbage is collected late, and without this 2 GB of rows train in
   * a third more memory. Their arrays are empty from then on.
   */
  recycle(spent: Batches): void {
    this.#worker.postMessage({ spent } satisfies LoaderRequest, buffersOf(spent));
  }

  /** Ends the thread after the request that it is at. */
  async close(): Promise<void> {
    await this.#last;
    this.#worker.ref();
    this.#worker.postMessage('close' satisfies LoaderRequest);
    await this.#ended;
  }

  async #ask(request: { readonly step: number; readonly steps: number }): Promise<Batches> {
    this.#worker.ref();
    try {
      if (this.#hasEnded) throw endedError();
      const reply = await new Promise<LoaderReply>((resolve, reject) => {
        this.#waiting = { resolve, reject };
        this.#worker.postMessage(request satisfies LoaderRequest);
      });
      if ('batches' in reply) return reply.batches;
      throw reply.kind === 'DataError' ? new DataError(reply.failure.message, { cause: reply.failure }) : reply.failure;
    } finally {
      this.#waiting = undefined;
      this.#worker.unref();
    }
  }
}

function endedError(): Error {
  return new Error('the thread that loads minibatches ended');
}

/** What carries batches between threads without a copy. */
export function buffersOf({ examples, thresholds, labels, noise }: Batches): ArrayBuffer[] {
  return [examples, thresholds, labels, ...Object.values(noise)].flatMap((array) =>
    array === undefined ? [] : [array.buffer as ArrayBuffer],
  );
}
