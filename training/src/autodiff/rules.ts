import { CONVOLUTION } from './rules/convolution.js';
import { ELEMENTWISE } from './rules/elementwise.js';
import { INDEXING } from './rules/indexing.js';
import { LINEAR } from './rules/linear.js';
import { NORMALISATION } from './rules/normalisation.js';
import { REDUCTIONS } from './rules/reductions.js';
import type { Rule, Rules } from './rules/rule.js';
import { SHAPING } from './rules/shaping.js';

/**
 * One rule an operator. The forms are those of ONNX Runtime's "Per Op Gradient Building" and tinygrad's gradient.py:
 * standard operators only, each of which has a rule itself, so that gradients can be differentiated again.
 */
export const RULES: Rules = {
  ...ELEMENTWISE,
  ...LINEAR,
  ...CONVOLUTION,
  ...NORMALISATION,
  ...REDUCTIONS,
  ...SHAPING,
  ...INDEXING,
};

export const differentiableOperators: readonly string[] = Object.keys(RULES);

/** @throws {Error} where the operator has no rule */
export function ruleOf(operator: string): Rule {
  const rule = RULES[operator];
  if (rule === undefined) throw new Error(`${operator}: has no gradient rule; see autodiff/rules.ts`);
  return rule;
}
