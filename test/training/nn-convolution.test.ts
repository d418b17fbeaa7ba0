import { gradients } from '@elbo/training/autodiff/gradients';
import {
  convolution,
  onnxKernel,
  type TransposedConvolutionOptions,
  transposedConvolution,
} from '@elbo/training/nn/convolution';
import { GraphError } from '@elbo/training/onnx/errors';
import { Graph, ints } from '@elbo/training/onnx/graph';
import { transpose } from '@elbo/training/onnx/ops';
import { elementCount, float32, type Tensor, type TensorData } from '@elbo/training/onnx/tensor';
import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  evaluate,
  expectClose,
  graphOf,
  numbersOf,
  type Run,
  randomWeights,
  weightedSum,
  withGraph,
} from './support/harness.js';
import { drawInputs } from './support/operator-cases.js';
import { tfjsGradients } from './support/tfjs.js';

type Pair = readonly [number, number];

interface Case {
  readonly count: number;
  readonly image: Pair;
  readonly kernel: Pair;
  readonly channels: number;
  readonly out: number;
  readonly options: Required<TransposedConvolutionOptions>;
  readonly seed: number;
}

const pair = (min: number, max: number) => fc.tuple(fc.integer({ min, max }), fc.integer({ min, max }));

const anyCase: fc.Arbitrary<Case> = fc
  .record({
    count: fc.integer({ min: 1, max: 3 }),
    image: pair(1, 9),
    kernel: pair(1, 5),
    // One channel and many: few are gathered another way than many.
    channels: fc.constantFrom(1, 2, 3, 5, 24),
    out: fc.constantFrom(1, 2, 3, 5, 24),
    strides: pair(1, 3),
    pads: fc.tuple(fc.nat(3), fc.nat(3), fc.nat(3), fc.nat(3)),
    outputPadding: fc.tuple(fc.nat(2), fc.nat(2)),
    seed: fc.nat(1_000_000),
  })
  .map(({ strides, pads, outputPadding, ...rest }) => {
    const padding: Pair = [Math.min(outputPadding[0], strides[0] - 1), Math.min(outputPadding[1], strides[1] - 1)];
    return { ...rest, options: { strides, pads, outputPadding: padding } };
  });

/** The two forms, each with its output length along one axis and its independent counterparts. */
const FORMS = {
  convolution: {
    elbo: convolution,
    length: ({ image, kernel, options: { strides, pads } }: Case, i: 0 | 1) =>
      Math.floor((image[i] + pads[i] + pads[i + 2] - kernel[i]) / strides[i]) + 1,
    kernelShape: ({ kernel, channels, out }: Case) => [...kernel, channels, out],
    operator: 'Conv',
    tfjs:
      ({ options: { strides, pads } }: Case) =>
      (x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) => {
        const padded = tf.pad(x as tf.Tensor4D, [
          [0, 0],
          [pads[0], pads[2]],
          [pads[1], pads[3]],
          [0, 0],
        ]);
        return tf.add(tf.conv2d(padded, kernel as tf.Tensor4D, [...strides], 'valid'), bias);
      },
  },
  transposedConvolution: {
    elbo: transposedConvolution,
    length: ({ image, kernel, options: { strides, pads, outputPadding } }: Case, i: 0 | 1) =>
      (image[i] - 1) * strides[i] + kernel[i] + outputPadding[i] - pads[i] - pads[i + 2],
    kernelShape: ({ kernel, channels, out }: Case) => [...kernel, out, channels],
    operator: 'ConvTranspose',
    tfjs: (c: Case) => (x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) => {
      const { strides, pads } = c.options;
      const [height, width] = outputLengths('transposedConvolution', c);
      const whole = tf.conv2dTranspose(
        x as tf.Tensor4D,
        kernel as tf.Tensor4D,
        [c.count, height + pads[0] + pads[2], width + pads[1] + pads[3], c.out],
        [...strides],
        'valid',
      );
      return tf.add(tf.slice(whole, [0, pads[0], pads[1], 0], [c.count, height, width, c.out]), bias);
    },
  },
} as const;
type FormName = keyof typeof FORMS;
const NAMES = Object.keys(FORMS) as FormName[];

const outputLengths = (name: FormName, c: Case): Pair => [FORMS[name].length(c, 0), FORMS[name].length(c, 1)];

const casesOf = (name: FormName) => anyCase.filter((c) => outputLengths(name, c).every((length) => length >= 1));

const elboOf =
  (name: FormName, { options: { strides, pads, outputPadding } }: Case) =>
  (x: Tensor, kernel: Tensor, bias: Tensor): Tensor =>
    name === 'convolution'
      ? convolution(x, kernel, bias, { strides, pads })
      : transposedConvolution(x, kernel, bias, { strides, pads, outputPadding });

const shapesOf = (name: FormName, c: Case): number[][] => [
  [c.count, ...c.image, c.channels],
  FORMS[name].kernelShape(c),
  [c.out],
];

const inputsOf = (name: FormName, c: Case, seed = c.seed): TensorData[] =>
  drawInputs(
    shapesOf(name, c).map((shape) => ({ shape, domain: { low: -1, high: 1 } })),
    seed,
  );

const weightsOf = (name: FormName, c: Case): TensorData =>
  randomWeights([c.count, ...outputLengths(name, c), c.out], c.seed);

/** ONNX Runtime's own kernel on the same values: channels before pixels, the kernel as ONNX has it. */
function onnxOf(name: FormName, c: Case): (x: Tensor, kernel: Tensor, bias: Tensor) => Tensor {
  const { strides, pads, outputPadding } = c.options;
  return (x, kernel, bias) => {
    const [output] = x.graph.node(
      FORMS[name].operator,
      [transpose(x, [0, 3, 1, 2]), onnxKernel(kernel), bias],
      {
        kernel_shape: ints(c.kernel),
        strides: ints(strides),
        pads: ints(pads),
        ...(name === 'transposedConvolution' ? { output_padding: ints(outputPadding) } : {}),
      },
      [{ dtype: 'float32', shape: [c.count, c.out, ...outputLengths(name, c)] }],
    );
    return transpose(output as Tensor, [0, 2, 3, 1]);
  };
}

describe.each(NAMES)('%s', (name) => {
  test("is ONNX's operator with the kernel as ONNX has it", async () => {
    await fc.assert(
      fc.asyncProperty(casesOf(name), async (c) => {
        const [actual, expected] = await evaluate(inputsOf(name, c), (...x) => {
          const [image, kernel, bias] = x as [Tensor, Tensor, Tensor];
          return [elboOf(name, c)(image, kernel, bias), onnxOf(name, c)(image, kernel, bias)];
        });
        expect(actual?.shape).toEqual(expected?.shape);
        expectClose(numbersOf(actual as TensorData), numbersOf(expected as TensorData), 1e-4, 'output');
      }),
      { numRuns: 100 },
    );
  });

  test('its values and all its gradients agree with tfjs', async () => {
    await fc.assert(
      fc.asyncProperty(casesOf(name), async (c) => {
        const inputs = inputsOf(name, c);
        const weights = weightsOf(name, c);
        const [output, ...actual] = await evaluate(inputs, (...x) => {
          const y = elboOf(name, c)(...(x as [Tensor, Tensor, Tensor]));
          return [y, ...gradients(weightedSum(y, weights), x)];
        });
        const tfjs = FORMS[name].tfjs(c) as (...x: tf.Tensor[]) => tf.Tensor;
        const expected = tfjsGradients(tfjs, inputs, weights);
        expectClose(numbersOf(output as TensorData), expected.output, 1e-4, 'output');
        for (const [i, gradient] of expected.gradients.entries()) {
          expect(actual[i]?.shape).toEqual(inputs[i]?.shape);
          expectClose(numbersOf(actual[i] as TensorData), gradient, 1e-4, `gradient of input ${i}`);
        }
      }),
      { numRuns: 50 },
    );
  });

  test('its gradients agree with central differences', async () => {
    await fc.assert(
      fc.asyncProperty(casesOf(name), async (c) => {
        const inputs = inputsOf(name, c);
        const weights = weightsOf(name, c);
        const graph = graphOf(shapesOf(name, c), (...x) => {
          const y = elboOf(name, c)(...(x as [Tensor, Tensor, Tensor]));
          return [y, ...gradients(weightedSum(y, weights), x)];
        });
        await withGraph(graph, async (run) => {
          const [, ...actual] = await run(...inputs);
          for (const [i, input] of inputs.entries()) {
            const direction = randomWeights(input.shape, c.seed + i);
            const expected = await differenceAlong(run, inputs, i, direction, weights);
            expectClose([dot(actual[i] as TensorData, direction)], [expected], 1e-3, `derivative by input ${i}`);
          }
        });
      }),
      { numRuns: 30 },
    );
  });

  // f(x, k) = Σ w · conv(x, k) is linear in x and in k: the derivative of v · ∂f/∂x by k is that of f(v, k) by k.
  test('gradients of its gradients agree with tfjs', async () => {
    await fc.assert(
      fc.asyncProperty(casesOf(name), async (c) => {
        const inputs = inputsOf(name, c);
        const others = inputsOf(name, c, c.seed + 1);
        const weights = weightsOf(name, c);
        const actual = await evaluate(inputs, (...x) => {
          const [image, kernel] = x as [Tensor, Tensor];
          const y = elboOf(name, c)(...(x as [Tensor, Tensor, Tensor]));
          const [byImage, byKernel] = gradients(weightedSum(y, weights), [image, kernel]) as [Tensor, Tensor];
          return [
            ...gradients(weightedSum(byKernel, others[1] as TensorData), [image]),
            ...gradients(weightedSum(byImage, others[0] as TensorData), [kernel]),
          ];
        });
        const tfjs = FORMS[name].tfjs(c) as (...x: tf.Tensor[]) => tf.Tensor;
        for (const i of [0, 1]) {
          const elsewhere = inputs.with(1 - i, others[1 - i] as TensorData);
          const expected = tfjsGradients(tfjs, elsewhere, weights).gradients[i] as Float32Array;
          expectClose(numbersOf(actual[i] as TensorData), expected, 1e-4, `gradient by input ${i}`);
        }
      }),
      { numRuns: 50 },
    );
  });
});

describe('what does not fit is refused', () => {
  const graph = new Graph('refusals');
  const tensor = (...shape: (number | string)[]) => graph.input(graph.uniqueName('x'), 'float32', shape);
  const image = tensor(2, 5, 5, 3);
  const [kernel, bias] = [tensor(3, 3, 3, 4), tensor(4)];

  test.each<[string, () => Tensor, string]>([
    ['an open axis', () => convolution(tensor('N', 5, 5, 3), kernel, bias), 'image must have four fixed axes'],
    ['a kernel of two axes', () => convolution(image, tensor(3, 4), bias), 'kernel must have four fixed axes'],
    ['other channels', () => convolution(image, tensor(3, 3, 2, 4), bias), 'image and kernel differ in channels'],
    ['swapped channels', () => transposedConvolution(image, kernel, bias), 'image and kernel differ in channels'],
    ['another bias', () => convolution(image, kernel, tensor(3)), 'the bias must be [4]'],
    ['a stride of 0', () => convolution(image, kernel, bias, { strides: [0, 1] }), 'strides [0, 1] must be 1 or more'],
    [
      'pads below 0',
      () => convolution(image, kernel, bias, { pads: [0, -1, 0, 0] }),
      'pads [0, -1, 0, 0] must be 0 or',
    ],
    ['a kernel larger than the image', () => convolution(image, tensor(6, 3, 3, 4), bias), 'the kernel does not fit'],
    [
      'an output padding of the stride',
      () => transposedConvolution(image, tensor(3, 3, 4, 3), bias, { outputPadding: [0, 1] }),
      'output padding 1 is not below the stride 1',
    ],
    [
      'padding of more than the output',
      () => transposedConvolution(tensor(1, 1, 1, 3), tensor(2, 2, 4, 3), bias, { pads: [1, 0, 1, 0] }),
      'the padding leaves nothing',
    ],
  ])('%s', (_, build, message) => {
    expect(build).toThrow(GraphError);
    expect(build).toThrow(message);
  });
});

function dot(a: TensorData, b: TensorData): number {
  return numbersOf(a).reduce((sum, value, i) => sum + value * (b.data[i] as number), 0);
}

/** (f(x + h·d) − f(x − h·d)) / 2h, exact but for rounding: f is linear in each input. */
async function differenceAlong(
  run: Run,
  inputs: readonly TensorData[],
  index: number,
  direction: TensorData,
  weights: TensorData,
): Promise<number> {
  const input = inputs[index] as TensorData;
  const lossAt = async (offset: number) => {
    const values = Array.from({ length: elementCount(input.shape) }, (_, i) => {
      return (input.data[i] as number) + offset * (direction.data[i] as number);
    });
    const [output] = await run(...inputs.with(index, float32(values, input.shape)));
    return dot(output as TensorData, weights);
  };
  return ((await lossAt(1)) - (await lossAt(-1))) / 2;
}
