import { float, int, type Node } from '../graph.js';
import type { Tensor } from '../tensor.js';
import {
  attributeOf,
  broadcastsTo,
  type Factor,
  isOrdinary,
  isSmaller,
  type Match,
  type Rule,
  scaled,
  sizeOf,
} from './rule.js';

/** MatMul of two matrices and its Add of a bias are one Gemm; a Gemm without C takes the Add that follows. */
export const gemmOfSum: Rule = {
  name: 'Gemm of MatMul and Add',
  rewrite(match) {
    const { node, output } = match;
    const [a, b] = node.inputs;
    if (node.operator !== 'Add' || a === undefined || b === undefined || output.shape.length !== 2) return undefined;
    for (const [product, bias] of [
      [a, b],
      [b, a],
    ] as const) {
      const inner = match.absorbable(product, 'MatMul', 'Gemm');
      const [x, y, c] = inner?.inputs ?? [];
      if (inner === undefined || x === undefined || y === undefined || c !== undefined) continue;
      if (x.shape.length !== 2 || y.shape.length !== 2 || product.shape.length !== 2) continue;
      if (!broadcastsTo(product.shape, product.shape, bias.shape)) continue;
      const { beta: _, ...attributes } = inner.attributes;
      return match.emit('Gemm', [match.of(x), match.of(y), match.of(bias)], attributes);
    }
    return undefined;
  },
};

/** A Transpose of a matrix before a product is a flag of Gemm, which reads the rows as columns. */
export const transposedFactors: Rule = {
  name: 'transposed factors',
  rewrite(match) {
    const { node } = match;
    const [a, b, c] = node.inputs;
    if ((node.operator !== 'MatMul' && node.operator !== 'Gemm') || a === undefined || b === undefined)
      return undefined;
    if (a.shape.length !== 2 || b.shape.length !== 2) return undefined;
    const [ofA, ofB] = [transposed(match, a), transposed(match, b)];
    if (ofA === undefined && ofB === undefined) return undefined;
    const flag = (name: string, isTransposed: boolean) =>
      (attributeOf(node, name, 0) === 1) !== isTransposed ? { [name]: int(1) } : {};
    const { transA: _a, transB: _b, ...attributes } = node.attributes;
    return match.emit(
      'Gemm',
      [match.of(ofA ?? a), match.of(ofB ?? b), c === undefined ? undefined : match.of(c)].slice(0, node.inputs.length),
      {
        ...attributes,
        ...flag('transA', ofA !== undefined),
        ...flag('transB', ofB !== undefined),
      },
    );
  },
};

/** A number that scales a Gemm's result is its alpha; a value goes to a factor that is smaller than the result. */
export const scaledProducts: Rule = {
  name: 'scaled matrix products',
  rewrite(match) {
    const outer = scaled(match.node);
    if (outer === undefined) return undefined;
    const { x, factor } = outer;
    const inner = match.absorbable(x, 'MatMul', 'Gemm');
    const [a, b, c] = inner?.inputs ?? [];
    if (inner === undefined || a === undefined || b === undefined) return undefined;
    if (typeof factor === 'number') return withAlpha(match, inner, [a, b, c], factor, true);
    if (c !== undefined) return undefined;
    const at = isSmaller(a, x) ? 0 : isSmaller(b, x) ? 1 : undefined;
    if (at === undefined) return undefined;
    const inputs = [match.of(a), match.of(b)];
    return match.emit(
      inner.operator,
      inputs.with(at, match.emit('Mul', [inputs[at], match.of(factor)])),
      inner.attributes,
    );
  },
};

/**
 * A scale before products and sums goes after them where their results are smaller, or into alpha where it is a number.
 * All that use the scaled value must do so, or it would be computed all the same.
 */
export const scalesBeforeReductions: Rule = {
  name: 'scales before reductions',
  rewrite(match) {
    const { node } = match;
    for (const [i, input] of node.inputs.entries()) {
      const scale = input === undefined ? undefined : sinkingScale(match, input);
      if (scale === undefined) continue;
      const { x, factor } = scale;
      const [a, b, c] = node.inputs.with(i, x);
      if (a === undefined || b === undefined) return undefined;
      if (typeof factor === 'number' && isMatrixProduct(node)) {
        const product = withAlpha(match, node, [a, b, c], factor, false);
        if (product !== undefined) return product;
      }
      const inputs = node.inputs.with(i, x).map((other) => (other === undefined ? undefined : match.of(other)));
      return match.emit('Mul', [match.emit(node.operator, inputs, node.attributes), match.factor(factor)]);
    }
    return undefined;
  },
};

/** The scale that a value is computed by, where all its users may do without and that is less work. */
function sinkingScale(match: Match, tensor: Tensor): { readonly x: Tensor; readonly factor: Factor } | undefined {
  const producer = match.producer(tensor, 'Mul', 'Div', 'Neg');
  const scale = producer === undefined ? undefined : scaled(producer);
  if (scale === undefined || tensor.graph !== match.output.graph) return undefined;
  const { factor } = scale;
  let isFree = true;
  let work = 0;
  for (const consumer of match.consumers(tensor)) {
    const [a, b, c] = consumer.inputs;
    const [result] = consumer.outputs;
    if (result === undefined || result.graph !== tensor.graph || match.isDeclaration(consumer)) return undefined;
    const isProduct = (isMatrixProduct(consumer) || consumer.operator === 'MatMul') && a !== b && c !== tensor;
    if (!isProduct && consumer.operator !== 'ReduceSum') return undefined;
    if (isProduct && c !== undefined && typeof factor !== 'number') return undefined;
    // A scale with more axes than a sum would give it its own shape.
    if (typeof factor !== 'number' && factor.shape.length > result.shape.length) return undefined;
    if (typeof factor === 'number' && isMatrixProduct(consumer)) {
      if (!isOrdinary(attributeOf(consumer, 'alpha', 1) * factor)) return undefined;
      continue;
    }
    isFree = false;
    work += sizeOf(result) ?? Number.POSITIVE_INFINITY;
  }
  const size = sizeOf(tensor);
  return isFree || (size !== undefined && work < size) ? scale : undefined;
}

/** Gemm, or a MatMul that it can stand for. */
function isMatrixProduct({ operator, inputs: [a, b] }: Node): boolean {
  return operator === 'Gemm' || (operator === 'MatMul' && a?.shape.length === 2 && b?.shape.length === 2);
}

/** A Gemm scaled by a number. */
function withAlpha(
  match: Match,
  product: Node,
  [a, b, c]: readonly (Tensor | undefined)[],
  factor: number,
  isOfSum: boolean,
): Tensor | undefined {
  if (!isMatrixProduct(product) || a === undefined || b === undefined) return undefined;
  const alpha = Math.fround(attributeOf(product, 'alpha', 1) * factor);
  const beta = Math.fround(attributeOf(product, 'beta', 1) * (isOfSum ? factor : 1));
  if (!isOrdinary(alpha) || !isOrdinary(beta)) return undefined;
  const { alpha: _alpha, beta: _beta, ...flags } = product.attributes;
  return match.emit('Gemm', [match.of(a), match.of(b), ...(c === undefined ? [] : [match.of(c)])], {
    ...flags,
    ...(alpha === 1 ? {} : { alpha: float(alpha) }),
    ...(beta === 1 || c === undefined ? {} : { beta: float(beta) }),
  });
}

function transposed(match: Match, tensor: Tensor): Tensor | undefined {
  // Computed outside this loop it is computed once, and read in order.
  if (tensor.graph !== match.output.graph) return undefined;
  const node = match.producer(tensor, 'Transpose');
  const perm = node?.attributes.perm;
  return perm?.kind === 'ints' && perm.value[0] === 1 ? node?.inputs[0] : undefined;
}
