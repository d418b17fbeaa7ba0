import { availableParallelism } from 'node:os';
import { encodeModel } from '../onnx/encode.js';
import type { Graph } from '../onnx/graph.js';
import { simplify } from '../onnx/simplify.js';
import { DATA_TYPES, type DataType, type TensorData, type TypedArray } from '../onnx/tensor.js';
import type { Engine, Feeds, Program } from './engine.js';

// Read when the library is loaded, so before the import.
process.env.ORT_DISABLE_TELEMETRY = '1';
const { InferenceSession, Tensor } = await import('onnxruntime-node');
type Session = Awaited<ReturnType<typeof InferenceSession.create>>;

/** ONNX Runtime on the CPU. `run` blocks the thread it is called on until the graph is done. */
export class OnnxRuntimeEngine implements Engine {
  readonly name = 'onnxruntime';
  readonly threads: number;

  /** @throws {RangeError} where threads is not a whole number of at least 1 */
  constructor(threads = availableParallelism()) {
    // ONNX Runtime takes 0 for "as many as there are", with which results would not repeat on another machine.
    if (!(Number.isSafeInteger(threads) && threads >= 1)) {
      throw new RangeError(`threads must be a whole number of at least 1; it is ${threads}`);
    }
    this.threads = threads;
  }

  compile(graph: Graph): Promise<Program> {
    return this.load(encodeModel(simplify(graph).graph));
  }

  async load(model: Uint8Array): Promise<Program> {
    const session = await InferenceSession.create(model, {
      executionProviders: ['cpu'],
      intraOpNumThreads: this.threads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      graphOptimizationLevel: 'all',
      logSeverityLevel: 3,
    });
    return new OnnxRuntimeProgram(session);
  }
}

class OnnxRuntimeProgram implements Program {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  async run(feeds: Feeds): Promise<Record<string, TensorData>> {
    const inputs = Object.entries(feeds).map(([name, value]) => [
      name,
      new Tensor(value.dtype as 'float32', value.data as Float32Array, value.shape),
    ]);
    const outputs = await this.#session.run(Object.fromEntries(inputs));
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
