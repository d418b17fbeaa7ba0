import { RandomSource } from '@elbo/models';
import { gradients } from '@elbo/training/autodiff/gradients';
import { boundWeights } from '@elbo/training/nn/parameters';
import { Graph } from '@elbo/training/onnx/graph';
import { float32, type TensorData } from '@elbo/training/onnx/tensor';
import type { ConvolutionConfiguration } from '@elbo/training/vae/configuration';
import { buildModel } from '@elbo/training/vae/model';
import { vaeObjective } from '@elbo/training/vae/objective';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { tinyConfiguration } from './support/bars.js';
import { engine, expectClose, numbersOf } from './support/harness.js';

const convolution = (channels: number, kernel = 4, stride = 2, padding = 1): ConvolutionConfiguration => ({
  channels,
  kernel,
  stride,
  padding,
});

/** A configuration whose encoder and decoder have the given convolutions. */
const convolutional = (
  encoder: ConvolutionConfiguration[],
  decoder: ConvolutionConfiguration[],
  hidden: number[] = [],
) =>
  tinyConfiguration({
    encoder: { convolutions: encoder, hidden },
    decoder: { convolutions: decoder, hidden },
    binarisation: 'none',
  });

/** Loss and all gradients of one batch, with convolutions in the given form. */
async function lossAndGradients(
  configuration: ReturnType<typeof tinyConfiguration>,
  shape: readonly number[],
  convolutions: 'operators' | 'products',
): Promise<number[][]> {
  const rows = 3;
  const model = buildModel(configuration, shape, { convolutions });
  const graph = new Graph('loss');
  const tensors = model.parameters.map(({ name, shape }) => graph.input(name, 'float32', shape));
  const { losses } = vaeObjective(model, configuration).build(
    {
      x: graph.input('x', 'float32', [rows, ...shape]),
      noise: { z: graph.input('noise', 'float32', [rows, model.latentSize]) },
      scheduled: { kl_weight: graph.input('kl_weight', 'float32', []) },
    },
    boundWeights(model.parameters, tensors),
  );
  const found = gradients(losses.elbo, tensors);
  for (const [i, tensor] of [losses.elbo, ...found].entries()) graph.output(tensor, `y${i}`);
  const random = new RandomSource(9);
  const size = shape.reduce((product, length) => product * length, 1);
  const feeds: Record<string, TensorData> = {
    x: float32(
      Float32Array.from({ length: rows * size }, () => random.uniform()),
      [rows, ...shape],
    ),
    noise: float32(random.fillNormal(new Float32Array(rows * model.latentSize)), [rows, model.latentSize]),
    kl_weight: float32([0.7], []),
  };
  for (const { name, shape, initialise } of model.parameters) {
    // Biases of 0 would hide a wrong use of them.
    const values = initialise(random).map((value) => value + 0.1 * (random.uniform() - 0.5));
    feeds[name] = float32(values, shape);
  }
  const program = await engine.compile(graph);
  const outputs = await program.run(feeds);
  await program.release();
  return graph.outputs.map(({ name }) => numbersOf(outputs[name]));
}

describe('convolutional networks', () => {
  test.each([
    [
      'grey, sizes that halve evenly',
      [1, 8, 8],
      [convolution(3), convolution(5)],
      [convolution(5), convolution(3)],
      [],
    ],
    [
      'odd sizes, with dense layers',
      [1, 7, 9],
      [convolution(3), convolution(4)],
      [convolution(4), convolution(3)],
      [6],
    ],
    [
      'colour, other kernels',
      [3, 6, 5],
      [convolution(4, 3, 1, 1), convolution(2, 3, 2, 0)],
      [convolution(4, 5, 2, 2)],
      [7],
    ],
    ['stride above the kernel', [1, 9, 9], [convolution(2, 2, 3, 0)], [convolution(3, 2, 3, 0)], []],
  ] as const)('%s: products compute what operators compute, and so do their gradients', async (...parameters) => {
    const [, shape, encoder, decoder, hidden] = parameters;
    const configuration = convolutional([...encoder], [...decoder], [...hidden]);
    const expected = await lossAndGradients(configuration, shape, 'operators');
    const actual = await lossAndGradients(configuration, shape, 'products');
    for (const [i, values] of expected.entries()) expectClose(actual[i], values, 2e-4, `output ${i}`);
  });

  test('the decoder gives back the size of the data, whatever the kernels', async () => {
    const layer = fc.record({
      channels: fc.integer({ min: 1, max: 3 }),
      kernel: fc.integer({ min: 1, max: 5 }),
      stride: fc.integer({ min: 1, max: 3 }),
      padding: fc.integer({ min: 0, max: 2 }),
    });
    const side = fc.integer({ min: 1, max: 12 });
    fc.assert(
      fc.property(fc.array(layer, { minLength: 1, maxLength: 3 }), side, side, (layers, height, width) => {
        const shape = [1, height, width];
        const configuration = convolutional([], layers, [2]);
        let model: ReturnType<typeof buildModel>;
        try {
          model = buildModel(configuration, shape);
        } catch (error) {
          expect((error as Error).message).toMatch(/^decoder.convolutions.\d: a kernel of \d/);
          return;
        }
        const graph = new Graph('decoder');
        const tensors = model.parameters.map(({ name, shape }) => graph.input(name, 'float32', shape));
        const z = graph.input('z', 'float32', ['N', model.latentSize]);
        const decoded = model.decode(z, boundWeights(model.parameters, tensors));
        expect(decoded.shape).toEqual(['N', height * width]);
      }),
      { numRuns: 100 },
    );
  });

  test.each([
    [
      [1, 4, 4],
      [convolution(2), convolution(2), convolution(2)],
      /^encoder.convolutions.2: a kernel of 4 with padding 1 does not fit maps of 1x1/,
    ],
    [[16], [convolution(2)], /^encoder.convolutions take images; the data are rows of 16 numbers/],
  ])('data of shape %j that do not fit are refused', (shape, layers, message) => {
    const configuration = { ...convolutional(layers, [], [4]), likelihood: 'gaussian' as const };
    expect(() => buildModel(configuration, shape)).toThrow(message);
  });
});
