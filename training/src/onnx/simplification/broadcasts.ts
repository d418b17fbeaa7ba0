import { isStatic, sameShape, type Tensor } from '../tensor.js';
import { isView, reshaped } from './copies.js';
import {
  attributeOf,
  axesOf,
  broadcastShape,
  broadcastsTo,
  hasOneElement,
  isSmaller,
  type Match,
  type Rule,
} from './rule.js';

/** Operators that treat every element alike; those of several inputs broadcast them. */
const ELEMENTWISE = new Set([
  ...['Neg', 'Exp', 'Log', 'Sqrt', 'Abs', 'Sign', 'Relu', 'Tanh', 'Sigmoid', 'Softplus', 'Erf', 'Cast'],
  ...['Add', 'Sub', 'Mul', 'Div', 'Min', 'Max', 'Pow'],
  ...['Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual', 'Equal', 'Where'],
]);

/**
 * An elementwise operator broadcasts by itself, so an Expand before it is a pass over memory for nothing; so are more
 * axes for a single element.
 */
export const expandedOperands: Rule = {
  name: 'expanded operands',
  rewrite(match) {
    const { node, output } = match;
    if (!ELEMENTWISE.has(node.operator)) return undefined;
    for (const [i, input] of node.inputs.entries()) {
      const x = input === undefined ? undefined : (expanded(match, input)?.x ?? singleBefore(match, input));
      if (x === undefined) continue;
      const inputs = node.inputs.with(i, x).filter((other) => other !== undefined);
      if (!broadcastsTo(output.shape, ...inputs.map(({ shape }) => shape))) continue;
      return match.emit(
        node.operator,
        inputs.map((other) => match.of(other)),
        node.attributes,
      );
    }
    return undefined;
  },
};

/** What is computed of an expanded value alone is computed before it is expanded. */
export const lateExpansion: Rule = {
  name: 'late expansion',
  rewrite(match) {
    const { node, output } = match;
    if (!ELEMENTWISE.has(node.operator)) return undefined;
    for (const [i, input] of node.inputs.entries()) {
      if (input === undefined || match.absorbable(input, 'Expand') === undefined) continue;
      const expansion = expanded(match, input);
      if (expansion === undefined) continue;
      const inputs = node.inputs.with(i, expansion.x).filter((other) => other !== undefined);
      const shape = broadcastShape(...inputs.map((other) => other.shape));
      if (shape === undefined || !isSmaller({ ...output, shape }, output)) continue;
      if (!broadcastsTo(output.shape, shape, input.shape)) continue;
      const before = match.emit(
        node.operator,
        inputs.map((other) => match.of(other)),
        node.attributes,
      );
      return expand(match, before, expansion.shape);
    }
    return undefined;
  },
};

/** What is computed of single elements alone is computed before they get more axes. */
export const lateAxes: Rule = {
  name: 'late axes',
  rewrite(match) {
    const { node, output } = match;
    if (!ELEMENTWISE.has(node.operator) || !hasOneElement(output)) return undefined;
    const given = node.inputs.filter((input) => input !== undefined);
    const inputs = given.map((input) => singleBefore(match, input) ?? input);
    const shape = broadcastShape(...inputs.map((input) => input.shape));
    if (shape === undefined || shape.length >= output.shape.length) return undefined;
    const before = match.emit(
      node.operator,
      inputs.map((input) => match.of(input)),
      node.attributes,
    );
    return reshaped(match, before, output.shape);
  },
};

/** An Expand of an Expand is one; one element may be reshaped or transposed before it is expanded, which is nothing. */
export const expansionChains: Rule = {
  name: 'chains of expansions',
  rewrite(match) {
    const { node, output } = match;
    const [inner, shape] = node.inputs;
    if (inner === undefined) return undefined;
    if (node.operator === 'Expand' && shape !== undefined) {
      const outer = expanded(match, inner);
      return outer !== undefined && broadcastsTo(output.shape, outer.x.shape, shape.elements ?? [])
        ? expand(match, match.of(outer.x), shape)
        : undefined;
    }
    if (!isView(node.operator) && node.operator !== 'Transpose') return undefined;
    const x = expanded(match, inner)?.x;
    if (x === undefined || !hasOneElement(x) || !isStatic(output.shape) || output.shape.includes(0)) return undefined;
    const one = x.shape.length <= output.shape.length ? match.of(x) : reshaped(match, match.of(x), []);
    return one === undefined ? undefined : match.emit('Expand', [one, match.vector(output.shape)]);
  },
};

/** A sum over expanded axes is a product with their length, their mean is nothing. */
export const expandedSums: Rule = {
  name: 'sums of expanded values',
  rewrite(match) {
    const { node, output } = match;
    const [inner] = node.inputs;
    if ((node.operator !== 'ReduceSum' && node.operator !== 'ReduceMean') || inner === undefined) return undefined;
    const x = expanded(match, inner)?.x;
    const axes = axesOf(node, inner.shape.length);
    if (x === undefined || axes === undefined || !isStatic(inner.shape) || inner.shape.includes(0)) return undefined;
    const { shape } = inner;
    const before = (axis: number) => x.shape[axis - shape.length + x.shape.length] ?? 1;
    // Every axis that was expanded is summed and no other.
    if (!shape.every((length, axis) => axes.includes(axis) === (before(axis) !== length) || length === 1)) {
      return undefined;
    }
    const count = node.operator === 'ReduceMean' ? 1 : axes.reduce((product, axis) => product * Number(shape[axis]), 1);
    if (attributeOf(node, 'keepdims', 1) === 1 && !isStatic(output.shape)) return undefined;
    const one = reshaped(match, match.of(x), output.shape);
    if (one === undefined) return undefined;
    return count === 1 ? one : match.emit('Mul', [one, match.number(count)]);
  },
};

/** What an Expand expands and its shape, where it makes it larger. */
function expanded(match: Match, tensor: Tensor): { readonly x: Tensor; readonly shape: Tensor } | undefined {
  const [x, shape] = match.producer(tensor, 'Expand')?.inputs ?? [];
  return x === undefined || shape === undefined || sameShape(x.shape, tensor.shape) ? undefined : { x, shape };
}

function expand(match: Match, x: Tensor, shape: Tensor): Tensor {
  return match.emit('Expand', [x, match.of(shape)]);
}

/** A value of one element before it got more axes. */
function singleBefore(match: Match, tensor: Tensor): Tensor | undefined {
  const node = hasOneElement(tensor) ? match.producer(tensor) : undefined;
  const [x] = node?.inputs ?? [];
  const isLess = node !== undefined && isView(node.operator) && x !== undefined && x.shape.length < tensor.shape.length;
  return isLess ? x : undefined;
}
