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
  Reshape: [floats, vector(-1, 9)],
  Expand: [floats, vector(1, 3)],
  Unsqueeze: [floats, axes],
  Squeeze: [floats, axes],
  Slice: [floats, vector(0, 1, 2), vector(1, 3, 2), axes],
  Pad: [floats, vector(-1, 2, 6)],
  Concat: [floats, floats],
};
const ATTRIBUTES: Readonly<Record<string, fc.Arbitrary<Attributes>>> = {
  Cast: fc.record({ to: fc.constantFrom(1, 2, 6, 7, 9).map(int) }),
  Flatten: fc.record({ axis: fc.integer({ min: -3, max: 3 }).map(int) }),
  Gather: fc.record({ axis: fc.integer({ min: -3, max: 2 }).map(int) }),
  Concat: fc.record({ axis: fc.integer({ min: -3, max: 2 }).map(int) }),
  Transpose: fc.record({ perm: fc.array(fc.integer({ min: -3, max: 3 }), { maxLength: 3 }).map(ints) }),
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
  const right = fc.tuple(...slots);
  const wrong = fc
    .tuple(right, fc.nat(slots.length), anyInput)
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
