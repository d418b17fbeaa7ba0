import type { Tensor as TfTensor } from '@tensorflow/tfjs';
import type { Node } from '../../../onnx/graph.js';
import type { Tensor } from '../../../onnx/tensor.js';
import { numbersOf, type Tf, toTensor, type Value } from '../values.js';

/** One application of an operator: the values of its inputs, and its attributes. */
export class Call {
  readonly node: Node;
  readonly #tf: Tf;
  readonly #values: readonly (Value | undefined)[];
  readonly #isUsed: (tensor: Tensor) => boolean;

  constructor(tf: Tf, node: Node, values: readonly (Value | undefined)[], isUsed: (tensor: Tensor) => boolean) {
    this.#tf = tf;
    this.node = node;
    this.#values = values;
    this.#isUsed = isUsed;
  }

  get count(): number {
    return this.#values.length;
  }

  has(index: number): boolean {
    return this.#values[index] !== undefined;
  }

  value(index: number): Value {
    const value = this.#values[index];
    if (value === undefined) throw new Error(`input ${index} is missing`);
    return value;
  }

  tensor(index: number): TfTensor {
    return toTensor(this.#tf, this.value(index));
  }

  tensors(): TfTensor[] {
    return this.#values.map((_, i) => this.tensor(i));
  }

  shape(index: number): readonly number[] {
    return this.value(index).shape;
  }

  /** The elements of a small input, such as a shape or axes. */
  numbers(index: number): number[] {
    return numbersOf(this.value(index));
  }

  /** Whether anything depends on an output. */
  needs(output: number): boolean {
    const tensor = this.node.outputs[output];
    return tensor !== undefined && this.#isUsed(tensor);
  }

  int(name: string, fallback: number): number {
    const attribute = this.node.attributes[name];
    return attribute?.kind === 'int' ? attribute.value : fallback;
  }

  ints(name: string): readonly number[] {
    const attribute = this.node.attributes[name];
    return attribute?.kind === 'ints' ? attribute.value : [];
  }

  float(name: string, fallback: number): number {
    const attribute = this.node.attributes[name];
    return attribute?.kind === 'float' ? attribute.value : fallback;
  }

  string(name: string, fallback: string): string {
    const attribute = this.node.attributes[name];
    return attribute?.kind === 'string' ? attribute.value : fallback;
  }

  /** The attribute `axis`, counted from the first. */
  axis(fallback: number, rank = this.shape(0).length): number {
    return fromFirst(this.int('axis', fallback), rank);
  }
}

/** The output, or all of them; undefined for one that nothing depends on. */
export type Operator = (call: Call) => Value | (Value | undefined)[];
export type Operators = Readonly<Record<string, Operator>>;

/** An axis counted from the first. */
export function fromFirst(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}

export function product(shape: readonly number[]): number {
  return shape.reduce((total, length) => total * length, 1);
}

/**
 * Repeats x along axes of length 1 until it has a shape that it broadcasts to. As a product with ones, since tfjs
 * differentiates that by one sum, but `tile` by a slice for every repetition.
 */
export function expand(tf: Tf, x: TfTensor, shape: readonly number[]): TfTensor {
  if (x.shape.length === shape.length && x.shape.every((length, axis) => length === shape[axis])) return x;
  if (x.dtype === 'float32') return tf.mul(x, tf.ones([...shape]));
  // tfjs's broadcastTo leaves a length of 1 where 0 is asked for.
  return shape.includes(0) ? tf.zeros([...shape], x.dtype) : tf.broadcastTo(x, [...shape]);
}

export function broadcastShape(tf: Tf, shapes: readonly (readonly number[])[]): number[] {
  return shapes.reduce<number[]>((a, b) => tf.backend_util.assertAndGetBroadcastShape(a, [...b]), []);
}

/** Both operands at their common shape: tfjs's gradients of some functions do not sum what was broadcast. */
export function expandAll(tf: Tf, tensors: readonly TfTensor[]): TfTensor[] {
  const shape = broadcastShape(
    tf,
    tensors.map((x) => x.shape),
  );
  return tensors.map((x) => expand(tf, x, shape));
}

/** [product before the axis, its length, product after it]. */
export function aroundAxis(shape: readonly number[], axis: number): [before: number, length: number, after: number] {
  return [product(shape.slice(0, axis)), shape[axis], product(shape.slice(axis + 1))];
}

/** Applies f to x with the given axis moved to the end, and moves it back. */
export function onLastAxis(tf: Tf, x: TfTensor, axis: number, f: (x: TfTensor) => TfTensor): TfTensor {
  const last = x.shape.length - 1;
  if (axis === last) return f(x);
  const order = [...x.shape.keys()].filter((other) => other !== axis);
  const forth = [...order, axis];
  return tf.transpose(
    f(tf.transpose(x, forth)),
    x.shape.map((_, i) => forth.indexOf(i)),
  );
}

/** The same numbers, through which no gradient flows. */
export function detached(tf: Tf, x: TfTensor): TfTensor {
  return tf.customGrad(() => ({ value: x.clone(), gradFunc: () => [] }))();
}
