import { type Attributes, float, type Graph, int, ints, string } from '@elbo/training/onnx/graph';
import { applyAll } from '@elbo/training/onnx/ops';
import { type DataType, elementCount, float32, int64, type Tensor, type TensorData } from '@elbo/training/onnx/tensor';
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
  /** A constant int64 scalar. */
  | { readonly kind: 'integer'; readonly value: number }
  /** A constant float32 vector or scalar. */
  | { readonly kind: 'factors'; readonly values: readonly number[]; readonly shape: readonly number[] }
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
const integerOf = (value: number): RandomInput => ({ kind: 'integer', value });
const indicesOf = (shape: readonly number[]): RandomInput => ({ kind: 'value', dtype: 'int64', shape });
const factorsOf = (values: readonly number[]): RandomInput => ({ kind: 'factors', values, shape: [values.length] });
const nothing: RandomInput = { kind: 'none' };
const none = fc.constant({ kind: 'none' as const });

const anyInput: fc.Arbitrary<RandomInput> = fc.oneof(
  value('float32', 'int64', 'bool', 'int32', 'uint8'),
  vector(-3, 3),
  fc.integer({ min: -2, max: 3 }).map(integerOf),
  none,
);
const floats = value('float32');
const axes = vector(-3, 2, 2);
const matrix = floats.map((v) => ({ ...v, shape: [v.shape[0] ?? 2, v.shape[1] ?? 2] }));

/** [N, C, …] with one to three spatial axes. */
function images(): fc.Arbitrary<number[]> {
  return fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 3, maxLength: 5 });
}

/** Images, weights whose first axes the channels of images and of a group's output make, and sometimes a bias. */
function convolution(weightAxes: (c: number, m: number) => number[]): fc.Arbitrary<RandomInput[]> {
  const channels = fc.constantFrom(1, 2, 4);
  return fc
    .tuple(
      images(),
      channels,
      channels,
      fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 3, maxLength: 3 }),
      fc.boolean(),
    )
    .map(([[n = 1, , ...spatial], c, m, kernel, bias]) => [
      floatsOf([n, c, ...spatial]),
      floatsOf([...weightAxes(c, m), ...kernel.slice(0, spatial.length)]),
      ...(bias ? [floatsOf([m])] : []),
    ]);
}

/** What an operator takes where it is used rightly; one slot an input. */
const SLOTS: Readonly<Record<string, readonly fc.Arbitrary<RandomInput>[]>> = {
  Where: [value('bool'), floats, floats],
  Max: [floats, floats, floats],
  Min: [floats, floats],
  Clip: [floats, value('float32').map((v) => ({ ...v, shape: [] }))],
  Gather: [value('float32', 'uint8'), value('int64', 'int32')],
  Gemm: [matrix, matrix, floats],
  MatMul: [floats, floats],
  Not: [value('bool')],
  CumSum: [floats, fc.integer({ min: -2, max: 1 }).map(integerOf)],
  OneHot: [value('int64'), fc.integer({ min: 1, max: 4 }).map(integerOf), floats.map((v) => ({ ...v, shape: [2] }))],
  And: [value('bool'), value('bool')],
  Or: [value('bool'), value('bool')],
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
          fc.array(
            fc.tuple(fc.nat(2), fc.integer({ min: -4, max: 3 }), fc.boolean(), fc.constantFrom(1, 1, 2, -1, -2)),
            {
              minLength: axes.length,
              maxLength: axes.length,
            },
          ),
          fc.boolean(),
        ),
      )
      .map(([axes, ranges, stepped]) => [
        floatsOf(shape),
        vectorOf(ranges.map(([start]) => start)),
        vectorOf(ranges.map(([, end]) => end)),
        vectorOf(axes.map((axis, i) => (ranges[i]?.[2] ? axis - shape.length : axis))),
        ...(stepped ? [vectorOf(ranges.map(([, , , step]) => step))] : []),
      ]),
  ),
  Split: nonScalarShape.chain((shape) =>
    fc
      .array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 3 })
      .map((lengths) => [floatsOf([lengths.reduce((a, b) => a + b, 0), ...shape.slice(1)]), vectorOf(lengths)]),
  ),
  Tile: nonScalarShape.chain((shape) =>
    fc
      .array(fc.integer({ min: 1, max: 3 }), { minLength: shape.length, maxLength: shape.length })
      .map((repeats) => [floatsOf(shape), vectorOf(repeats)]),
  ),
  TopK: fc.tuple(nonScalarShape, fc.integer({ min: 1, max: 3 })).map(([shape, k]) => [floatsOf(shape), vectorOf([k])]),
  GatherElements: fc
    .tuple(nonScalarShape, fc.integer({ min: 1, max: 3 }))
    .map(([shape, count]) => [floatsOf(shape), indicesOf([count, ...shape.slice(1)])]),
  ScatterElements: fc
    .tuple(nonScalarShape, fc.integer({ min: 1, max: 3 }))
    .map(([[first = 1, ...rest], count]) => [
      floatsOf([first, ...rest]),
      indicesOf([count, ...rest]),
      floatsOf([count, ...rest]),
    ]),
  LayerNormalization: fc
    .tuple(nonScalarShape, fc.boolean())
    .map(([shape, bias]) => [floatsOf(shape), floatsOf(shape.slice(-1)), ...(bias ? [floatsOf(shape.slice(-1))] : [])]),
  Conv: convolution((c, m) => [m, c]),
  ConvTranspose: convolution((c, m) => [c, m]),
  MaxPool: images().map((shape) => [floatsOf(shape)]),
  AveragePool: images().map((shape) => [floatsOf(shape)]),
  GlobalAveragePool: images().map((shape) => [floatsOf(shape)]),
  Resize: fc
    .tuple(images(), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 0, max: 3 }))
    .map(([shape, factor, last]) => [
      floatsOf(shape),
      nothing,
      factorsOf([1, 1, ...shape.slice(3).map(() => factor), last]),
    ]),
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
      .tuple(fc.array(fc.nat(2), { minLength: 2 * shape.length, maxLength: 2 * shape.length }), fc.boolean())
      .map(([amounts, value]) => [
        floatsOf(shape),
        vectorOf(amounts),
        ...(value ? [{ kind: 'factors' as const, values: [2], shape: [] }] : []),
      ]),
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
  ArgMax: fc.record({ axis: fc.integer({ min: -3, max: 2 }).map(int), keepdims: fc.nat(1).map(int) }),
  CumSum: fc.record({ exclusive: fc.nat(1).map(int), reverse: fc.nat(1).map(int) }),
  Softmax: fc.record({ axis: fc.integer({ min: -3, max: 2 }).map(int) }),
  LogSoftmax: fc.record({ axis: fc.integer({ min: -3, max: 2 }).map(int) }),
  Elu: fc.record({ alpha: fc.constantFrom(1, 0.5).map(float) }),
  LeakyRelu: fc.record({ alpha: fc.constantFrom(1, 0.5).map(float) }),
  LayerNormalization: fc.record({ axis: fc.constantFrom(-1, -1, -1, 0, 1).map(int) }),
  Split: fc.record({ axis: fc.constantFrom(0, 0, 0, 1, -1).map(int) }),
  TopK: fc.record({ axis: fc.integer({ min: -3, max: 2 }).map(int), largest: fc.nat(1).map(int) }),
  GatherElements: fc.record({ axis: fc.constantFrom(0, 0, -1, 1).map(int) }),
  ScatterElements: fc.record({
    axis: fc.constantFrom(0, 0, -1, 1).map(int),
    reduction: fc.constantFrom('add', 'add', 'add', 'none').map(string),
  }),
  Pad: fc.record({ mode: fc.constantFrom('constant', 'reflect', 'edge', 'wrap').map(string) }),
  Conv: windows({ dilations: 1, group: true }),
  ConvTranspose: windows({ dilations: 1, output_padding: 0, group: true }),
  MaxPool: windows({ kernel_shape: 1 }),
  AveragePool: windows({ kernel_shape: 1 }),
  Resize: fc.constant({
    mode: string('nearest'),
    coordinate_transformation_mode: string('asymmetric'),
    nearest_mode: string('floor'),
  }),
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
/** Attributes of a window over one to three axes, each there or not, and the least values of some of them. */
function windows({
  group = false,
  ...least
}: Record<string, number | boolean> & { group?: boolean }): fc.Arbitrary<Attributes> {
  const values = (count: number, min: number, max: number) =>
    fc.array(fc.integer({ min, max }), { minLength: count, maxLength: count }).map(ints);
  return fc.integer({ min: 1, max: 3 }).chain((axes) =>
    fc.record(
      {
        strides: values(axes, 1, 3),
        pads: values(2 * axes, 0, 2),
        ...Object.fromEntries(
          Object.entries(least).map(([name, min]) => [name, values(axes, Number(min), Number(min) + 1)]),
        ),
        ...(group ? { group: fc.constantFrom(1, 2).map(int) } : {}),
      },
      { requiredKeys: 'kernel_shape' in least ? (['kernel_shape'] as never[]) : [] },
    ),
  );
}
const keepdims = fc.record({ keepdims: fc.integer({ min: 0, max: 1 }).map(int) });
const BINARY = /^(Add|Sub|Mul|Div|Pow|Greater|GreaterOrEqual|Less|LessOrEqual|Equal)$/;

const INDEXING = /^(Gather|GatherElements|ScatterElements)$/;

export function randomCall(operator: string): fc.Arbitrary<RandomCall> {
  const isReduction = operator.startsWith('Reduce');
  const slots = SLOTS[operator] ?? (isReduction ? [floats, axes] : BINARY.test(operator) ? [floats, floats] : [floats]);
  const right = FITTING[operator] ?? fc.tuple(...slots);
  const wrong = fc
    .tuple(right, fc.nat(4), anyInput)
    .map(([inputs, at, input]) => [...inputs.slice(0, at), input, ...inputs.slice(at + 1)]);
  // Whether indices lie inside an axis shows only when the graph runs.
  const isRuntimeMatter = (inputs: readonly RandomInput[]) =>
    INDEXING.test(operator) && inputs.some(({ kind }) => kind === 'vector' || kind === 'integer');
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
 * @returns the outputs and what to feed, values that no operator divides by zero with or takes for an index out of range
 * @throws {GraphError} where the builder refuses the call
 */
export function applyRandomCall(graph: Graph, call: RandomCall): { outputs: readonly Tensor[]; feeds: TensorData[] } {
  const feeds: TensorData[] = [];
  const inputs = call.inputs.map((input): Tensor | undefined => {
    if (input.kind === 'none') return undefined;
    if (input.kind === 'vector') return graph.constant(int64(input.values));
    if (input.kind === 'integer') return graph.constant(int64([input.value], []));
    if (input.kind === 'factors') return graph.constant(float32(input.values, input.shape));
    const isIndex = INDEXING.test(call.operator) && feeds.length === 1;
    feeds.push(filled(input.dtype, input.shape, isIndex ? 0 : 1));
    return graph.input(`x${feeds.length - 1}`, input.dtype, input.shape);
  });
  return { outputs: applyAll(call.operator, inputs, call.attributes), feeds };
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
