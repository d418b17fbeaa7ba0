import { differentiableOperators, ruleOf } from '@elbo/training/autodiff/rules';
import { operatorNames } from '@elbo/training/onnx/inference';
import { describe, expect, test } from 'vitest';
import { byRules, ORACLES, sampleOf } from './support/gradient-checks.js';
import { expectClose, graphOf, numbersOf } from './support/harness.js';
import { type OperatorCase, operatorCases, operatorsWithoutGradient } from './support/operator-cases.js';

describe('every gradient rule agrees with central finite differences', () => {
  test.each(operatorCases.map((c) => [c.operator, c.name, c] as const))(
    '%s: %s',
    async (_operator, name, operatorCase) => {
      const sample = sampleOf(operatorCase, 11);
      const [, ...actual] = await byRules(sample);
      const expected = await ORACLES['finite differences'](sample);
      for (const [i, gradient] of expected.gradients.entries()) {
        expect(actual[i].shape, `${name}: shape of the gradient of input ${i}`).toEqual(sample.inputs[i].shape);
        expectClose(numbersOf(actual[i]), gradient, expected.tolerance, `gradient of input ${i}`);
        // A gradient of nothing but zeros would agree with a wrong rule.
        expect(Math.max(...Array.from(gradient, Math.abs)), 'the case must have a gradient').toBeGreaterThan(0.02);
      }
    },
  );
});

describe('every operator is accounted for', () => {
  const withCase = new Set(operatorCases.map(({ operator }) => operator));

  test('an operator with a gradient has cases; one without is not among them', () => {
    const expected = differentiableOperators.filter((operator) => !(operator in operatorsWithoutGradient));
    expect([...withCase].toSorted()).toEqual(expected.toSorted());
  });

  test('every operator that the builder knows has a rule', () => {
    expect(operatorNames.toSorted()).toEqual(differentiableOperators.toSorted());
  });

  test('an operator without a rule is refused by name', () => {
    expect(() => ruleOf('Loop')).toThrow('Loop: has no gradient rule');
  });

  test('each case holds the operator that it is a case of', () => {
    const misnamed = operatorCases.filter((operatorCase) => !operatorsOf(operatorCase).includes(operatorCase.operator));
    expect(misnamed.map(({ operator, name }) => `${operator}: ${name}`)).toEqual([]);
  });
});

function operatorsOf({ inputs, elbo }: OperatorCase): string[] {
  const graph = graphOf(
    inputs.map(({ shape }) => shape),
    (...x) => [elbo(...x)],
  );
  return graph.nodes.slice(0, -1).map(({ operator }) => operator);
}
