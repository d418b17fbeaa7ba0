import { type TransferListItem, Worker } from 'node:worker_threads';
import { InferenceError } from './errors.js';
import type { WorkerOptions, WorkerReply, WorkerRequest, WorkerResults } from './protocol.js';

// Read by native code when the library loads. A worker's process.env is a copy that native code doesn't see, so it is set here.
process.env.ORT_DISABLE_TELEMETRY = '1';

interface Pending {
  readonly resolve: (result: never) => void;
  readonly reject: (error: Error) => void;
}

/** Threads that were given up and have not ended. */
const hanging = new Set<WorkerThread>();

/** Whether a thread hangs in native code: `process.exit` would wait for it forever. */
export function anyThreadHangs(): boolean {
  return hanging.size > 0;
}

/** The main thread's side of one inference worker. */
export class WorkerThread {
  /** Settles, with the reason, when the thread has ended for whatever cause. */
  readonly lost: Promise<string>;
  #worker: Worker;
  #pending = new Map<number, Pending>();
  #nextId = 0;
  #ended: string | undefined;
  #end: (reason: string) => void = () => {};

  private constructor(worker: Worker) {
    this.#worker = worker;
    worker.on('message', (reply: WorkerReply) => {
      if (reply.kind !== 'result' && reply.kind !== 'error') return;
      const pending = this.#pending.get(reply.id);
      this.#pending.delete(reply.id);
      if (reply.kind === 'result') pending?.resolve(reply.result as never);
      else pending?.reject(runError(reply.message));
    });
    this.lost = new Promise((resolve) => {
      let reason: string | undefined;
      worker.on('error', (error) => {
        reason = error.message;
      });
      this.#end = (ended) => {
        if (this.#ended !== undefined) return;
        this.#ended = ended;
        for (const { reject } of this.#pending.values()) reject(lostError(ended));
        this.#pending.clear();
        resolve(ended);
      };
      worker.on('exit', (code) => {
        hanging.delete(this);
        this.#end(reason ?? `it exited with code ${code}`);
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
   * Counts the thread as lost although it still runs, because it hangs in native code, where nothing can stop it (see
   * `stop`). If it ever comes back, it releases its sessions and ends.
   */
  abandon(reason: string): void {
    hanging.add(this);
    this.#worker.postMessage({ id: this.#nextId++, request: { kind: 'stop' } });
    this.#worker.unref();
    this.#end(reason);
  }

  /**
   * Lets the thread finish what it was sent, release its sessions and end. `Worker.terminate()` is no way: it interrupts
   * native code, and onnxruntime-node then aborts the whole process with an uncaught Napi::Error.
   */
  async stop(): Promise<void> {
    if (this.#ended !== undefined) return;
    await Promise.allSettled([this.call({ kind: 'stop' })]);
    await this.lost;
  }
}

/** What ONNX Runtime and the CUDA allocator say where a device is full. */
const OUT_OF_MEMORY = /out of memory|failed to allocate memory|CUDA_ERROR_OUT_OF_MEMORY|bad_alloc/i;

/** A failure of a run, told apart by ONNX Runtime's text, which has no codes. */
export function runError(message: string): InferenceError {
  return new InferenceError(OUT_OF_MEMORY.test(message) ? 'OUT_OF_MEMORY' : 'RUN_FAILED', message);
}

function lostError(reason: string): InferenceError {
  return new InferenceError('WORKER_LOST', `the inference worker was lost: ${reason}`);
}
