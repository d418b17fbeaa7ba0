import { gradients } from '@elbo/training/autodiff/gradients';
import { differentiableOperators, ruleOf } from '@elbo/training/autodiff/rules';
import { operatorNames } from '@elbo/training/onnx/inference';
import { elementCount, float32, type TensorData } from '@elbo/training/onnx/tensor';
import { describe, expect, test } from 'vitest';
import { expectClose, graphOf, numbersOf, type Run, randomWeights, weightedSum, withGraph } from './support/harness.js';
import {
  drawInputs,
  type OperatorCase,
  operatorCases,
  operatorsWithoutGradient,
  operatorsWithoutRule,
} from './support/operator-cases.js';

// A power of two, so that x ± h and x ± 2h are exact; far from every kink that the cases' domains avoid.
const STEP = 2 ** -5;
// Rounding of the float32 outputs is about 1e-7 / STEP, the truncation of the fourth-order formula STEP^4 · f⁽⁵⁾ / 30.
const TOLERANCE = 5e-4;

describe('every gradient rule agrees with central finite differences', () => {
  test.each(operatorCases.map((c) => [c.operator, c.name, c] as const))(
    '%s: %s',
    async (_operator, name, operatorCase) => {
      const inputs = drawInputs(operatorCase.inputs, 11);
      const shapes = inputs.map(({ shape }) => shape);
      const outputShape = graphOf(shapes, (...x) => [operatorCase.elbo(...x)]).outputs[0]?.shape as readonly number[];
      const weights = randomWeights(outputShape, 12);
      const graph = graphOf(shapes, (...x) => {
        const output = operatorCase.elbo(...x);
        return [output, ...gradients(weightedSum(output, weights), x)];
      });
      await withGraph(graph, async (run) => {
        const [, ...actual] = await run(...inputs);
        for (const [i, input] of inputs.entries()) {
          const expected = await centralDifferences(run, inputs, i, weights);
          expect(actual[i]?.shape, `${name}: shape of the gradient of input ${i}`).toEqual(input.shape);
          expectClose(numbersOf(actual[i] as TensorData), expected, TOLERANCE, `gradient of input ${i}`);
          // A gradient of nothing but zeros would agree with a wrong rule.
          expect(Math.max(...expected.map(Math.abs)), 'the case must have a gradient').toBeGreaterThan(0.02);
        }
      });
    },
  );
});

describe('every operator is accounted for', () => {
  const withCase = new Set(operatorCases.map(({ operator }) => operator));

  test('an operator with a gradient has cases; one without is not among them', () => {
    const expected = differentiableOperators.filter((operator) => !(operator in operatorsWithoutGradient));
    expect([...withCase].toSorted()).toEqual(expected.toSorted());
  });

  test('an operator that graphs may hold has a rule or a reason to have none', () => {
    const accounted = [...differentiableOperators, ...Object.keys(operatorsWithoutRule)];
    expect(operatorNames.toSorted()).toEqual(accounted.toSorted());
  });

  test.each(Object.keys(operatorsWithoutRule))('%s in the path of a gradient is refused by name', (operator) => {
    expect(() => ruleOf(operator)).toThrow(`${operator}: has no gradient rule`);
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

/** d Σ weights · outputs / d input, element by element: f'(x) ≈ (8 (f(x+h) − f(x−h)) − (f(x+2h) − f(x−2h))) / 12h. */
async function centralDifferences(
  run: Run,
  inputs: readonly TensorData[],
  index: number,
  weights: TensorData,
): Promise<number[]> {
  const input = inputs[index] as TensorData;
  const values = numbersOf(input);
  const lossAt = async (element: number, offset: number): Promise<number> => {
    const moved = float32(values.with(element, (values[element] as number) + offset), input.shape);
    const [output] = await run(...inputs.with(index, moved));
    // Summed in double precision: only the operator itself rounds.
    return numbersOf(output as TensorData).reduce((sum, y, i) => sum + y * (weights.data[i] as number), 0);
  };
  const derivatives: number[] = [];
  for (let element = 0; element < elementCount(input.shape); element++) {
    const near = (await lossAt(element, STEP)) - (await lossAt(element, -STEP));
    const far = (await lossAt(element, 2 * STEP)) - (await lossAt(element, -2 * STEP));
    derivatives.push((8 * near - far) / (12 * STEP));
  }
  return derivatives;
}
