/**
 * The one module that touches ONNX Runtime. Sessions block the thread that they run on (`run()` is synchronous inside
 * a `setImmediate`), so it is loaded in worker threads only.
 */
import { env, InferenceSession, Tensor } from 'onnxruntime-node';
import type { Provider } from './provider.js';

// A failure comes as an exception with the same text; ONNX Runtime's own lines on stderr would break the JSON log.
env.logLevel = 'fatal';

export interface TensorDescription {
  readonly name: string;
  readonly type: string;
  /** A string is a dynamic dimension. */
  readonly shape: readonly (number | string)[];
}

export interface GraphDescription {
  readonly inputs: readonly TensorDescription[];
  readonly outputs: readonly TensorDescription[];
}

export interface InputTensor {
  readonly name: string;
  readonly data: Float32Array;
  readonly dims: readonly number[];
}

export interface OutputTensor {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}

export interface SessionOptions {
  readonly provider: Provider;
  readonly threads: number;
  /** Number of the GPU; the first where unset. */
  readonly device?: number | undefined;
}

/** One loaded graph. */
export class GraphSession {
  readonly description: GraphDescription;
  #session: InferenceSession;

  private constructor(session: InferenceSession) {
    this.#session = session;
    this.description = {
      inputs: session.inputMetadata.map(describe),
      outputs: session.outputMetadata.map(describe),
    };
  }

  static async load(graph: Uint8Array, { provider, threads, device }: SessionOptions): Promise<GraphSession> {
    const session = await InferenceSession.create(graph, {
      executionProviders: provider === 'cpu' ? ['cpu'] : [gpuProvider(provider, device), 'cpu'],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      // An arena a session keeps 20 MiB of three models for nothing, and as much again under load; malloc is as fast.
      enableCpuMemArena: false,
      // Spinning threads take the CPU from the other workers and from the HTTP thread.
      extra: { session: { intra_op: { allow_spinning: '0' } } },
    });
    return new GraphSession(session);
  }

  /** @returns the named outputs, each over memory of its own. */
  async run(inputs: readonly InputTensor[], outputs: readonly string[]): Promise<Record<string, OutputTensor>> {
    const feeds = Object.fromEntries(inputs.map(({ name, data, dims }) => [name, new Tensor('float32', data, dims)]));
    const results = await this.#session.run(feeds, [...outputs]);
    const tensors: Record<string, OutputTensor> = {};
    for (const name of outputs) {
      const tensor = results[name];
      if (!(tensor?.data instanceof Float32Array)) throw new Error(`output ${name} is not float32`);
      tensors[name] = { data: tensor.data, dims: tensor.dims };
    }
    return tensors;
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}

function gpuProvider(
  provider: Exclude<Provider, 'cpu'>,
  device: number | undefined,
): InferenceSession.ExecutionProviderConfig {
  return provider === 'cuda' && device !== undefined ? { name: 'cuda', deviceId: device } : provider;
}

/** y = Relu(x) for one number: with it, a failure to load is the provider's, not some model's. */
const PROBE_GRAPH = 'CAgSBGVsYm86NwoMCgF4EgF5IgRSZWx1EgVwcm9iZVoPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEA0=';

/** Rejects with ONNX Runtime's reason where the provider can't be used here. */
export async function probeProvider(options: SessionOptions): Promise<void> {
  const session = await GraphSession.load(new Uint8Array(Buffer.from(PROBE_GRAPH, 'base64')), options);
  await session.run([{ name: 'x', data: Float32Array.of(1), dims: [1] }], ['y']);
  await session.release();
}

function describe(value: InferenceSession.ValueMetadata): TensorDescription {
  if (!value.isTensor) return { name: value.name, type: 'not a tensor', shape: [] };
  return { name: value.name, type: value.type, shape: value.shape };
}
