import { type Match, type Rule, sizeOf } from './rule.js';

/** Below so many elements an example, five nodes cost more than what they save. */
const FEWEST_ELEMENTS = 256;
const SUMS = new Set(['Add', 'Sub', 'ReduceSum', 'ReduceMean']);

/**
 * softplus(x) = max(x, 0) − log max(s, 1 − s) with s = sigmoid(x), which a gradient needs anyway. ONNX Runtime computes
 * Softplus one number after the other, at 16 ns each, and these five operators in vectors, at 4.5 ns together.
 * The error is that of rounding s: 6e-8, whatever x is. Only sums may use it, since a softplus smaller than that
 * becomes 0, which a logarithm would turn into −∞.
 */
export const softplusOfSigmoid: Rule = {
  name: 'softplus by sigmoid',
  rewrite(match) {
    const { node, output } = match;
    const [x] = node.inputs;
    if (node.operator !== 'Softplus' || x === undefined || !isLarge(match)) return undefined;
    const isOnlySummed = match
      .consumers(output)
      .every((consumer) => SUMS.has(consumer.operator) && !match.isDeclaration(consumer));
    if (!isOnlySummed) return undefined;
    const signal = match.of(x);
    const s = match.emit('Sigmoid', [signal]);
    const larger = match.emit('Max', [s, match.emit('Sub', [match.number(1), s])]);
    return match.emit('Sub', [match.emit('Relu', [signal]), match.emit('Log', [larger])]);
  },
};

function isLarge({ output }: Match): boolean {
  // An axis of unknown length counts as 1.
  const fixed = output.shape.filter((dimension) => typeof dimension === 'number');
  return (sizeOf(output) ?? fixed.reduce((product, dimension) => product * dimension, 1)) >= FEWEST_ELEMENTS;
}
