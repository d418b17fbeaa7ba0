import { type Attributes, float, type Graph, int, ints } from '@elbo/training/onnx/graph';
import { apply } from '@elbo/training/onnx/ops';
import { type DataType, elementCount, int64, type Tensor, type TensorData } from '@elbo/training/onnx/tensor';
import fc from 'fast-check';

/** An operator applied to something: often right, often not. */
export interface RandomCall {
  readonly operator: string;
  readonly inputs: readonly RandomInput[];
  readonly attributes: Attributes;
}

type RandomInput =
  | { readonly kind: 'value'; readonly dtype: DataType; readonly shape: readonly number[] }
  | { readonly kind: 'vector'; readonly values: readonly number[] }
  | { readonly kind: 'none' };

const shape = fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 });
const value = (...dtypes: DataType[]) =>
  fc.record({ kind: fc.constant('value' as const), dtype: fc.constantFrom(...dtypes), shape });
const vector = (min: number, max: number, maxLength = 3) =>
  fc.record({
    kind: fc.constant('vector' as const),
    values: fc.array(fc.integer({ min, max }), { maxLength }),
  });
const nonScalarShape = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 3 });
const floatsOf = (shape: readonly number[]): RandomInput => ({ kind: 'value', dtype: 'float32', shape });
const vectorOf = (values: readonly number[]): RandomInput => ({ kind: 'vector', values });
const none = fc.constant({ kind: 'none' as const });

const anyInput: fc.Arbitrary<RandomInput> = fc.oneof(
  value('float32', 'int64', 'bool', 'int32', 'uint8'),
  vector(-3, 3),
  none,
);
const floats = value('float32');
const axes = vector(-3, 2, 2);
const matrix = floats.map((v) => ({ ...v, shape: [v.shape[0] ?? 2, v.shape[1] ?? 2] }));

/** What an operator takes where it is used rightly; one slot an input. */
const SLOTS: Readonly<Record<string, readonly fc.Arbitrary<RandomInput>[]>> = {
  Where: [value('bool'), floats, floats],
  Clip: [floats, value('float32').map((v) => ({ ...v, shape: [] }))],
  Gather: [value('float32', 'uint8'), value('int64', 'int32')],
  Gemm: [matrix, matrix, floats],
  MatMul: [matrix, matrix],
  Expand: [floats, vector(1, 3)],
  Unsqueeze: [floats, axes],
};
/** Where one input decides what fits beside it. */
const FITTING: Readonly<Record<string, fc.Arbitrary<RandomInput[]>>> = {
  Slice: nonScalarShape.chain((shape) =>
    fc
      .shuffledSubarray(
        shape.map((_, axis) => axis),
        { minLength: 1 },
      )
      .chain((axes) =>
        fc.tuple(
          fc.constant(axes),
          fc.array(fc.tuple(fc.nat(2), fc.integer({ min: 1, max: 3 }), fc.boolean()), {
            minLength: axes.length,
            maxLength: axes.length,
          }),
        ),
      )
      .map(([axes, ranges]) => [
        floatsOf(shape),
        vectorOf(ranges.map(([start]) => start)),
        vectorOf(ranges.map(([, end]) => end)),
        vectorOf(axes.map((axis, i) => (ranges[i]?.[2] ? axis - shape.length : axis))),
      ]),
  ),
  Squeeze: nonScalarShape.map((shape) => {
    const ones = shape.flatMap((length, axis) => (length === 1 ? [axis] : []));
    return [floatsOf(shape), vectorOf(ones.map((axis, i) => (i % 2 === 0 ? axis : axis - shape.length)))];
  }),
  Reshape: fc.tuple(nonScalarShape, fc.nat(4)).map(([shape, kind]) => {
    const [first = 1, ...rest] = shape.toReversed();
    return [floatsOf(shape), vectorOf([[first, ...rest], [-1], [0, -1], [-1, first], [first, 1, -1]][kind] ?? [])];
  }),
  Pad: nonScalarShape.chain((shape) =>
    fc
      .array(fc.nat(2), { minLength: 2 * shape.length, maxLength: 2 * shape.length })
      .map((amounts) => [floatsOf(shape), vectorOf(amounts)]),
  ),
  Concat: fc
    .tuple(nonScalarShape, fc.array(fc.tuple(fc.nat(2), fc.integer({ min: 1, max: 3 })), { maxLength: 2 }))
    .map(([shape, changes]) => [
      floatsOf(shape),
      ...changes.map(([axis, length]) => floatsOf(shape.map((old, other) => (other === axis ? length : old)))),
    ]),
};
const ATTRIBUTES: Readonly<Record<string, fc.Arbitrary<Attributes>>> = {
  Cast: fc.record({ to: fc.constantFrom(1, 2, 6, 7, 9).map(int) }),
  Flatten: fc.record({ axis: fc.integer({ min: -3, max: 3 }).map(int) }),
  Gather: fc.record({ axis: fc.integer({ min: -3, max: 2 }).map(int) }),
  Concat: fc.record({ axis: fc.integer({ min: -3, max: 2 }).map(int) }),
  Transpose: fc.record({
    perm: fc
      .oneof(
        { weight: 4, arbitrary: fc.constantFrom([], [0], [1, 0], [0, 1], [2, 0, 1], [1, 2, 0]) },
        { weight: 1, arbitrary: fc.array(fc.integer({ min: -3, max: 3 }), { maxLength: 3 }) },
      )
      .map(ints),
  }),
  Gemm: fc.record({
    transA: fc.integer({ min: 0, max: 1 }).map(int),
    transB: fc.integer({ min: 0, max: 1 }).map(int),
    alpha: fc.constantFrom(1, 0.5).map(float),
  }),
};
const keepdims = fc.record({ keepdims: fc.integer({ min: 0, max: 1 }).map(int) });
const BINARY = /^(Add|Sub|Mul|Div|Min|Max|Pow|Greater|GreaterOrEqual|Less|LessOrEqual|Equal)$/;

export function randomCall(operator: string): fc.Arbitrary<RandomCall> {
  const isReduction = operator.startsWith('Reduce');
  const slots = SLOTS[operator] ?? (isReduction ? [floats, axes] : BINARY.test(operator) ? [floats, floats] : [floats]);
  const right = FITTING[operator] ?? fc.tuple(...slots);
  const wrong = fc
    .tuple(right, fc.nat(4), anyInput)
    .map(([inputs, at, input]) => [...inputs.slice(0, at), input, ...inputs.slice(at + 1)]);
  // Whether indices lie inside an axis shows only when the graph runs.
  const isRuntimeMatter = (inputs: readonly RandomInput[]) =>
    operator === 'Gather' && inputs.some(({ kind }) => kind === 'vector');
  return fc.record({
    operator: fc.constant(operator),
    inputs: fc
      .oneof({ weight: 3, arbitrary: right }, { weight: 2, arbitrary: wrong })
      .filter((inputs) => !isRuntimeMatter(inputs)),
    attributes: ATTRIBUTES[operator] ?? (isReduction ? keepdims : fc.constant({})),
  });
}

/**
 * Applies the operator, making graph inputs of values and constants of vectors.
 * @returns the output and what to feed, values that no operator divides by zero with or takes for an index out of range
 * @throws {GraphError} where the builder refuses the call
 */
export function applyRandomCall(graph: Graph, call: RandomCall): { output: Tensor; feeds: TensorData[] } {
  const feeds: TensorData[] = [];
  const inputs = call.inputs.map((input): Tensor | undefined => {
    if (input.kind === 'none') return undefined;
    if (input.kind === 'vector') return graph.constant(int64(input.values));
    const isIndex = call.operator === 'Gather' && feeds.length === 1;
    feeds.push(filled(input.dtype, input.shape, isIndex ? 0 : 1));
    return graph.input(`x${feeds.length - 1}`, input.dtype, input.shape);
  });
  return { output: apply(call.operator, inputs, call.attributes), feeds };
}

export function filled(dtype: DataType, shape: readonly number[], fill: number): TensorData {
  const count = elementCount(shape);
  switch (dtype) {
    case 'float32':
      return { dtype, shape, data: new Float32Array(count).fill(fill) };
    case 'int32':
      return { dtype, shape, data: new Int32Array(count).fill(fill) };
    case 'int64':
      return { dtype, shape, data: new BigInt64Array(count).fill(BigInt(fill)) };
    case 'uint8':
    case 'bool':
      return { dtype, shape, data: new Uint8Array(count).fill(fill) };
  }
}
