import { rangeOf } from '../../onnx/inference/shaping.js';
import {
  add,
  concat,
  pad,
  reduceSum,
  reshape,
  reverse,
  slice,
  squeeze,
  transpose,
  unsqueeze,
  zerosLike,
} from '../../onnx/ops.js';
import type { Dimension, Tensor } from '../../onnx/tensor.js';
import {
  elementsOf,
  fixedLength,
  intAttribute,
  intsAttribute,
  positiveAxis,
  type Rules,
  stringAttribute,
  sumTo,
  withoutGradient,
} from './rule.js';

export const SHAPING: Rules = {
  Reshape: ({ inputs: [x] }, g) => [() => reshapeLike(g, x), undefined],
  Flatten: ({ inputs: [x] }, g) => [() => reshapeLike(g, x)],
  Squeeze: ({ inputs: [, axes] }, g) => [() => unsqueeze(g, elementsOf(axes)), undefined],
  Unsqueeze: ({ inputs: [, axes] }, g) => [() => squeeze(g, elementsOf(axes)), undefined],
  Expand: ({ inputs: [x] }, g) => [() => sumTo(g, x), undefined],
  Transpose: ({ inputs: [x], node }, g) => [
    () => {
      const order = intsAttribute(node, 'perm');
      return transpose(
        g,
        x.shape.map((_, axis) => order.indexOf(axis)),
      );
    },
  ],
  Concat: ({ inputs, node }, g) => {
    const axis = intAttribute(node, 'axis', 0);
    let end = 0;
    return inputs.map((x) => {
      const length = fixedLength(x, axis);
      const start = end;
      end += length;
      return () => slice(g, axis, start, start + length);
    });
  },
  // A part that the loss does not depend on has zeros for a gradient.
  Split: ({ gradients, node }) => [
    () =>
      concat(
        node.outputs.map((part, i) => gradients[i] ?? zerosLike(part)),
        intAttribute(node, 'axis', 0),
      ),
    undefined,
  ],
  // Zeros fill what was cut away.
  Slice: ({ inputs: [x, starts, ends, axes, steps] }, g) => [
    () =>
      elementsOf(axes).reduce((padded, given, i) => {
        const axis = positiveAxis(given, x);
        const length = fixedLength(x, axis);
        const [start, end] = [elementsOf(starts)[i] as number, elementsOf(ends)[i] as number];
        const { step } = rangeOf(axis, length, start, end, steps === undefined ? 1 : (elementsOf(steps)[i] as number));
        const count = fixedLength(padded, axis);
        // What a negative step picked lies in the opposite order, its last element first.
        const ordered = step < 0 ? reverse(padded, axis) : padded;
        const first = step < 0 ? start + (count - 1) * step : start;
        return placed(ordered, axis, first, Math.abs(step), length);
      }, g),
    undefined,
    undefined,
    undefined,
    undefined,
  ],
  // What was put around x is cut away; what it mirrors or repeats gets its gradient.
  Pad: ({ inputs: [x, amounts], node }, g) => [
    () => {
      const mode = stringAttribute(node, 'mode', 'constant');
      const counts = elementsOf(amounts);
      return x.shape.reduce<Tensor>((padded, dimension, axis) => {
        const [before, after] = [counts[axis] as number, counts[axis + x.shape.length] as number];
        if (before + after === 0) return padded;
        const length = Number(dimension);
        const part = (start: number, end: number) => slice(padded, axis, start, end);
        const middle = part(before, before + length);
        if (mode === 'constant') return middle;
        const mirrored = mode === 'reflect';
        const ends = [];
        if (before > 0) {
          const left = part(0, before);
          ends.push(
            mirrored
              ? pad(reverse(left, axis), axis, 1, length - 1 - before)
              : pad(reduceSum(left, [axis], true), axis, 0, length - 1),
          );
        }
        if (after > 0) {
          const right = part(before + length, before + length + after);
          ends.push(
            mirrored
              ? pad(reverse(right, axis), axis, length - 1 - after, 1)
              : pad(reduceSum(right, [axis], true), axis, length - 1, 0),
          );
        }
        return ends.reduce(add, middle);
      }, g);
    },
    undefined,
    undefined,
  ],
  // The copies along an axis get an axis of their own, which is summed.
  Tile: ({ inputs: [x, repeats] }, g) => [
    () => {
      const counts = elementsOf(repeats);
      const copied: number[] = [];
      const shape = x.shape.flatMap((dimension, axis): Dimension[] => {
        if (counts[axis] === 1) return [dimension];
        copied.push(axis + copied.length);
        return [counts[axis] as number, dimension];
      });
      return copied.length === 0 ? g : reduceSum(reshape(g, shape), copied);
    },
    undefined,
  ],

  ...withoutGradient(['Shape', 'Size']),
};

function reshapeLike(gradient: Tensor, x: Tensor): Tensor {
  return reshape(gradient, x.shape);
}

/** An axis of the given length with the elements of x at first, first + step, …, and zeros between them. */
function placed(x: Tensor, axis: number, first: number, step: number, length: number): Tensor {
  if (step === 1) return pad(x, axis, first, length - first - fixedLength(x, axis));
  const count = fixedLength(x, axis);
  const spread = pad(unsqueeze(x, [axis + 1]), axis + 1, 0, step - 1);
  const row = reshape(spread, x.shape.with(axis, count * step));
  const used = Math.min(count * step, length - first);
  return pad(slice(row, axis, 0, used), axis, first, length - first - used);
}
