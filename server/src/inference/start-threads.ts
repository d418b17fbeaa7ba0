import { InferenceError } from './errors.js';
import { cudaLibraryMissing, type Provider, type ProviderChoice, providersToTry, unusableReason } from './provider.js';
import { WorkerThread } from './worker-thread.js';

export interface ThreadOptions {
  readonly provider: ProviderChoice;
  readonly workers: number;
  readonly threads: number;
  /** Numbers of the GPUs, which the workers take in turn; the first GPU alone where unset. */
  readonly devices?: readonly number[] | undefined;
}

/** Threads that can use the provider and hold no model yet. */
export interface StartedThreads {
  readonly provider: Provider;
  /** Why the provider is not the one that was hoped for. */
  readonly note: string | undefined;
  /** One a worker, in the order of the workers. */
  readonly threads: readonly WorkerThread[];
}

/**
 * Finds the first provider that can be used here, and starts a thread with it for each worker. It needs neither the models
 * nor what reads them, so that ONNX Runtime loads while the main thread loads its own modules.
 * @throws {InferenceError} PROVIDER_UNAVAILABLE, naming the provider that was asked for and ONNX Runtime's reason
 */
export async function startThreads(options: ThreadOptions): Promise<StartedThreads> {
  const { provider: choice, workers } = options;
  let note: string | undefined;
  if (choice === 'auto') note = cudaLibraryMissing();
  if (choice === 'cuda') {
    const missing = cudaLibraryMissing();
    if (missing !== undefined) throw unavailable('cuda', missing);
  }
  for (const provider of providersToTry(choice)) {
    try {
      const threads = await allStarted(
        Array.from({ length: workers }, (_, index) => startThread(options, provider, index, index === 0)),
      );
      return { provider, note: provider === 'cpu' ? note : undefined, threads };
    } catch (error) {
      const reason = unusableReason(provider, (error as Error).message);
      if (choice !== 'auto' || provider === 'cpu') throw unavailable(provider, reason);
      note = reason;
    }
  }
  throw unavailable(choice, 'no provider can be used');
}

/** @param index of the worker that the thread is for */
export function startThread(
  { threads, devices }: ThreadOptions,
  provider: Provider,
  index: number,
  probe = false,
): Promise<WorkerThread> {
  const device = devices?.[index % devices.length];
  return WorkerThread.start({ provider, threads, device, probe: probe && provider !== 'cpu' });
}

/** Waits until every start has ended, so that no thread is left behind: where one has failed, the others are stopped. */
export async function allStarted<Started extends { stop(): Promise<void> }>(
  starts: readonly Promise<Started>[],
): Promise<Started[]> {
  const ended = await Promise.allSettled(starts);
  const started = ended.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
  for (const end of ended) {
    if (end.status === 'fulfilled') continue;
    await Promise.all(started.map((one) => one.stop()));
    throw end.reason;
  }
  return started;
}

function unavailable(provider: string, reason: string): InferenceError {
  return new InferenceError('PROVIDER_UNAVAILABLE', `provider ${provider} cannot be used: ${reason}`);
}
