import { availableParallelism } from 'node:os';
import { encodeModel } from '../onnx/encode.js';
import type { Graph } from '../onnx/graph.js';
import { simplify } from '../onnx/simplify.js';
import { sizeConstants } from '../onnx/size-constants.js';
import {
  DATA_TYPES,
  type DataType,
  type Tensor as OnnxTensor,
  type TensorData,
  type TypedArray,
} from '../onnx/tensor.js';
import type { ConvolutionForm, Engine, Feeds, Program } from './engine.js';
import { EngineError } from './engine-error.js';

// Read when the library is loaded, so before the import.
process.env.ORT_DISABLE_TELEMETRY = '1';
const { InferenceSession, Tensor } = await import('onnxruntime-node');
type Session = Awaited<ReturnType<typeof InferenceSession.create>>;

/** Where ONNX Runtime can run graphs: its execution providers, by the names that users know. */
export const DEVICES = ['cpu', 'cuda', 'webgpu'] as const;
export type Device = (typeof DEVICES)[number];

export { EngineError };

/** ONNX Runtime. `run` blocks the thread it is called on until the graph is done. */
export class OnnxRuntimeEngine implements Engine {
  readonly name = 'onnxruntime';
  readonly device: Device;
  readonly convolutions: ConvolutionForm;
  readonly threads: number;

  /** @throws {RangeError} where threads is not a whole number of at least 1 */
  constructor(threads = availableParallelism(), device: Device = 'cpu') {
    // ONNX Runtime takes 0 for "as many as there are", with which results would not repeat on another machine.
    if (!(Number.isSafeInteger(threads) && threads >= 1)) {
      throw new RangeError(`threads must be a whole number of at least 1; it is ${threads}`);
    }
    this.threads = threads;
    this.device = device;
    // A GPU has kernels of its own for convolutions, and its providers fuse what follows them.
    this.convolutions = device === 'cpu' ? 'products' : 'operators';
  }

  /**
   * Simplifies the graph. On the CPU, ONNX Runtime gets the constants that tell sizes as inputs: where it knows a size
   * while it plans, it keeps a buffer for the next result of exactly that size instead of freeing it, so that the sizes of
   * feature maps and patches add up (a quarter of a convolutional step's memory, see bench/training/TRIES.md).
   */
  compile(graph: Graph): Promise<Program> {
    const simplified = simplify(graph).graph;
    const sizes = this.device === 'cpu' ? sizeConstants(simplified) : new Set<OnnxTensor>();
    const feeds = [...sizes].flatMap(({ name, constant }) =>
      constant === undefined ? [] : [[name, constant] as const],
    );
    return this.#load(encodeModel(simplified, '', sizes), Object.fromEntries(feeds));
  }

  load(model: Uint8Array): Promise<Program> {
    return this.#load(model, {});
  }

  /**
   * @param constants fed at every run
   * @throws {EngineError} where the device cannot be used
   */
  async #load(model: Uint8Array, constants: Feeds): Promise<Program> {
    try {
      return new OnnxRuntimeProgram(await this.#createSession(model), constants);
    } catch (error) {
      if (this.device === 'cpu') throw error;
      const [reason] = (error as Error).message.split('\n');
      throw new EngineError(`device ${this.device} cannot be used: ${reason}`, { cause: error });
    }
  }

  #createSession(model: Uint8Array): Promise<Session> {
    return InferenceSession.create(model, {
      // What a GPU has no kernel for runs on the CPU.
      executionProviders: this.device === 'cpu' ? ['cpu'] : [this.device, 'cpu'],
      intraOpNumThreads: this.threads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      // Planned offsets save no time in a training loop, and take a quarter more memory (bench/training/TRIES.md).
      enableMemPattern: false,
      graphOptimizationLevel: 'all',
      logSeverityLevel: 3,
    });
  }
}

class OnnxRuntimeProgram implements Program {
  readonly #session: Session;
  readonly #constants: Feeds;

  constructor(session: Session, constants: Feeds) {
    this.#session = session;
    this.#constants = constants;
  }

  async run(feeds: Feeds, names?: readonly string[]): Promise<Record<string, TensorData>> {
    const inputs = Object.entries({ ...feeds, ...this.#constants }).map(([name, value]) => [
      name,
      new Tensor(value.dtype as 'float32', value.data as Float32Array, value.shape),
    ]);
    const wanted = Object.fromEntries(inputs);
    const outputs = await (names === undefined ? this.#session.run(wanted) : this.#session.run(wanted, [...names]));
    return Object.fromEntries(
      Object.entries(outputs).map(([name, { type, dims, data }]) => {
        if (!(type in DATA_TYPES)) throw new Error(`output ${name} has the unexpected element type ${type}`);
        return [name, { dtype: type as DataType, shape: dims, data: data as TypedArray }];
      }),
    );
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}
