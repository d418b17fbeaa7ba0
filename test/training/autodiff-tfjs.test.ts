import { describe, test } from 'vitest';
import { byRules, ORACLES, sampleOf } from './support/gradient-checks.js';
import { expectClose, numbersOf } from './support/harness.js';
import { operatorCases } from './support/operator-cases.js';

describe('every operator and its gradient rule agree with tfjs', () => {
  test.each(operatorCases.map((c) => [c.operator, c.name, c] as const))(
    '%s: %s',
    async (_operator, _name, operatorCase) => {
      const sample = sampleOf(operatorCase, 21);
      const [output, ...actual] = await byRules(sample);
      const expected = await ORACLES.tfjs(sample);
      expectClose(numbersOf(output), expected.output ?? [], expected.tolerance, 'output');
      for (const [i, gradient] of expected.gradients.entries()) {
        expectClose(numbersOf(actual[i]), gradient, expected.tolerance, `gradient of input ${i}`);
      }
    },
  );
});
