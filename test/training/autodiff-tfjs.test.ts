import { gradients } from '@elbo/training/autodiff/gradients';
import type { TensorData } from '@elbo/training/onnx/tensor';
import { describe, test } from 'vitest';
import { evaluate, expectClose, graphOf, numbersOf, randomWeights, weightedSum } from './support/harness.js';
import { drawInputs, operatorCases } from './support/operator-cases.js';
import { tfjsGradients } from './support/tfjs.js';

describe('every operator and its gradient rule agree with tfjs', () => {
  test.each(operatorCases.map((c) => [c.operator, c.name, c] as const))(
    '%s: %s',
    async (_operator, _name, operatorCase) => {
      const inputs = drawInputs(operatorCase.inputs, 21);
      const shapes = inputs.map(({ shape }) => shape);
      const outputShape = graphOf(shapes, (...x) => [operatorCase.elbo(...x)]).outputs[0]?.shape as readonly number[];
      const weights = randomWeights(outputShape, 22);
      const [output, ...actual] = await evaluate(inputs, (...x) => {
        const y = operatorCase.elbo(...x);
        return [y, ...gradients(weightedSum(y, weights), x)];
      });
      const expected = tfjsGradients(operatorCase.tfjs, inputs, weights);
      expectClose(numbersOf(output as TensorData), expected.output, 1e-5, 'output');
      for (const [i, gradient] of expected.gradients.entries()) {
        expectClose(numbersOf(actual[i] as TensorData), gradient, 1e-5, `gradient of input ${i}`);
      }
    },
  );
});
