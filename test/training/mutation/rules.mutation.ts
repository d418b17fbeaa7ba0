import { RULES } from '@elbo/training/autodiff/rules';
import * as ops from '@elbo/training/onnx/ops';
import type { Tensor } from '@elbo/training/onnx/tensor';
import { afterAll, expect, test } from 'vitest';
import { byRules, type Expected, ORACLES, type Sample, sampleOf } from '../support/gradient-checks.js';
import { numbersOf } from '../support/harness.js';
import { operatorCases, operatorsWithoutGradient } from '../support/operator-cases.js';

// Shows that the gradient tests would notice a wrong rule: breaks each gradient of each rule in turn, by its sign and by
// a factor of two, and expects a case to disagree with finite differences and a case to disagree with tfjs.
//   npm run test:mutation                          all rules
//   npm run test:mutation -- -t 'Conv:'            those of an operator

type MutableRules = Record<string, (typeof RULES)[string]>;
const rules = RULES as MutableRules;

const CHANGES: Readonly<Record<string, (gradient: Tensor) => Tensor>> = {
  sign: ops.neg,
  factor: (gradient) => ops.mul(gradient, 2),
};

interface Prepared {
  readonly sample: Sample;
  readonly expected: Expected;
}

const operators = Object.keys(RULES).filter((operator) => !(operator in operatorsWithoutGradient));
let mutants = 0;
let found = 0;

test.each(operators)('%s: every broken gradient is noticed', async (operator) => {
  const samples = operatorCases.filter((c) => c.operator === operator).map((c) => sampleOf(c, 11));
  const applied = new Set<number>();
  const rule = rules[operator] as MutableRules[string];
  const withChange = async <T>(
    change: (input: number, gradient: Tensor) => Tensor,
    use: () => Promise<T>,
  ): Promise<T> => {
    rules[operator] = (view, g) =>
      rule(view, g).map((gradientOf, input) => gradientOf && (() => change(input, gradientOf())));
    try {
      return await use();
    } finally {
      rules[operator] = rule;
    }
  };

  const missed: string[] = [];
  for (const [oracle, expectedBy] of Object.entries(ORACLES)) {
    const prepared: Prepared[] = [];
    for (const sample of samples) prepared.push({ sample, expected: await expectedBy(sample) });
    const isNoticed = async (change: (input: number, gradient: Tensor) => Tensor) => {
      for (const { sample, expected } of prepared) {
        if (await withChange(change, async () => !agrees(await gradientsByRules(sample), expected))) return true;
      }
      return false;
    };
    const record = (input: number, gradient: Tensor) => {
      applied.add(input);
      return gradient;
    };
    expect(await isNoticed(record), `${operator} must agree with ${oracle} before anything is broken`).toBe(false);
    expect(applied.size, `${operator} has a gradient`).toBeGreaterThan(0);
    for (const input of applied) {
      for (const [name, change] of Object.entries(CHANGES)) {
        mutants++;
        const noticed = await isNoticed((i, gradient) => (i === input ? change(gradient) : gradient));
        if (noticed) found++;
        else missed.push(`${name} of input ${input} by ${oracle}`);
      }
    }
  }
  expect(missed).toEqual([]);
});

afterAll(() => console.log(`${found} of ${mutants} mutants found`));

async function gradientsByRules(sample: Sample): Promise<number[][]> {
  return (await byRules(sample)).slice(1).map(numbersOf);
}

function agrees(actual: readonly number[][], { gradients, tolerance }: Expected): boolean {
  return gradients.every((gradient, i) =>
    Array.from(gradient).every((value, j) => {
      const difference = Math.abs((actual[i]?.[j] ?? Number.NaN) - value);
      return difference <= tolerance * Math.max(1, Math.abs(value));
    }),
  );
}
