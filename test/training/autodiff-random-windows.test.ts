import * as ops from '@elbo/training/onnx/ops';
import type { Tensor } from '@elbo/training/onnx/tensor';
import { transposedLength, type Window, windowedLength } from '@elbo/training/onnx/window';
import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { describe, test } from 'vitest';
import { withBias } from './support/cases/convolution.js';
import { expectGradientsOfTfjs } from './support/gradient-checks.js';
import { drawInputs, GRID, REAL } from './support/operator-case.js';
import { tfAveragePool, tfConv, tfConvTranspose, tfMaxPool } from './support/tfjs-convolution.js';

// Convolutions and pools of random shapes and attributes against tfjs.

const RUNS = { numRuns: 40 };
const seed = fc.nat(1_000_000);
const upTo = (max: number, min = 1) => fc.integer({ min, max });

/** One or two spatial axes, and what is drawn for each of them. */
const axes = fc.array(
  fc.record({
    length: upTo(6),
    kernel: upTo(3),
    stride: upTo(3),
    dilation: upTo(2),
    before: upTo(2, 0),
    after: upTo(2, 0),
    outputPadding: upTo(2, 0),
  }),
  { minLength: 1, maxLength: 2 },
);
type Axes = typeof axes extends fc.Arbitrary<infer T> ? T : never;

function windowOf(drawn: Axes): Window {
  const all = (pick: (axis: Axes[number]) => number) => drawn.map(pick);
  return {
    kernel: all(({ kernel }) => kernel),
    strides: all(({ stride }) => stride),
    dilations: all(({ dilation }) => dilation),
    before: all(({ before }) => before),
    after: all(({ after }) => after),
    outputPadding: all(({ outputPadding, stride }) => Math.min(outputPadding, stride - 1)),
  };
}

const optionsOf = ({ strides, dilations, before, after, outputPadding }: Window) => ({
  strides,
  dilations,
  pads: [...before, ...after],
  outputPadding,
});

describe('gradients of convolutions of any stride, dilation, padding and group', () => {
  const setting = fc.record({
    drawn: axes,
    group: upTo(2),
    inputs: upTo(2),
    outputs: upTo(2),
    bias: fc.boolean(),
    seed,
  });

  test('Conv', async () => {
    await fc.assert(
      fc.asyncProperty(setting, async ({ drawn, group, inputs, outputs, bias, seed }) => {
        const window = windowOf(drawn);
        const lengths = drawn.map(({ length }, axis) => windowedLength(length, window, axis));
        fc.pre(lengths.every((length) => length > 0));
        const shapes = [
          [2, inputs * group, ...drawn.map(({ length }) => length)],
          [outputs * group, inputs, ...window.kernel],
          ...(bias ? [[outputs * group]] : []),
        ];
        const { outputPadding: _, ...options } = optionsOf(window);
        await expectGradientsOfTfjs(
          drawInputs(
            shapes.map((shape) => ({ shape, domain: REAL })),
            seed,
          ),
          (x, w, b) => ops.conv(x, w, b, { ...options, group }),
          (x, w, b) => withBias(tfConv(x, w, window, lengths, group), b),
          seed,
        );
      }),
      RUNS,
    );
  });

  test('ConvTranspose', async () => {
    await fc.assert(
      fc.asyncProperty(setting, async ({ drawn, group, inputs, outputs, bias, seed }) => {
        const window = windowOf(drawn);
        const lengths = drawn.map(({ length }, axis) => transposedLength(length, window, axis));
        fc.pre(lengths.every((length) => length > 0));
        const shapes = [
          [2, inputs * group, ...drawn.map(({ length }) => length)],
          [inputs * group, outputs, ...window.kernel],
          ...(bias ? [[outputs * group]] : []),
        ];
        await expectGradientsOfTfjs(
          drawInputs(
            shapes.map((shape) => ({ shape, domain: REAL })),
            seed,
          ),
          (x, w, b) => ops.convTranspose(x, w, b, { ...optionsOf(window), group }),
          (x, w, b) => withBias(tfConvTranspose(x, w, window, lengths, group), b),
          seed,
        );
      }),
      RUNS,
    );
  });
});

describe('gradients of pools of any stride and padding', () => {
  /** Pools have no dilation here, and less padding than kernel. */
  const pooling = (drawn: Axes): { window: Window; lengths: number[] } => {
    const { kernel, strides, before, after, outputPadding } = windowOf(drawn);
    const less = (padding: readonly number[]) =>
      padding.map((amount, i) => Math.min(amount, (kernel[i] as number) - 1));
    const dilations = kernel.map(() => 1);
    const window = { kernel, strides, dilations, before: less(before), after: less(after), outputPadding };
    const lengths = drawn.map(({ length }, axis) => windowedLength(length, window, axis));
    return { window, lengths };
  };
  const pools: Record<string, [(x: Tensor, w: Window) => Tensor, (x: tf.Tensor, w: Window, l: number[]) => tf.Tensor]> =
    {
      MaxPool: [
        (x, w) => ops.maxPool(x, w.kernel, { strides: w.strides, pads: [...w.before, ...w.after] }),
        (x, w) => tfMaxPool(x, w.kernel, w.strides, w.before, w.after),
      ],
      AveragePool: [
        (x, w) => ops.averagePool(x, w.kernel, { strides: w.strides, pads: [...w.before, ...w.after] }),
        (x, w, lengths) => tfAveragePool(x, w, lengths),
      ],
      'AveragePool, padding counted': [
        (x, w) =>
          ops.averagePool(x, w.kernel, { strides: w.strides, pads: [...w.before, ...w.after], countPadding: true }),
        (x, w, lengths) => tfAveragePool(x, w, lengths, true),
      ],
    };

  test.each(Object.entries(pools))('%s', async (name, [elbo, tfjs]) => {
    await fc.assert(
      fc.asyncProperty(axes, upTo(2), seed, async (drawn, channels, seed) => {
        const { window, lengths } = pooling(drawn);
        fc.pre(lengths.every((length) => length > 0));
        const shape = [2, channels, ...drawn.map(({ length }) => length)];
        await expectGradientsOfTfjs(
          drawInputs([{ shape, domain: name === 'MaxPool' ? GRID : REAL }], seed),
          (x) => elbo(x, window),
          (x) => tfjs(x, window, lengths),
          seed,
        );
      }),
      RUNS,
    );
  });

  test('Resize by whole factors', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(upTo(3), upTo(3)), { minLength: 1, maxLength: 3 }),
        upTo(2),
        seed,
        async (drawn, channels, seed) => {
          await expectGradientsOfTfjs(
            drawInputs([{ shape: [2, channels, ...drawn.map(([length]) => length)], domain: REAL }], seed),
            (x) =>
              ops.upsampleNearest(
                x,
                drawn.map(([, factor]) => factor),
              ),
            (x) =>
              drawn.reduce<tf.Tensor>((rest, [length, factor], axis) => {
                const positions = Array.from({ length: length * factor }, (_, i) => Math.floor(i / factor));
                return tf.gather(rest, positions, axis + 2);
              }, x),
            seed,
          );
        },
      ),
      RUNS,
    );
  });
});

test('of equal elements in a window the first one gets the gradient', async () => {
  // Rows of the window [[1, 1], [1, 0]]: what tfjs gives too.
  const image = { dtype: 'float32' as const, shape: [1, 1, 2, 2], data: Float32Array.of(1, 1, 1, 0) };
  await expectGradientsOfTfjs(
    [image],
    (x) => ops.maxPool(x, [2, 2]),
    (x) => tf.mul(tf.slice(x, [0, 0, 0, 0], [1, 1, 1, 1]), 1),
    3,
  );
});
