import { type TransferListItem, Worker } from 'node:worker_threads';
import { InferenceError } from './errors.js';
import type { WorkerOptions, WorkerReply, WorkerRequest, WorkerResults } from './protocol.js';

// Read by native code when the library loads. A worker's process.env is a copy that native code doesn't see, so it is set here.
process.env.ORT_DISABLE_TELEMETRY = '1';

interface Pending {
  readonly resolve: (result: never) => void;
  readonly reject: (error: Error) => void;
}

/** The main thread's side of one inference worker. */
export class WorkerThread {
  /** Settles, with the reason, when the thread has ended for whatever cause. */
  readonly lost: Promise<string>;
  #worker: Worker;
  #pending = new Map<number, Pending>();
  #nextId = 0;
  #ended: string | undefined;

  private constructor(worker: Worker) {
    this.#worker = worker;
    worker.on('message', (reply: WorkerReply) => {
      if (reply.kind !== 'result' && reply.kind !== 'error') return;
      const pending = this.#pending.get(reply.id);
      this.#pending.delete(reply.id);
      if (reply.kind === 'result') pending?.resolve(reply.result as never);
      else pending?.reject(new InferenceError('RUN_FAILED', reply.message));
    });
    this.lost = new Promise((resolve) => {
      let reason: string | undefined;
      worker.on('error', (error) => {
        reason = error.message;
      });
      worker.on('exit', (code) => {
        this.#ended = reason ?? `it exited with code ${code}`;
        for (const { reject } of this.#pending.values()) reject(lostError(this.#ended));
        this.#pending.clear();
        resolve(this.#ended);
      });
    });
  }

  /**
   * Starts a thread and waits until it can load models.
   * @throws {InferenceError} PROVIDER_UNAVAILABLE with ONNX Runtime's reason; WORKER_LOST where the thread ends before
   */
  static async start(options: WorkerOptions): Promise<WorkerThread> {
    const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: options, name: 'inference' });
    const thread = new WorkerThread(worker);
    const first = new Promise<WorkerReply>((resolve) => worker.once('message', resolve));
    const reply = await Promise.race([first, thread.lost]);
    if (typeof reply === 'string') throw lostError(reply);
    if (reply.kind === 'unusable') {
      await thread.lost;
      throw new InferenceError('PROVIDER_UNAVAILABLE', reply.reason);
    }
    return thread;
  }

  /**
   * Sends a request; buffers in `transfer` move to the thread and are gone here.
   * @throws {InferenceError} RUN_FAILED with the thread's reason, WORKER_LOST where it ends before the answer
   */
  call<Kind extends WorkerRequest['kind']>(
    request: Extract<WorkerRequest, { kind: Kind }>,
    transfer: readonly TransferListItem[] = [],
  ): Promise<WorkerResults[Kind]> {
    if (this.#ended !== undefined) return Promise.reject(lostError(this.#ended));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#worker.postMessage({ id, request }, [...transfer]);
    });
  }

  /**
   * Lets the thread finish what it was sent, release its sessions and end. `Worker.terminate()` is no way: it interrupts
   * native code, and onnxruntime-node then aborts the whole process with an uncaught Napi::Error.
   */
  async stop(): Promise<void> {
    await Promise.allSettled([this.call({ kind: 'stop' })]);
    await this.lost;
  }
}

function lostError(reason: string): InferenceError {
  return new InferenceError('WORKER_LOST', `the inference worker was lost: ${reason}`);
}
