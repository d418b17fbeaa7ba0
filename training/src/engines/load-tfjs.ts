import { EngineError } from './engine-error.js';
import { restoreRemovedUtilities } from './tfjs-node-compatibility.js';

type Tf = typeof import('@tensorflow/tfjs');

/** TensorFlow.js on the fastest backend that loads here. */
export interface LoadedTfjs {
  readonly tf: Tf;
  /** What computes: `tfjs-node (TensorFlow 2.15.1)` or `tfjs, plain JavaScript`. */
  readonly backend: string;
  /** Why the native backend is not in use, in one line; absent when it is. */
  readonly note?: string;
}

let loaded: Promise<LoadedTfjs> | undefined;

/**
 * Loads `@tensorflow/tfjs-node` where its native binding loads, else plain `@tensorflow/tfjs`, and sets its backend.
 * Prints nothing: tfjs's greeting and warnings are turned off, and TensorFlow's log unless `TF_CPP_MIN_LOG_LEVEL` is
 * set; a worker thread's environment is a copy that TensorFlow does not see, so there it must be set before. Loads once
 * for the process, because tfjs keeps one registry of backends. Threads: `TF_NUM_INTRAOP_THREADS` and
 * `TF_NUM_INTEROP_THREADS`, if set before the first call.
 */
export function loadTfjs(): Promise<LoadedTfjs> {
  loaded ??= load();
  return loaded;
}

async function load(): Promise<LoadedTfjs> {
  const tf = await loadPortable();
  tf.enableProdMode();
  const note = await loadNative();
  if (note === undefined && (await tf.setBackend('tensorflow'))) {
    return { tf, backend: `tfjs-node (TensorFlow ${tensorflowVersion(tf.backend())})` };
  }
  if (!(await tf.setBackend('cpu')))
    throw new Error('tfjs has no working backend: expected at least its JavaScript one');
  return { tf, backend: 'tfjs, plain JavaScript', note: note ?? 'the native backend of tfjs-node does not start' };
}

/** @throws {EngineError} where `@tensorflow/tfjs`, which is an optional dependency, is not installed */
async function loadPortable(): Promise<Tf> {
  try {
    return (await import('@tensorflow/tfjs')).default;
  } catch (error) {
    throw new EngineError('the engine tfjs is not installed: npm install @tensorflow/tfjs', { cause: error });
  }
}

/**
 * Registers the native backend with tfjs.
 * @returns why that failed, in one line, or undefined where it is there
 */
async function loadNative(): Promise<string | undefined> {
  restoreRemovedUtilities();
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  try {
    await import('@tensorflow/tfjs-node');
    return undefined;
  } catch (error) {
    const [reason = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
    if (reason.includes('native addon module')) {
      return "tfjs-node's native binding is not installed; `npm run setup:tfjs` installs it";
    }
    return `tfjs-node does not load: ${reason.trim()}`;
  }
}

/** The backend's type does not tell of its binding, which knows the library it is linked to. */
function tensorflowVersion(backend: object): string {
  if ('binding' in backend && typeof backend.binding === 'object' && backend.binding !== null) {
    const binding: { TF_Version?: unknown } = backend.binding;
    if (typeof binding.TF_Version === 'string') return binding.TF_Version;
  }
  return 'of unknown version';
}
