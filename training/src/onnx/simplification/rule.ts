import type { Attributes, Node } from '../graph.js';
import {
  elementCount,
  float32,
  int64,
  isStatic,
  type Shape,
  sameShape,
  type Tensor,
  type TensorData,
} from '../tensor.js';
import type { GraphView } from './graph-view.js';

/** A better form for some nodes with one output; it says nothing about nodes of any other kind. */
export interface Rule {
  readonly name: string;
  /** What to use instead of the node's output, of the same type and shape; `undefined` where the node is fine. */
  readonly rewrite: (match: Match) => Tensor | undefined;
}

/** What the new graph offers to a rule. */
interface NewGraph {
  of(tensor: Tensor): Tensor;
  isReady(tensor: Tensor): boolean;
  emit(operator: string, inputs: readonly (Tensor | undefined)[], attributes: Attributes): readonly Tensor[];
  constant(value: TensorData): Tensor;
}

/** A number, or a value of the old graph with one element. */
export type Factor = number | Tensor;

/**
 * A node of the old graph, to be matched there, and the means to write its better form into the new graph. Old values
 * are looked at and never used in new nodes but through `of`.
 */
export class Match {
  readonly node: Node;
  readonly output: Tensor;
  readonly #view: GraphView;
  readonly #graph: NewGraph;

  constructor(node: Node, view: GraphView, graph: NewGraph) {
    this.node = node;
    this.output = node.outputs[0] as Tensor;
    this.#view = view;
    this.#graph = graph;
  }

  /** The old values that the node takes, where it takes exactly that many. */
  inputs(count: 1): readonly [Tensor] | undefined;
  inputs(count: 2): readonly [Tensor, Tensor] | undefined;
  inputs(count: number): readonly Tensor[] | undefined {
    const given = this.node.inputs.filter((input) => input !== undefined);
    return given.length === count && this.node.inputs.length === count ? given : undefined;
  }

  producer(tensor: Tensor, ...operators: readonly string[]): Node | undefined {
    const node = this.#view.producer(tensor);
    return node !== undefined && (operators.length === 0 || operators.includes(node.operator)) ? node : undefined;
  }

  /**
   * The node that computes a value, where this node alone uses it: then it need not be computed any more once this node
   * does without. Not where it is computed outside the loop or branch that this node stands in, since that is once.
   */
  absorbable(tensor: Tensor, ...operators: readonly string[]): Node | undefined {
    const node = this.producer(tensor, ...operators);
    const isOnlyHere = tensor.graph === this.output.graph && this.#view.consumers(tensor).length === 1;
    return isOnlyHere ? node : undefined;
  }

  consumers(tensor: Tensor): readonly Node[] {
    return this.#view.consumers(tensor);
  }

  /** Whether the node is an output's declaration, which is no computation. */
  isDeclaration(node: Node): boolean {
    return this.#view.isDeclaration(node);
  }

  /** The value of an old product of the two that is computed before this node, in this graph or around it. */
  productBefore(a: Tensor, b: Tensor): Tensor | undefined {
    const product = this.#view.productOf(a, b)?.outputs[0];
    return product !== undefined && this.#graph.isReady(product) && this.output.graph.sees(product)
      ? product
      : undefined;
  }

  of(tensor: Tensor): Tensor {
    return this.#graph.of(tensor);
  }

  /** A new node's only output. */
  emit(operator: string, inputs: readonly (Tensor | undefined)[], attributes: Attributes = {}): Tensor {
    return this.#graph.emit(operator, inputs, attributes)[0] as Tensor;
  }

  constant(value: TensorData): Tensor {
    return this.#graph.constant(value);
  }

  number(value: number): Tensor {
    return this.constant(float32([value], []));
  }

  vector(values: readonly number[]): Tensor {
    return this.constant(int64(values));
  }

  /** The new value of a factor. */
  factor(factor: Factor): Tensor {
    return typeof factor === 'number' ? this.number(factor) : this.of(factor);
  }

  /** The new value of the product of two factors. */
  productOf(a: Factor, b: Factor): Tensor {
    if (typeof a === 'number' && typeof b === 'number') return this.number(Math.fround(a * b));
    if (a === 1) return this.factor(b);
    if (b === 1) return this.factor(a);
    if (a === -1) return this.emit('Neg', [this.factor(b)]);
    if (b === -1) return this.emit('Neg', [this.factor(a)]);
    return this.emit('Mul', [this.factor(a), this.factor(b)]);
  }
}

/** The number that a nameless float32 constant holds in every element. A named one is a weight, which is left alone. */
export function numberOf(tensor: Tensor): number | undefined {
  const { constant } = tensor;
  if (constant === undefined || constant.dtype !== 'float32' || !tensor.graph.isNameless(tensor)) return undefined;
  const [first] = constant.data;
  const isUniform = constant.data.length <= 16 && constant.data.every((value) => value === first);
  return isUniform && first !== undefined ? Number(first) : undefined;
}

/** How many elements a value has; unknown where an axis has a name. */
export function sizeOf({ shape }: Tensor): number | undefined {
  return isStatic(shape) ? elementCount(shape) : undefined;
}

export function hasOneElement(tensor: Tensor): boolean {
  return sizeOf(tensor) === 1;
}

/** Whether the first is known to have fewer elements; a single one is fewer than an unknown number of several. */
export function isSmaller(a: Tensor, b: Tensor): boolean {
  const [sizeOfA, sizeOfB] = [sizeOf(a), sizeOf(b)];
  return sizeOfA !== undefined && (sizeOfB === undefined ? sizeOfA === 1 : sizeOfA < sizeOfB);
}

/** The shape of an elementwise operation's result by NumPy's rule; `undefined` where the shapes do not fit. */
export function broadcastShape(...shapes: readonly Shape[]): Shape | undefined {
  return shapes.reduce<Shape | undefined>((a, b) => {
    if (a === undefined) return undefined;
    const rank = Math.max(a.length, b.length);
    const shape = Array.from({ length: rank }, (_, axis) => {
      const left = a[axis - rank + a.length] ?? 1;
      const right = b[axis - rank + b.length] ?? 1;
      if (left === right || right === 1) return left;
      return left === 1 ? right : undefined;
    });
    return shape.every((dimension) => dimension !== undefined) ? shape : undefined;
  }, []);
}

export function broadcastsTo(shape: Shape, ...shapes: readonly Shape[]): boolean {
  const together = broadcastShape(...shapes);
  return together !== undefined && sameShape(together, shape);
}

/**
 * A value as something large times one element, or one element times a number: Mul or Div, or Neg.
 * @param node what computes the value
 */
export function scaled(node: Node): { readonly x: Tensor; readonly factor: Factor } | undefined {
  const [a, b] = node.inputs;
  if (a === undefined || a.dtype !== 'float32') return undefined;
  if (node.operator === 'Neg') return hasOneElement(a) ? undefined : { x: a, factor: -1 };
  if (b === undefined) return undefined;
  if (node.operator === 'Mul') {
    if (isScaleOf(b, a)) return { x: a, factor: numberOf(b) ?? b };
    if (isScaleOf(a, b)) return { x: b, factor: numberOf(a) ?? a };
  }
  if (node.operator === 'Div' && isScaleOf(b, a)) {
    const divisor = numberOf(b);
    if (divisor !== undefined && isOrdinary(1 / divisor)) return { x: a, factor: Math.fround(1 / divisor) };
  }
  return undefined;
}

function isScaleOf(scale: Tensor, x: Tensor): boolean {
  const isScale = hasOneElement(x) ? numberOf(scale) !== undefined && x.constant === undefined : hasOneElement(scale);
  return isScale && scale.shape.length <= x.shape.length;
}

/** Whether a float32 holds the number without overflow and with all its digits, or it is 0. */
export function isOrdinary(value: number): boolean {
  const size = Math.abs(value);
  return value === 0 || (size >= 2 ** -126 && size <= 3.4e38);
}

export function attributeOf(node: Node, name: string, fallback: number): number {
  const attribute = node.attributes[name];
  return attribute?.kind === 'int' || attribute?.kind === 'float' ? attribute.value : fallback;
}

/** The axes in an operator's second input, from the first; `undefined` where they are not known. */
export function axesOf(node: Node, rank: number): readonly number[] | undefined {
  const axes = node.inputs[1]?.elements;
  if (axes === undefined || !axes.every((axis) => typeof axis === 'number')) return undefined;
  return axes.map((axis) => (axis < 0 ? axis + rank : axis));
}
