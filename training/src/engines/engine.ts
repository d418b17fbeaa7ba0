import type { Graph } from '../onnx/graph.js';
import type { TensorData } from '../onnx/tensor.js';

/** Values by the names of a graph's inputs or outputs. */
export type Feeds = Readonly<Record<string, TensorData>>;

/** A graph made ready to run. */
export interface Program {
  /**
   * Runs the graph once.
   * @param feeds a value for every input
   * @param outputs names of those that are wanted; all where left out. What none of them needs is not computed.
   * @returns a value for every output
   */
  run(feeds: Feeds, outputs?: readonly string[]): Promise<Record<string, TensorData>>;
  /** Frees what the program holds; it cannot run any more. */
  release(): Promise<void>;
}

/**
 * How convolutions are best written into a graph: as ONNX's operators, or as gathers and matrix products, which ONNX
 * Runtime trains faster on a CPU.
 */
export type ConvolutionForm = 'operators' | 'products';

/** What runs graphs. Training, evaluation and export know engines by this interface only. */
export interface Engine {
  readonly name: string;
  /** Where graphs run, such as `cpu` or `cuda`. */
  readonly device: string;
  /** How a graph that is trained on this engine should hold convolutions. */
  readonly convolutions: ConvolutionForm;
  /** Threads that one run may use: with the seed, what makes results repeat bit by bit. */
  readonly threads: number;
  compile(graph: Graph): Promise<Program>;
  /** Loads an `.onnx` file as it will be served. */
  load(model: Uint8Array): Promise<Program>;
}
