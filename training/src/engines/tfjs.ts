import { availableParallelism } from 'node:os';
import type { Graph } from '../onnx/graph.js';
import { graphFromModel } from '../onnx/graph-from-model.js';
import type { TensorData } from '../onnx/tensor.js';
import type { ConvolutionForm, Engine, Feeds, Program } from './engine.js';
import { EngineError } from './engine-error.js';
import { loadTfjs } from './load-tfjs.js';
import { Interpreter } from './tfjs/interpreter.js';
import { checkFeed, type Tf } from './tfjs/values.js';
import { loadWasmTfjs, type ProductGradient, rewriteProductGradient } from './tfjs/wasm.js';

export interface TfjsOptions {
  /** The best that loads: tfjs-node, else plain JavaScript; or WASM, which cannot train convolutions. */
  readonly backend?: 'best' | 'wasm';
  /** For WASM; a rewritten rule holds for the whole process. */
  readonly productGradient?: ProductGradient;
}

/**
 * Runs graphs by operators of TensorFlow.js, and takes gradients by tfjs's own differentiation instead of Elbo's rules,
 * which thereby have something independent to be held against. `run` blocks the thread until the graph is done.
 */
export class TfjsEngine implements Engine {
  readonly name = 'tfjs';
  readonly device = 'cpu';
  readonly convolutions: ConvolutionForm = 'operators';
  readonly threads: number;
  /** What computes, such as `tfjs, plain JavaScript`. */
  readonly backend: string;
  /** Why a better backend is not in use, in one line; absent where it is. */
  readonly note: string | undefined;
  readonly #tf: Tf;
  readonly #activate: () => Promise<void>;

  private constructor(tf: Tf, backend: string, note?: string) {
    this.#tf = tf;
    const own = tf.getBackend();
    // tfjs has one backend at a time for the whole process.
    this.#activate = async () => {
      if (tf.getBackend() !== own) await tf.setBackend(own);
    };
    this.backend = backend;
    this.note = note;
    this.threads = tf.getBackend() === 'tensorflow' ? nativeThreads() : 1;
  }

  /** @throws {EngineError} where the backend does not start */
  static async create({ backend = 'best', productGradient = 'own' }: TfjsOptions = {}): Promise<TfjsEngine> {
    if (backend === 'best') {
      const loaded = await loadTfjs();
      return new TfjsEngine(loaded.tf, loaded.backend, loaded.note);
    }
    const tf = await loadWasmTfjs();
    if (productGradient === 'rewritten') rewriteProductGradient(tf);
    return new TfjsEngine(tf, 'tfjs, WebAssembly');
  }

  /** @throws {EngineError} naming an operator that this engine does not have */
  async compile(graph: Graph): Promise<Program> {
    await this.#activate();
    return new TfjsProgram(graph, new Interpreter(this.#tf, graph), this.#activate);
  }

  /**
   * @throws {GraphError} where the bytes are no model that Elbo can read
   * @throws {EngineError} naming an operator that this engine does not have
   */
  async load(model: Uint8Array): Promise<Program> {
    return this.compile(graphFromModel(model));
  }
}

/** TensorFlow takes as many threads as there are cores unless told otherwise. */
function nativeThreads(): number {
  const told = Number(process.env.TF_NUM_INTRAOP_THREADS);
  return Number.isSafeInteger(told) && told >= 1 ? told : availableParallelism();
}

class TfjsProgram implements Program {
  readonly #graph: Graph;
  readonly #activate: () => Promise<void>;
  #interpreter: Interpreter | undefined;

  constructor(graph: Graph, interpreter: Interpreter, activate: () => Promise<void>) {
    this.#graph = graph;
    this.#interpreter = interpreter;
    this.#activate = activate;
  }

  /** @throws {EngineError} where a feed does not suit its input, or an operator fails */
  async run(feeds: Feeds, outputs?: readonly string[]): Promise<Record<string, TensorData>> {
    const values = this.#graph.inputs.map((input) => {
      const feed: TensorData | undefined = feeds[input.name];
      checkFeed(input.name, input, feed);
      return [input, feed] as const;
    });
    await this.#activate();
    if (this.#interpreter === undefined) throw new EngineError('the program has been disposed of');
    return this.#interpreter.run(new Map(values), outputs);
  }

  async release(): Promise<void> {
    this.#interpreter?.release();
    this.#interpreter = undefined;
  }
}
