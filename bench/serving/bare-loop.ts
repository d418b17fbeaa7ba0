import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

export interface BareLoopJob {
  readonly graph: string;
  readonly shape: readonly number[];
  readonly rows: number;
  readonly seconds: number;
}

/**
 * The same graph in loops without HTTP, a thread a core with one thread of ONNX Runtime each: what a server could reach
 * that did nothing else.
 * @returns items a second
 */
export async function bareLoop(job: BareLoopJob, threads: number): Promise<number> {
  const workers = Array.from(
    { length: threads },
    () => new Worker(new URL('./bare-loop-thread.js', import.meta.url), { workerData: job }),
  );
  // A thread ends by itself: to interrupt native code ends the whole process.
  const ended = workers.map((worker) => once(worker, 'exit'));
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  const results = workers.map((worker) => once(worker, 'message') as Promise<[number]>);
  for (const worker of workers) worker.postMessage('go');
  const rates = await Promise.all(results);
  await Promise.all(ended);
  return rates.reduce((sum, [itemsPerSecond]) => sum + itemsPerSecond, 0);
}
