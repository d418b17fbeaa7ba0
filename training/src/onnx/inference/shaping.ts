import { type Dimension, formatShape, type Shape } from '../tensor.js';
import { axesOf, axisOf, broadcast, type Call, elements, fixed, type Inference, numbers, product } from './call.js';

/** Operators that move, repeat and cut elements, and those that tell of shapes. */
export const SHAPING: Record<string, Inference> = {
  Shape(call) {
    const { shape } = call.input(0);
    return [{ dtype: 'int64', shape: [shape.length], elements: shape }];
  },
  Size(call) {
    call.input(0);
    return [{ dtype: 'int64', shape: [] }];
  },
  Reshape(call) {
    const x = call.input(0);
    return [{ dtype: x.dtype, shape: reshaped(call, x.shape, elements(call, 1)) }];
  },
  Flatten(call) {
    const x = call.input(0);
    const rank = x.shape.length;
    const given = call.int('axis', 1);
    // The axis may also be the rank itself: all axes come before it.
    const axis = given === rank ? rank : axisOf(call, given, rank);
    return [{ dtype: x.dtype, shape: [product(call, x.shape.slice(0, axis)), product(call, x.shape.slice(axis))] }];
  },
  Expand(call) {
    const x = call.input(0);
    const target = elements(call, 1);
    if (target.some((dimension) => typeof dimension === 'number' && dimension < 0))
      call.refuse('lengths must be 0 or more');
    return [{ dtype: x.dtype, shape: broadcast(call, x.shape, target) }];
  },
  Transpose(call) {
    const x = call.input(0);
    const order = call.ints('perm');
    if (order.length !== x.shape.length || x.shape.some((_, axis) => !order.includes(axis))) {
      call.refuse(`perm [${order.join(', ')}] does not name each of ${x.shape.length} axes once`);
    }
    return [{ dtype: x.dtype, shape: order.map((axis) => x.shape[axis] as Dimension) }];
  },
  Unsqueeze(call) {
    const x = call.input(0);
    const rank = x.shape.length + numbers(call, 1).length;
    const at = axesOf(call, 1, rank);
    const rest = [...x.shape];
    const shape = Array.from({ length: rank }, (_, axis) => (at.has(axis) ? 1 : (rest.shift() as Dimension)));
    return [{ dtype: x.dtype, shape }];
  },
  Squeeze(call) {
    const x = call.input(0);
    const at = axesOf(call, 1, x.shape.length);
    // ONNX takes no axes for all axes of length 1; here each is named.
    if (at.size === 0) call.refuse('axes must be named');
    for (const axis of at) if (x.shape[axis] !== 1) call.refuse(`axis ${axis} is ${x.shape[axis]} long, not 1`);
    return [{ dtype: x.dtype, shape: x.shape.filter((_, axis) => !at.has(axis)) }];
  },
  Concat(call) {
    const first = call.input(0);
    const axis = axisOf(call, call.int('axis'), first.shape.length);
    let length = 0;
    for (let i = 0; i < call.inputs.length; i++) {
      const { dtype, shape } = call.input(i);
      const fits =
        dtype === first.dtype &&
        shape.length === first.shape.length &&
        shape.every((dimension, other) => other === axis || dimension === first.shape[other]);
      if (!fits) call.refuse(`all inputs must agree outside axis ${axis}`);
      length += fixed(call, shape[axis]);
    }
    return [{ dtype: first.dtype, shape: first.shape.with(axis, length) }];
  },
  Split(call) {
    const x = call.input(0);
    const axis = axisOf(call, call.int('axis', 0), x.shape.length);
    const lengths = numbers(call, 1);
    const whole = fixed(call, x.shape[axis]);
    if (lengths.length === 0 || lengths.some((length) => length < 1)) call.refuse('lengths must be 1 or more');
    if (lengths.reduce((sum, length) => sum + length, 0) !== whole) {
      call.refuse(`lengths [${lengths.join(', ')}] do not add up to ${whole}`);
    }
    return lengths.map((length) => ({ dtype: x.dtype, shape: x.shape.with(axis, length) }));
  },
  Slice(call) {
    const x = call.input(0);
    let shape: Shape = x.shape;
    for (const { axis, start, end, step } of rangesOf(call, x.shape)) {
      shape = shape.with(axis, Math.ceil((end - start) / step));
    }
    return [{ dtype: x.dtype, shape }];
  },
  Pad(call) {
    const x = call.input(0, 'float32');
    const mode = call.string('mode', 'constant');
    if (!['constant', 'reflect', 'edge'].includes(mode)) call.refuse(`mode ${mode} is not constant, reflect or edge`);
    const value = call.optional(2);
    if (value !== undefined && (value.dtype !== 'float32' || value.constant === undefined || value.shape.length > 0)) {
      call.refuse('the value must be a constant float32 scalar');
    }
    const amounts = numbers(call, 1);
    const rank = x.shape.length;
    if (rank === 0 || amounts.length !== 2 * rank || amounts.some((amount) => amount < 0)) {
      call.refuse(rank === 0 ? 'a scalar has no axis' : `pads must be ${2 * rank} lengths`);
    }
    const shape = x.shape.map((dimension, axis) => {
      const [before, after] = [amounts[axis] as number, amounts[axis + rank] as number];
      if (before + after === 0) return dimension;
      const length = fixed(call, dimension);
      if (mode === 'reflect' && Math.max(before, after) >= length) {
        call.refuse(`axis ${axis} of length ${length} cannot be reflected by ${Math.max(before, after)}`);
      }
      return length + before + after;
    });
    return [{ dtype: x.dtype, shape }];
  },
  Tile(call) {
    const x = call.input(0, 'float32', 'int64', 'int32');
    const repeats = numbers(call, 1);
    if (x.shape.length === 0) call.refuse('a scalar has no axis');
    if (repeats.length !== x.shape.length || repeats.some((count) => count < 1)) {
      call.refuse(`repeats must be ${x.shape.length} counts of 1 or more`);
    }
    const shape = x.shape.map((dimension, axis) =>
      repeats[axis] === 1 ? dimension : fixed(call, dimension) * (repeats[axis] as number),
    );
    return [{ dtype: x.dtype, shape }];
  },
};

/** Part of an axis: every `step`-th element from `start` on, up to but not including `end`; a negative step walks back. */
export interface Range {
  readonly axis: number;
  readonly start: number;
  /** -1 where a walk back includes the first element; ONNX writes -1 - length, since -1 is the last element there. */
  readonly end: number;
  readonly step: number;
}

function rangesOf(call: Call, shape: Shape): Range[] {
  const [starts, ends, axes] = [numbers(call, 1), numbers(call, 2), axesOf(call, 3, shape.length)];
  const steps = call.optional(4) === undefined ? starts.map(() => 1) : numbers(call, 4);
  if (axes.size === 0 || [starts, ends, steps].some(({ length }) => length !== axes.size)) {
    call.refuse('each sliced axis needs one start, one end and one step');
  }
  return [...axes].map((axis, i) => {
    const length = fixed(call, shape[axis]);
    const range = rangeOf(axis, length, starts[i] as number, ends[i] as number, steps[i] as number);
    const { start, end, step } = range;
    const inside = step > 0 ? start >= 0 && start < end && end <= length : start < length && start > end && end >= -1;
    if (step === 0 || !inside) call.refuse(`[${start}, ${end}) is not inside axis ${axis} of length ${length}`);
    return range;
  });
}

/** A range as a Slice node states it. */
export function rangeOf(axis: number, length: number, start: number, end: number, step: number): Range {
  return { axis, start, end: step < 0 && end < 0 ? end + length : end, step };
}

/** ONNX's Reshape: 0 copies the axis of the input, one -1 takes what is left. */
function reshaped(call: Call, from: Shape, to: Shape): Shape {
  const shape = to.map((dimension, axis) =>
    dimension === 0 ? (from[axis] ?? call.refuse(`0 at axis ${axis} has nothing to copy`)) : dimension,
  );
  const numbersBelow = (bound: number) =>
    shape.filter((dimension) => typeof dimension === 'number' && dimension < bound);
  if (numbersBelow(-1).length > 0 || numbersBelow(0).length > 1) {
    call.refuse(`${formatShape(to)}: lengths must be 0 or more, but for one -1`);
  }
  const free = shape.indexOf(-1);
  const known = shape.filter((dimension) => dimension !== -1);
  const namesOf = (dimensions: Shape) => dimensions.filter((dimension) => typeof dimension === 'string').sort();
  const countOf = (dimensions: Shape) =>
    dimensions.reduce<number>((total, dimension) => (typeof dimension === 'number' ? total * dimension : total), 1);
  const [fromNames, knownNames] = [namesOf(from), namesOf(known)];
  const wrong = () => call.refuse(`${formatShape(from)} cannot become ${formatShape(to)}`);
  if (free === -1) {
    return fromNames.join() === knownNames.join() && countOf(from) === countOf(known) ? shape : wrong();
  }
  if (fromNames.join() === knownNames.join()) {
    const length = countOf(from) / countOf(known);
    return Number.isInteger(length) ? shape.with(free, length) : wrong();
  }
  // The free axis must be the named one.
  const [name, ...others] = fromNames.filter((dimension) => !knownNames.includes(dimension));
  return name !== undefined && others.length === 0 && countOf(from) === countOf(known)
    ? shape.with(free, name)
    : wrong();
}
