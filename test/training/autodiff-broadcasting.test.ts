import * as ops from '@elbo/training/onnx/ops';
import { elementCount, type Tensor } from '@elbo/training/onnx/tensor';
import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { describe, test } from 'vitest';
import { expectGradientsOfTfjs } from './support/gradient-checks.js';
import { broadcastFirst, drawInputs } from './support/operator-cases.js';

// Random shapes and attributes against tfjs; the cases of every rule stand in support/operator-cases.ts.

const RUNS = { numRuns: 60 };
const seed = fc.nat(1_000_000);

/** Shapes that broadcast to a common one: leading axes left out, others shrunk to 1. */
function broadcastingShapes(count: number, maxRank = 4): fc.Arbitrary<number[][]> {
  return fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: maxRank }).chain((shape) => {
    const one = fc
      .tuple(fc.nat(shape.length), fc.array(fc.boolean(), { minLength: shape.length, maxLength: shape.length }))
      .map(([drop, shrink]) => shape.map((length, axis) => (shrink[axis] ? 1 : length)).slice(drop));
    return fc.array(one, { minLength: count, maxLength: count });
  });
}

const REAL = { low: -1.5, high: 1.5 };
const binaryOperators = {
  Add: [ops.add, tf.add, REAL, REAL],
  Sub: [ops.sub, tf.sub, REAL, REAL],
  Mul: [ops.mul, tf.mul, REAL, REAL],
  Div: [ops.div, tf.div, REAL, { ...REAL, awayFrom: [0] }],
  Pow: [ops.pow, tf.pow, { low: 0.5, high: 2 }, REAL],
  Max: [ops.max, broadcastFirst(tf.maximum), { gridOffset: 0 }, { gridOffset: 0.25 }],
  Min: [ops.min, broadcastFirst(tf.minimum), { gridOffset: 0 }, { gridOffset: 0.25 }],
} as const;

describe('gradients of broadcast operands have the shape of the operand', () => {
  test.each(Object.entries(binaryOperators))('%s', async (_name, [elbo, tfjs, domainA, domainB]) => {
    await fc.assert(
      fc.asyncProperty(broadcastingShapes(2), seed, async ([a = [], b = []], seed) => {
        const inputs = drawInputs(
          [
            { shape: a, domain: domainA },
            { shape: b, domain: domainB },
          ],
          seed,
        );
        await expectGradientsOfTfjs(inputs, elbo as (...x: Tensor[]) => Tensor, tfjs as typeof tf.add, seed);
      }),
      RUNS,
    );
  });

  test('Where', async () => {
    await fc.assert(
      fc.asyncProperty(broadcastingShapes(3), seed, async ([c = [], a = [], b = []], seed) => {
        const mask = Uint8Array.from({ length: elementCount(c) }, (_, i) => ((seed >> (i % 20)) & 1) as number);
        const inputs = drawInputs(
          [a, b].map((shape) => ({ shape, domain: REAL })),
          seed,
        );
        await expectGradientsOfTfjs(
          inputs,
          (x, y) =>
            ops.where((x as Tensor).graph.constant({ dtype: 'bool', shape: c, data: mask }), x as Tensor, y as Tensor),
          (x, y) => {
            const m = tf.tensor(Array.from(mask), c, 'float32');
            return tf.add(tf.mul(m, x as tf.Tensor), tf.mul(tf.sub(1, m), y as tf.Tensor));
          },
          seed,
        );
      }),
      RUNS,
    );
  });

  test('MatMul with batch axes', async () => {
    const length = fc.integer({ min: 1, max: 3 });
    await fc.assert(
      fc.asyncProperty(
        broadcastingShapes(2, 2),
        length,
        length,
        length,
        seed,
        async ([a = [], b = []], m, k, n, seed) => {
          const batch = tf.backend_util.assertAndGetBroadcastShape(a, b);
          const inputs = drawInputs(
            [
              [...a, m, k],
              [...b, k, n],
            ].map((shape) => ({ shape, domain: REAL })),
            seed,
          );
          await expectGradientsOfTfjs(
            inputs,
            (x, y) => ops.matmul(x as Tensor, y as Tensor),
            (x, y) =>
              tf.matMul(
                tf.broadcastTo(x as tf.Tensor, [...batch, m, k]),
                tf.broadcastTo(y as tf.Tensor, [...batch, k, n]),
              ),
            seed,
          );
        },
      ),
      RUNS,
    );
  });
});

test('gradients of Gemm, whatever its attributes and the shape of C', async () => {
  const length = fc.integer({ min: 1, max: 4 });
  const factor = fc.constantFrom(1, 0.5, -1.25, 3);
  const options = fc.record({ transA: fc.boolean(), transB: fc.boolean(), alpha: factor, beta: factor });
  const shapeOfC = fc.constantFrom('none', 'scalar', 'vector', 'row', 'column', 'full');
  await fc.assert(
    fc.asyncProperty(length, length, length, options, shapeOfC, seed, async (m, k, n, options, kind, seed) => {
      const { transA, transB, alpha, beta } = options;
      const c = { none: undefined, scalar: [], vector: [n], row: [1, n], column: [m, 1], full: [m, n] }[kind];
      const shapes = [transA ? [k, m] : [m, k], transB ? [n, k] : [k, n], ...(c === undefined ? [] : [c])];
      const inputs = drawInputs(
        shapes.map((shape) => ({ shape, domain: REAL })),
        seed,
      );
      await expectGradientsOfTfjs(
        inputs,
        (x, y, z) => ops.gemm(x as Tensor, y as Tensor, z, options),
        (x, y, z) => {
          const product = tf.mul(tf.matMul(x as tf.Tensor, y as tf.Tensor, transA, transB), alpha);
          return z === undefined ? product : tf.add(product, tf.mul(z, beta));
        },
        seed,
      );
    }),
    { numRuns: 150 },
  );
});

describe('gradients of reductions over any axes, kept or not', () => {
  const reductions = {
    ReduceSum: [ops.reduceSum, tf.sum, REAL],
    ReduceMean: [ops.reduceMean, tf.mean, REAL],
    ReduceSumSquare: [
      ops.reduceSumSquare,
      (x: tf.Tensor, axes: number[], keep: boolean) => tf.sum(tf.square(x), axes, keep),
      REAL,
    ],
    ReduceMax: [ops.reduceMax, tf.max, { gridOffset: 0 }],
    ReduceMin: [ops.reduceMin, tf.min, { gridOffset: 0 }],
    ReduceLogSumExp: [ops.reduceLogSumExp, tf.logSumExp, REAL],
  } as const;
  const shapeAndAxes = fc
    .array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 4 })
    .chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        fc.shuffledSubarray(
          shape.map((_, axis) => axis),
          { minLength: 1 },
        ),
        fc.boolean(),
      ),
    )
    .map(([shape, axes, fromTheEnd]) => ({ shape, axes: fromTheEnd ? axes.map((axis) => axis - shape.length) : axes }));

  test.each(Object.entries(reductions))('%s', async (_name, [elbo, tfjs, domain]) => {
    await fc.assert(
      fc.asyncProperty(shapeAndAxes, fc.boolean(), seed, async ({ shape, axes }, keep, seed) => {
        await expectGradientsOfTfjs(
          drawInputs([{ shape, domain }], seed),
          (x) => elbo(x as Tensor, axes, keep),
          (x) => tfjs(x as tf.Tensor, axes, keep),
          seed,
        );
      }),
      RUNS,
    );
  });
});

/** One step of a chain of operators that only move elements about. */
interface Move {
  readonly kind: 'transpose' | 'reshape' | 'unsqueeze' | 'squeeze' | 'slice' | 'pad' | 'concat' | 'expand';
  readonly choice: number;
}

const moves: fc.Arbitrary<Move[]> = fc.array(
  fc.record({
    kind: fc.constantFrom<Move['kind']>(
      'transpose',
      'reshape',
      'unsqueeze',
      'squeeze',
      'slice',
      'pad',
      'concat',
      'expand',
    ),
    choice: fc.nat(10_000),
  }),
  { minLength: 1, maxLength: 6 },
);

test('gradients through chains of operators that move elements', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 3 }),
      moves,
      seed,
      async (shape, chain, seed) => {
        await expectGradientsOfTfjs(
          drawInputs([{ shape, domain: REAL }], seed),
          (x) => chain.reduce((y, move) => moveElbo(y, move), x as Tensor),
          (x) => chain.reduce((y, move) => moveTfjs(y, move), x as tf.Tensor),
          seed,
        );
      },
    ),
    { numRuns: 200 },
  );
});

const axisOf = (shape: readonly number[], choice: number) => choice % shape.length;
const rotation = (shape: readonly number[], choice: number) => shape.map((_, axis) => (axis + choice) % shape.length);
/** Half of the moves count their axis from the end. */
const counted = (axis: number, rank: number, choice: number) => (choice % 2 === 0 ? axis : axis - rank);

function moveElbo(x: Tensor, { kind, choice }: Move): Tensor {
  const shape = x.shape as readonly number[];
  const axis = axisOf(shape, choice);
  const length = shape[axis] ?? 1;
  const at = counted(axis, shape.length, choice >> 3);
  switch (kind) {
    case 'transpose':
      return ops.transpose(x, rotation(shape, choice));
    case 'reshape':
      return ops.reshape(x, shape.length > 1 ? [(shape[0] ?? 1) * (shape[1] ?? 1), ...shape.slice(2)] : [1, -1]);
    case 'unsqueeze':
      return shape.length > 4 ? x : ops.unsqueeze(x, [counted(axis, shape.length + 1, choice >> 3)]);
    case 'squeeze':
      return shape.length > 1 && length === 1 ? ops.squeeze(x, [at]) : x;
    case 'slice':
      return ops.slice(x, at, length > 1 ? 1 : 0, length);
    case 'pad':
      return ops.pad(x, at, choice % 3, (choice >> 2) % 2);
    case 'concat':
      return ops.concat([x, ops.mul(x, x)], at);
    case 'expand':
      return ops.mul(
        ops.unsqueeze(x, [0]),
        x.graph.constant({ dtype: 'float32', shape: [2, ...shape.map(() => 1)], data: Float32Array.of(1, -2) }),
      );
  }
}

function moveTfjs(x: tf.Tensor, { kind, choice }: Move): tf.Tensor {
  const { shape } = x;
  const axis = axisOf(shape, choice);
  const length = shape[axis] ?? 1;
  switch (kind) {
    case 'transpose':
      return tf.transpose(x, rotation(shape, choice));
    case 'reshape':
      return tf.reshape(x, shape.length > 1 ? [(shape[0] ?? 1) * (shape[1] ?? 1), ...shape.slice(2)] : [1, -1]);
    case 'unsqueeze':
      return shape.length > 4 ? x : tf.expandDims(x, axis);
    case 'squeeze':
      return shape.length > 1 && length === 1 ? tf.squeeze(x, [axis]) : x;
    case 'slice': {
      const begin = shape.map((_, other) => (other === axis && length > 1 ? 1 : 0));
      return tf.slice(
        x,
        begin,
        shape.map((dimension, other) => dimension - (begin[other] ?? 0)),
      );
    }
    case 'pad':
      return tf.pad(
        x,
        shape.map((_, other): [number, number] => (other === axis ? [choice % 3, (choice >> 2) % 2] : [0, 0])),
      );
    case 'concat':
      return tf.concat([x, tf.mul(x, x)], axis);
    case 'expand':
      return tf.mul(tf.expandDims(x, 0), tf.tensor([1, -2], [2, ...shape.map(() => 1)]));
  }
}
