import { DATA_TYPES, elementCount, int64, isStatic, type Tensor, type TensorData } from '../tensor.js';
import { broadcastShape, type Match, type Rule } from './rule.js';

/** Larger results are left to the runtime, since they would stand in the graph. */
const MOST_ELEMENTS = 16;

const UNARY: Readonly<Record<string, (x: number) => number>> = {
  Neg: (x) => -x,
  Exp: Math.exp,
  Log: Math.log,
  Sqrt: Math.sqrt,
  Abs: Math.abs,
  Relu: (x) => Math.max(x, 0),
};
const BINARY: Readonly<Record<string, (a: number, b: number) => number>> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Div: (a, b) => a / b,
  Max: Math.max,
  Min: Math.min,
  Pow: (a, b) => a ** b,
};
const VIEWS = new Set(['Identity', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze']);

/**
 * Small expressions of nameless constants, and shapes that are known. Float32 results are rounded as the runtime rounds
 * them; one that is not finite is left for it to compute.
 */
export const constantFolding: Rule = {
  name: 'constant folding',
  rewrite(match) {
    const value = shapeValue(match) ?? computed(match);
    if (value === undefined || value.data.length > MOST_ELEMENTS) return undefined;
    const hasNumbersOnly = value.dtype !== 'float32' || value.data.every((element) => Number.isFinite(Number(element)));
    return hasNumbersOnly ? match.constant(value) : undefined;
  },
};

function shapeValue({ node }: Match): TensorData | undefined {
  const [x] = node.inputs;
  // A start or an end would pick some of the axes.
  if (x === undefined || !isStatic(x.shape) || Object.keys(node.attributes).length > 0) return undefined;
  if (node.operator === 'Shape') return int64(x.shape);
  return node.operator === 'Size' ? int64([elementCount(x.shape)], []) : undefined;
}

function computed({ node, output }: Match): TensorData | undefined {
  const { operator } = node;
  const { shape } = output;
  if (!isStatic(shape) || elementCount(shape) > MOST_ELEMENTS) return undefined;
  const given = node.inputs.map((input) => (input === undefined ? undefined : known(input)));
  const values = given.filter((value) => value !== undefined);
  const [x, y] = values;
  if (x === undefined || values.length < given.length) return undefined;
  if (VIEWS.has(operator)) return { ...x, shape };
  if (operator === 'Expand') {
    const index = broadcastIndex(x.shape, shape);
    const data = new DATA_TYPES[x.dtype].array(elementCount(shape));
    for (let i = 0; i < data.length; i++) data[i] = x.data[index(i)] as never;
    return { dtype: x.dtype, shape, data };
  }
  if (operator === 'Cast') return castTo(x, output);
  if (x.dtype !== 'float32' || output.dtype !== 'float32') return undefined;
  const [unary, binary] = [UNARY[operator], BINARY[operator]];
  const count = elementCount(shape);
  if (unary !== undefined && values.length === 1) {
    return { dtype: 'float32', shape, data: Float32Array.from({ length: count }, (_, i) => unary(Number(x.data[i]))) };
  }
  if (binary === undefined || y === undefined || values.length !== 2) return undefined;
  if (broadcastShape(x.shape, y.shape) === undefined) return undefined;
  const [ofX, ofY] = [broadcastIndex(x.shape, shape), broadcastIndex(y.shape, shape)];
  const data = Float32Array.from({ length: count }, (_, i) => binary(Number(x.data[ofX(i)]), Number(y.data[ofY(i)])));
  return { dtype: 'float32', shape, data };
}

function known(tensor: Tensor): TensorData | undefined {
  // A named constant is a weight, which must stay in the graph under its name.
  return tensor.graph.isNameless(tensor) ? tensor.constant : undefined;
}

function castTo(x: TensorData, { dtype }: Tensor): TensorData | undefined {
  const values = Array.from<number | bigint>(x.data).map(Number);
  if (dtype === 'bool')
    return { dtype, shape: x.shape, data: Uint8Array.from(values, (value) => (value === 0 ? 0 : 1)) };
  if (dtype === 'float32') return { dtype, shape: x.shape, data: Float32Array.from(values) };
  // Out of its range a cast to integers is not defined.
  return dtype === 'int64' && values.every((value) => Number.isSafeInteger(value)) ? int64(values, x.shape) : undefined;
}

/** Where in the smaller tensor an element of the larger comes from, both row-major. */
function broadcastIndex(from: readonly number[], to: readonly number[]): (index: number) => number {
  return (index) => {
    let rest = index;
    let stride = 1;
    let found = 0;
    for (let axis = to.length - 1; axis >= 0; axis--) {
      const position = rest % (to[axis] as number);
      rest = Math.floor(rest / (to[axis] as number));
      const length = from[axis - to.length + from.length] ?? 1;
      if (length !== 1) found += position * stride;
      stride *= length;
    }
    return found;
  };
}
