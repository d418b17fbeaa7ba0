import type { Node } from '../graph.js';
import { sameShape, type Tensor } from '../tensor.js';
import {
  broadcastsTo,
  type Factor,
  hasOneElement,
  isOrdinary,
  isSmaller,
  type Match,
  numberOf,
  type Rule,
  scaled,
} from './rule.js';

/** x · 1, x / 1, x + 0, x − 0, 0 − x and −(−x). The sign of a zero may change, nothing else does. */
export const neutralOperands: Rule = {
  name: 'neutral operands',
  rewrite(match) {
    const { node, output } = match;
    const [a, b] = node.inputs;
    if (a === undefined) return undefined;
    const whole = (x: Tensor) => (sameShape(x.shape, output.shape) ? match.of(x) : undefined);
    if (node.operator === 'Neg') {
      const [x] = match.producer(a, 'Neg')?.inputs ?? [];
      return x === undefined ? undefined : match.of(x);
    }
    if (b === undefined) return undefined;
    const [left, right] = [numberOf(a), numberOf(b)];
    switch (node.operator) {
      case 'Mul':
        return right === 1 ? whole(a) : left === 1 ? whole(b) : undefined;
      case 'Div':
        return right === 1 ? whole(a) : undefined;
      case 'Add':
        return right === 0 ? whole(a) : left === 0 ? whole(b) : undefined;
      case 'Sub':
        if (right === 0) return whole(a);
        return left === 0 && sameShape(b.shape, output.shape) ? match.emit('Neg', [match.of(b)]) : undefined;
      default:
        return undefined;
    }
  },
};

/** Two scales of one tensor are one: (x · a) · b = x · (a · b). The product of the two is computed in the small. */
export const scaleChains: Rule = {
  name: 'chains of scales',
  rewrite(match) {
    const outer = scaled(match.node);
    const inner = outer === undefined ? undefined : absorbableScale(match, outer.x);
    if (outer === undefined || inner === undefined) return undefined;
    const { factor: a } = inner;
    const { factor: b } = outer;
    if (typeof a === 'number' && typeof b === 'number') {
      if (!isOrdinary(a * b)) return undefined;
      if (Math.fround(a * b) === 1) return match.of(inner.x);
      if (Math.fround(a * b) === -1) return match.emit('Neg', [match.of(inner.x)]);
    }
    return match.emit('Mul', [match.of(inner.x), match.productOf(a, b)]);
  },
};

/** (small · large) · scale = (small · scale) · large. */
export const scalesOfSmallFactors: Rule = {
  name: 'scales of small factors',
  rewrite(match) {
    const outer = scaled(match.node);
    if (outer === undefined) return undefined;
    const [a, b] = match.absorbable(outer.x, 'Mul')?.inputs ?? [];
    if (a === undefined || b === undefined || hasOneElement(a) || hasOneElement(b)) return undefined;
    const { output } = match;
    const [small, large] = isSmaller(a, output) ? [a, b] : [b, a];
    // The larger must not be smaller as well, or this would go on for ever between the two.
    if (!isSmaller(small, output) || isSmaller(large, small)) return undefined;
    const scaledSmall =
      outer.factor === -1
        ? match.emit('Neg', [match.of(small)])
        : match.emit('Mul', [match.of(small), match.factor(outer.factor)]);
    return match.emit('Mul', [scaledSmall, match.of(large)]);
  },
};

/** Add of a Neg is a Sub, Sub of a Neg an Add, Neg of a Sub the other Sub; x + x is 2x. */
export const negatedTerms: Rule = {
  name: 'negated terms',
  rewrite(match) {
    const { node } = match;
    const [a, b] = node.inputs;
    if (a === undefined || a.dtype !== 'float32') return undefined;
    if (node.operator === 'Neg') {
      const [left, right] = match.absorbable(a, 'Sub')?.inputs ?? [];
      return left === undefined || right === undefined
        ? undefined
        : match.emit('Sub', [match.of(right), match.of(left)]);
    }
    if (b === undefined || (node.operator !== 'Add' && node.operator !== 'Sub')) return undefined;
    const [positive] = match.producer(b, 'Neg')?.inputs ?? [];
    if (positive !== undefined) {
      return match.emit(node.operator === 'Add' ? 'Sub' : 'Add', [match.of(a), match.of(positive)]);
    }
    if (node.operator === 'Sub') return undefined;
    const [first] = match.producer(a, 'Neg')?.inputs ?? [];
    if (first !== undefined) return match.emit('Sub', [match.of(b), match.of(first)]);
    return a === b ? match.emit('Mul', [match.of(a), match.number(2)]) : undefined;
  },
};

/** x · s ± y · s = (x ± y) · s, and the same where one scale is the other's negative. */
export const commonScales: Rule = {
  name: 'common scales',
  rewrite(match) {
    const { node, output } = match;
    const [a, b] = node.inputs;
    if ((node.operator !== 'Add' && node.operator !== 'Sub') || a === undefined || b === undefined || a === b) {
      return undefined;
    }
    const [left, right] = [absorbableScale(match, a), absorbableScale(match, b)];
    if (left === undefined || right === undefined || left.factor === -1 || right.factor === -1) return undefined;
    if (!broadcastsTo(output.shape, left.x.shape, right.x.shape)) return undefined;
    const isEqual = left.factor === right.factor;
    const isOpposite =
      typeof left.factor === 'number' && typeof right.factor === 'number' && left.factor === -right.factor;
    if (!isEqual && !isOpposite) return undefined;
    const isSum = (node.operator === 'Add') === isEqual;
    // What has the positive scale comes first, which suits x · −s + y · s.
    const isSwapped = isOpposite && node.operator === 'Add' && (left.factor as number) < 0;
    const [first, second] = isSwapped ? [right, left] : [left, right];
    const together = match.emit(isSum ? 'Add' : 'Sub', [match.of(first.x), match.of(second.x)]);
    return match.emit('Mul', [together, match.factor(first.factor)]);
  },
};

/** A product of three or more factors, two of which are multiplied elsewhere as well, takes that product. */
export const knownProducts: Rule = {
  name: 'known products',
  rewrite(match) {
    const { node } = match;
    if (node.operator !== 'Mul') return undefined;
    const factors = withKnownProduct(match, node);
    return factors?.map((factor) => match.of(factor)).reduce((left, right) => match.emit('Mul', [left, right]));
  },
};

/** c · a ± c · b = c · (a ± b), and c · d ± c · d · b = c · d · (1 ± b): one pass fewer. */
export const commonFactors: Rule = {
  name: 'common factors',
  rewrite(match) {
    const { node, output } = match;
    const [a, b] = node.inputs;
    if ((node.operator !== 'Add' && node.operator !== 'Sub') || a === undefined || b === undefined || a === b) {
      return undefined;
    }
    const [left, right] = [match.absorbable(a, 'Mul'), match.absorbable(b, 'Mul')];
    if (left === undefined || right === undefined) return undefined;
    // A product that is there already goes first, since its factors would be taken apart here.
    if (withKnownProduct(match, left) !== undefined || withKnownProduct(match, right) !== undefined) return undefined;
    const [ofLeft, ofRight] = [factorsOf(match, left), factorsOf(match, right)];
    if (![...ofLeft, ...ofRight].every(({ shape }) => sameShape(shape, output.shape))) return undefined;
    const common: Tensor[] = [];
    const restOfRight = [...ofRight];
    const restOfLeft = ofLeft.filter((factor) => {
      const at = restOfRight.indexOf(factor);
      if (at === -1) return true;
      common.push(factor);
      restOfRight.splice(at, 1);
      return false;
    });
    const isWhole = restOfLeft.length === 0 || restOfRight.length === 0;
    if (common.length < (isWhole ? 2 : 1) || restOfLeft.length + restOfRight.length === 0) return undefined;
    const product = (factors: readonly Tensor[]) =>
      factors.map((factor) => match.of(factor)).reduce((x, y) => match.emit('Mul', [x, y]));
    const term = (factors: readonly Tensor[]) => (factors.length === 0 ? match.number(1) : product(factors));
    const sum = match.emit(node.operator, [term(restOfLeft), term(restOfRight)]);
    return match.emit('Mul', [product(common), sum]);
  },
};

/** x · s of a value that only this node uses; Neg and Div too. */
function absorbableScale(match: Match, tensor: Tensor): { readonly x: Tensor; readonly factor: Factor } | undefined {
  const node = match.absorbable(tensor, 'Mul', 'Div', 'Neg');
  return node === undefined ? undefined : scaled(node);
}

/** The factors of a product through the products inside it that nothing else uses. */
function factorsOf(match: Match, product: Node, passed = new Set<Tensor>()): readonly Tensor[] {
  return product.inputs.flatMap((input) => {
    if (input === undefined) return [];
    const inner = match.absorbable(input, 'Mul');
    if (inner === undefined) return [input];
    passed.add(input);
    return factorsOf(match, inner, passed);
  });
}

/** The factors of a product of three or more with two of them multiplied elsewhere, where there are such. */
function withKnownProduct(match: Match, node: Node): readonly Tensor[] | undefined {
  const own = new Set<Tensor>(node.outputs);
  const factors = factorsOf(match, node, own);
  const [output] = node.outputs;
  if (factors.length < 3 || output === undefined) return undefined;
  if (!factors.every(({ shape }) => sameShape(shape, output.shape))) return undefined;
  for (const [i, a] of factors.entries()) {
    for (const [j, b] of factors.entries()) {
      const product = i < j ? match.productBefore(a, b) : undefined;
      if (product === undefined || own.has(product)) continue;
      // One that is a term of a sum alone may have a factor in common with the other term.
      if (match.consumers(product).some(({ operator }) => operator !== 'Add' && operator !== 'Sub')) {
        return [...factors.filter((_, at) => at !== i && at !== j), product];
      }
    }
  }
  return undefined;
}
