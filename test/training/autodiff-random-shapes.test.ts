import * as ops from '@elbo/training/onnx/ops';
import { int64, type Tensor } from '@elbo/training/onnx/tensor';
import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { test } from 'vitest';
import { expectGradientsOfTfjs } from './support/gradient-checks.js';
import { type Domain, drawInputs, GRID, NOT_ZERO, REAL } from './support/operator-case.js';

// Operators along one axis, of random shapes and attributes, against tfjs.

const seed = fc.nat(1_000_000);
const choice = fc.nat(1_000_000);
const shapes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 });

/** The elements `positions` of an axis. */
const picked = (x: tf.Tensor, axis: number, positions: readonly number[]) => tf.gather(x, [...positions], axis);
const range = (length: number) => Array.from({ length }, (_, i) => i);

interface Drawn {
  readonly shape: readonly number[];
  readonly axis: number;
  readonly length: number;
  /** A number to make further choices of. */
  readonly choice: number;
}
type Operator = readonly [
  elbo: (x: Tensor, drawn: Drawn) => Tensor,
  tfjs: (x: tf.Tensor, drawn: Drawn) => tf.Tensor,
  domain?: Domain,
];

/** From where to where, by which step, and the positions on the way. */
function walk({ length, choice }: Drawn): { start: number; end: number; step: number; positions: number[] } {
  const step = [1, 2, 3, -1, -2][choice % 5] as number;
  const start = (choice >> 3) % length;
  const end = step > 0 ? start + 1 + ((choice >> 6) % (length - start)) : start - 1 - ((choice >> 6) % (start + 1));
  const positions = range(length + 1)
    .map((i) => start + i * step)
    .filter((position) => (step > 0 ? position < end : position > end));
  return { start, end, step, positions };
}

const indicesOf = ({ length, choice }: Drawn): number[] =>
  range(1 + (choice % 4)).map((i) => ((choice >> (3 * i)) % (2 * length)) - length);
const positive = (indices: readonly number[], length: number) => indices.map((i) => (i < 0 ? i + length : i));

/** Lengths of the parts before and after an edge, at most the longest that can be mirrored. */
const edges = ({ length, choice }: Drawn): [number, number] => [choice % length, (choice >> 4) % length];

const OPERATORS: Record<string, Operator> = {
  Softmax: [(x, { axis }) => ops.softmax(x, axis), (x, { axis }) => tf.exp(tf.sub(x, tf.logSumExp(x, axis, true)))],
  LogSoftmax: [(x, { axis }) => ops.logSoftmax(x, axis), (x, { axis }) => tf.sub(x, tf.logSumExp(x, axis, true))],
  LayerNormalization: [
    (x, { axis, shape }) => {
      const normalised = shape.slice(axis);
      const ones = {
        dtype: 'float32' as const,
        shape: normalised,
        data: new Float32Array(normalised.reduce((a, b) => a * b, 1)).fill(1),
      };
      return ops.layerNorm(x, x.graph.constant(ones), undefined, { epsilon: 0.1 });
    },
    (x, { axis, shape }) => {
      const axes = range(shape.length).slice(axis);
      const centred = tf.sub(x, tf.mean(x, axes, true));
      return tf.div(centred, tf.sqrt(tf.add(tf.mean(tf.square(centred), axes, true), 0.1)));
    },
  ],
  ReduceProd: [(x, { axis }) => ops.reduceProd(x, [axis]), (x, { axis }) => tf.prod(x, axis), NOT_ZERO],
  ReduceL1: [(x, { axis }) => ops.reduceL1(x, [axis], true), (x, { axis }) => tf.sum(tf.abs(x), axis, true), NOT_ZERO],
  ReduceL2: [(x, { axis }) => ops.reduceL2(x, [axis]), (x, { axis }) => tf.sqrt(tf.sum(tf.square(x), axis)), NOT_ZERO],
  CumSum: [
    (x, { axis, choice }) => ops.cumSum(x, axis, { exclusive: choice % 2 === 1, reverse: (choice >> 1) % 2 === 1 }),
    // A product with the triangular matrix of what belongs to which sum.
    (x, { axis, length, choice }) => {
      const [exclusive, reverse] = [choice % 2 === 1, (choice >> 1) % 2 === 1];
      const parts = range(length).map((i) => picked(x, axis, [i]));
      const sums = range(length).map((i) =>
        parts
          .filter((_, j) => (i === j ? !exclusive : reverse ? j > i : j < i))
          .reduce<tf.Tensor>((a, b) => tf.add(a, b), tf.mul(parts[i] as tf.Tensor, 0)),
      );
      return tf.concat(sums, axis);
    },
  ],
  Slice: [
    (x, drawn) => {
      const { start, end, step } = walk(drawn);
      return ops.slice(x, drawn.axis, start, step < 0 ? Math.max(end, -1) : end, step);
    },
    (x, drawn) => picked(x, drawn.axis, walk(drawn).positions),
  ],
  Split: [
    (x, { axis, length, choice }) => {
      const first = 1 + (choice % length);
      const parts = ops.split(x, axis, first === length ? [length] : [first, length - first]);
      return ops.exp(parts[(choice >> 5) % parts.length] as Tensor);
    },
    (x, { axis, length, choice }) => {
      const first = 1 + (choice % length);
      const parts = first === length ? [range(length)] : [range(first), range(length).slice(first)];
      return tf.exp(picked(x, axis, parts[(choice >> 5) % parts.length] as number[]));
    },
  ],
  'Pad, mirrored': [
    (x, drawn) => ops.pad(x, drawn.axis, ...edges(drawn), 'reflect'),
    (x, drawn) => {
      const [before, after] = edges(drawn);
      const mirrored = range(before + drawn.length + after).map((i) => {
        const position = Math.abs(i - before);
        return position < drawn.length ? position : 2 * (drawn.length - 1) - position;
      });
      return picked(x, drawn.axis, mirrored);
    },
  ],
  'Pad, ends repeated': [
    (x, drawn) => ops.pad(x, drawn.axis, ...edges(drawn), 'edge'),
    (x, drawn) => {
      const [before, after] = edges(drawn);
      const clamp = (i: number) => Math.min(Math.max(i - before, 0), drawn.length - 1);
      return picked(x, drawn.axis, range(before + drawn.length + after).map(clamp));
    },
  ],
  Tile: [
    (x, { shape, axis, choice }) =>
      ops.tile(
        x,
        shape.map((_, i) => (i === axis ? 1 + (choice % 3) : 1)),
      ),
    (x, { axis, length, choice }) =>
      picked(
        x,
        axis,
        range(length * (1 + (choice % 3))).map((i) => i % length),
      ),
  ],
  Gather: [
    (x, drawn) => ops.gather(x, x.graph.constant(int64(indicesOf(drawn))), drawn.axis - drawn.shape.length),
    (x, drawn) => picked(x, drawn.axis, positive(indicesOf(drawn), drawn.length)),
  ],
  GatherElements: [
    (x, drawn) => {
      const indices = indicesOf(drawn);
      const shape = drawn.shape.with(drawn.axis, indices.length);
      const column = x.graph.constant(
        int64(
          indices,
          shape.map((_, i) => (i === drawn.axis ? indices.length : 1)),
        ),
      );
      return ops.gatherElements(x, ops.apply('Expand', [column, x.graph.constant(int64(shape))]), drawn.axis);
    },
    (x, drawn) => picked(x, drawn.axis, positive(indicesOf(drawn), drawn.length)),
  ],
  ScatterElements: [
    (x, drawn) => {
      const indices = indicesOf(drawn);
      const shape = drawn.shape.with(drawn.axis, indices.length);
      const column = x.graph.constant(
        int64(
          indices,
          shape.map((_, i) => (i === drawn.axis ? indices.length : 1)),
        ),
      );
      const updates = ops.gather(x, x.graph.constant(int64(indices.map(() => 0))), drawn.axis);
      return ops.scatterAdd(x, ops.apply('Expand', [column, x.graph.constant(int64(shape))]), updates, drawn.axis);
    },
    // Each index adds the first element of the axis to its own.
    (x, drawn) => {
      const parts = range(drawn.length).map((i) => picked(x, drawn.axis, [i]));
      const hits = positive(indicesOf(drawn), drawn.length);
      return tf.concat(
        parts.map((part, i) => tf.add(part, tf.mul(parts[0] as tf.Tensor, hits.filter((hit) => hit === i).length))),
        drawn.axis,
      );
    },
  ],
  TopK: [
    (x, { axis, length, choice }) => ops.topK(x, 1 + (choice % length), axis).values,
    (x, { axis, length, choice }) => {
      const order = range(x.rank).filter((i) => i !== axis);
      const moved = tf.transpose(x, [...order, axis]);
      const { indices } = tf.topk(tf.tensor(moved.dataSync(), moved.shape), 1 + (choice % length));
      const hits = tf.cast(
        tf.equal(tf.expandDims(indices, -1), tf.tensor(range(length), [length], 'int32')),
        'float32',
      );
      const values = tf.sum(tf.mul(hits, tf.expandDims(moved, -2)), -1);
      return tf.transpose(
        values,
        range(x.rank).map((i) => (i === axis ? order.length : order.indexOf(i))),
      );
    },
    GRID,
  ],
};

test.each(Object.entries(OPERATORS))('gradients of %s along any axis', async (_name, [elbo, tfjs, domain = REAL]) => {
  await fc.assert(
    fc.asyncProperty(shapes, choice, choice, seed, async (shape, pick, choice, seed) => {
      const axis = pick % shape.length;
      const drawn = { shape, axis, length: shape[axis] as number, choice };
      await expectGradientsOfTfjs(
        drawInputs([{ shape, domain }], seed),
        (x) => elbo(x, drawn),
        (x) => tfjs(x, drawn),
        seed,
      );
    }),
    { numRuns: 40 },
  );
});
