import type { Tensor as TfTensor } from '@tensorflow/tfjs';
import type { Graph } from '../../onnx/graph.js';
import type { Tensor } from '../../onnx/tensor.js';
import type { Differentiation } from './dependencies.js';
import type { Value } from './values.js';

/** Values that are known in one place, over those that are known around it. */
export interface Scope {
  readonly values: Map<Tensor, Value>;
  readonly below: Scope | undefined;
  /** The graph whose nodes are being computed. */
  readonly graph: Graph;
  /** Whether tfjs records what is computed, to differentiate it. */
  readonly isRecorded: boolean;
  /** Whether a value must be found here, and not below. */
  owns(tensor: Tensor): boolean;
}

/** A run of a graph: the whole, an iteration of a loop, or a branch. */
export class Frame implements Scope {
  readonly values = new Map<Tensor, Value>();
  readonly graph: Graph;
  readonly below: Scope | undefined;
  /** Differentiations that this run has begun. */
  readonly begun = new Set<Differentiation>();

  constructor(graph: Graph, below?: Scope) {
    this.graph = graph;
    this.below = below;
  }

  get isRecorded(): boolean {
    return this.below?.isRecorded ?? false;
  }

  owns(tensor: Tensor): boolean {
    return tensor.graph === this.graph;
  }
}

/** The computation of a loss that tfjs records: what depends on the parameters is computed anew. */
export class Recording implements Scope {
  readonly values = new Map<Tensor, Value>();
  /** What is added to parameters that are computed from others. */
  readonly offsets = new Map<Tensor, TfTensor>();
  readonly below: Scope;
  readonly isRecorded = true;
  readonly #differentiation: Differentiation;

  constructor(differentiation: Differentiation, below: Scope) {
    this.#differentiation = differentiation;
    this.below = below;
  }

  get graph(): Graph {
    return this.below.graph;
  }

  owns(tensor: Tensor): boolean {
    return this.#differentiation.touched.has(tensor);
  }
}
