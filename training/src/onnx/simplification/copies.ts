import { int, ints } from '../graph.js';
import { type DataType, isStatic, sameShape, type Tensor } from '../tensor.js';
import { attributeOf, axesOf, type Match, type Rule } from './rule.js';

/** Operators that give their first input's elements, in order, another shape. */
const VIEWS = ['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze'];
export const isView = (operator: string): boolean => VIEWS.includes(operator);

/** Types whose every value the other types hold as it is. */
const EXACT_IN: Partial<Record<DataType, readonly DataType[]>> = {
  bool: ['float32', 'uint8', 'int32', 'int64'],
  uint8: ['float32', 'int32', 'int64'],
  int32: ['int64'],
};

/** Nodes that give back what they are given: Identity, also in a loop or branch of an outer value, and the like. */
export const uselessCopies: Rule = {
  name: 'useless copies',
  rewrite(match) {
    const { node, output } = match;
    const [x] = node.inputs;
    if (x === undefined) return undefined;
    const isCopy =
      node.operator === 'Identity' ||
      (['Flatten', 'Reshape', 'Expand', 'Pad', 'Squeeze', 'Unsqueeze'].includes(node.operator) &&
        sameShape(x.shape, output.shape)) ||
      // With steps it may turn an axis round.
      (node.operator === 'Slice' && node.inputs[4] === undefined && sameShape(x.shape, output.shape)) ||
      (node.operator === 'Concat' && node.inputs.length === 1) ||
      (node.operator === 'Transpose' && permutationOf(match)?.every((axis, i) => axis === i)) ||
      (node.operator === 'Cast' && x.dtype === output.dtype);
    return isCopy ? match.of(x) : undefined;
  },
};

/** A Cast of a Cast that loses nothing is one Cast. */
export const castChains: Rule = {
  name: 'chains of casts',
  rewrite(match) {
    const [inner] = match.node.inputs;
    if (match.node.operator !== 'Cast' || inner === undefined) return undefined;
    const [x] = match.producer(inner, 'Cast')?.inputs ?? [];
    if (x === undefined || !EXACT_IN[x.dtype]?.includes(inner.dtype)) return undefined;
    return x.dtype === match.output.dtype ? match.of(x) : match.emit('Cast', [match.of(x)], match.node.attributes);
  },
};

/** Reshape, Flatten, Squeeze and Unsqueeze one after the other are one Reshape, or nothing. */
export const viewChains: Rule = {
  name: 'chains of reshapes',
  rewrite(match) {
    const { node, output } = match;
    const [inner] = node.inputs;
    if (!isView(node.operator) || inner === undefined) return undefined;
    const [x] = match.producer(inner, ...VIEWS)?.inputs ?? [];
    if (x === undefined) return undefined;
    return sameShape(x.shape, output.shape) ? match.of(x) : reshaped(match, match.of(x), output.shape);
  },
};

/** Transpose after Transpose is one Transpose, or nothing. */
export const transposeChains: Rule = {
  name: 'chains of transposes',
  rewrite(match) {
    const outer = permutationOf(match);
    const [inner] = match.node.inputs;
    if (outer === undefined || inner === undefined) return undefined;
    const producer = match.producer(inner, 'Transpose');
    const [x] = producer?.inputs ?? [];
    const perm = producer?.attributes.perm;
    if (x === undefined || perm?.kind !== 'ints') return undefined;
    const order = outer.map((axis) => perm.value[axis] as number);
    return order.every((axis, i) => axis === i)
      ? match.of(x)
      : match.emit('Transpose', [match.of(x)], { perm: ints(order) });
  },
};

/** A reduction that keeps its axes, and a Squeeze that removes them, are one reduction; so with Unsqueeze. */
export const reducedAxes: Rule = {
  name: 'axes of reductions',
  rewrite(match) {
    const { node } = match;
    const [inner] = node.inputs;
    const isSqueeze = node.operator === 'Squeeze';
    if ((!isSqueeze && node.operator !== 'Unsqueeze') || inner === undefined) return undefined;
    const reduction = match.absorbable(inner);
    const [x, axes] = reduction?.inputs ?? [];
    if (reduction === undefined || x === undefined || !reduction.operator.startsWith('Reduce')) return undefined;
    if ((attributeOf(reduction, 'keepdims', 1) === 1) !== isSqueeze) return undefined;
    const removed = axesOf(node, x.shape.length);
    const reduced = axesOf(reduction, x.shape.length);
    if (removed === undefined || reduced === undefined || removed.length !== reduced.length) return undefined;
    if (!removed.every((axis) => reduced.includes(axis))) return undefined;
    return match.emit(reduction.operator, [match.of(x), axes === undefined ? undefined : match.of(axes)], {
      ...reduction.attributes,
      keepdims: int(isSqueeze ? 0 : 1),
    });
  },
};

/** A new Reshape; `undefined` where the shape cannot be written down as a constant. */
export function reshaped(match: Match, x: Tensor, shape: Tensor['shape']): Tensor | undefined {
  if (sameShape(x.shape, shape)) return x;
  // A length of 0 means "copy this axis", and one axis alone may be left to the runtime.
  const target = shape.map((dimension) => (typeof dimension === 'string' ? -1 : dimension));
  const isWritable = !target.includes(0) && target.filter((dimension) => dimension === -1).length <= 1;
  if (!isWritable || (!isStatic(shape) && x.shape.includes(0))) return undefined;
  return match.emit('Reshape', [x, match.vector(target)]);
}

function permutationOf({ node }: Match): readonly number[] | undefined {
  const { perm } = node.attributes;
  return node.operator === 'Transpose' && perm?.kind === 'ints' ? perm.value : undefined;
}
