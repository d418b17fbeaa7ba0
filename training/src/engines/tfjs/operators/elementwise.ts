import type { Tensor as TfTensor } from '@tensorflow/tfjs';
import { DATA_TYPES, type DataType } from '../../../onnx/tensor.js';
import { isTensor, type Tf, toTensor, type Value } from '../values.js';
import { broadcastShape, type Call, expand, expandAll, type Operators } from './call.js';

export function elementwise(tf: Tf): Operators {
  const unary = (f: (x: TfTensor) => TfTensor) => (call: Call) => f(call.tensor(0));
  const binary = (f: (a: TfTensor, b: TfTensor) => TfTensor) => (call: Call) => f(call.tensor(0), call.tensor(1));
  const extreme = (f: (a: TfTensor, b: TfTensor) => TfTensor) => (call: Call) =>
    expandAll(tf, call.tensors()).reduce((a, b) => f(a, b));
  return {
    Identity: (call) => call.value(0),
    Neg: unary(tf.neg),
    Abs: unary(tf.abs),
    Sign: unary(tf.sign),
    Reciprocal: unary(tf.reciprocal),
    Floor: unary(tf.floor),
    Ceil: unary(tf.ceil),
    Round: unary(tf.round),
    Exp: unary(tf.exp),
    Log: unary(tf.log),
    Sqrt: unary(tf.sqrt),
    Sin: unary(tf.sin),
    Cos: unary(tf.cos),
    Erf: unary(tf.erf),
    Relu: unary(tf.relu),
    Tanh: unary(tf.tanh),
    Sigmoid: unary(tf.sigmoid),
    Softplus: unary(tf.softplus),
    LeakyRelu: (call) => tf.leakyRelu(call.tensor(0), call.float('alpha', 0.01)),
    Elu(call) {
      const x = call.tensor(0);
      const alpha = call.float('alpha', 1);
      if (alpha === 1) return tf.elu(x);
      // tfjs's elu has no alpha: the part above 0, and alpha (exp(x) − 1) of the part below.
      const below = tf.neg(tf.relu(tf.neg(x)));
      return tf.add(tf.relu(x), tf.mul(tf.sub(tf.exp(below), 1), alpha));
    },
    IsNaN: unary(tf.isNaN),
    IsInf: unary(tf.isInf),
    Not: unary(tf.logicalNot),

    Add: binary(tf.add),
    Sub: binary(tf.sub),
    Mul: binary(tf.mul),
    Div: binary((a, b) => (a.dtype === 'int32' ? truncatedQuotient(tf, a, b) : tf.div(a, b))),
    Pow: binary(tf.pow),
    Greater: binary(tf.greater),
    GreaterOrEqual: binary(tf.greaterEqual),
    Less: binary(tf.less),
    LessOrEqual: binary(tf.lessEqual),
    Equal: binary(tf.equal),
    And: binary(tf.logicalAnd),
    Or: binary(tf.logicalOr),
    Max: extreme(tf.maximum),
    Min: extreme(tf.minimum),

    Where(call) {
      const [condition, a, b] = call.tensors();
      const shape = broadcastShape(tf, [condition.shape, a.shape, b.shape]);
      return tf.where(expand(tf, condition, shape), expand(tf, a, shape), expand(tf, b, shape));
    },
    Clip(call) {
      const bound = (index: number, absent: number) => (call.has(index) ? call.numbers(index)[0] : absent);
      return tf.clipByValue(call.tensor(0), bound(1, Number.NEGATIVE_INFINITY), bound(2, Number.POSITIVE_INFINITY));
    },
    Cast: (call) => cast(tf, call.value(0), dataTypeOf(call.int('to', 0))),
  };
}

/** ONNX divides integers towards 0, tfjs downwards. */
function truncatedQuotient(tf: Tf, a: TfTensor, b: TfTensor): TfTensor {
  const quotient = tf.floorDiv(a, b);
  const isRoundedDown = tf.logicalAnd(
    tf.less(quotient, tf.zerosLike(quotient)),
    tf.notEqual(tf.mul(quotient, b), expand(tf, a, quotient.shape)),
  );
  return tf.add(quotient, tf.cast(isRoundedDown, 'int32'));
}

function dataTypeOf(code: number): DataType {
  const found = (Object.keys(DATA_TYPES) as DataType[]).find((name) => DATA_TYPES[name].code === code);
  if (found === undefined) throw new Error(`element type ${code} is not known`);
  return found;
}

function cast(tf: Tf, value: Value, dtype: DataType): Value {
  if (dtype === 'float32' && !isTensor(value)) {
    // Straight from the bytes, without an int32 copy in between.
    const data = Float32Array.from<number | bigint>(value.data, Number);
    return tf.tensor(data, [...value.shape], 'float32');
  }
  const x = toTensor(tf, value);
  switch (dtype) {
    case 'float32':
    case 'bool':
      return tf.cast(x, dtype);
    case 'int32':
    case 'int64':
      return tf.cast(x, 'int32');
    case 'uint8':
      return tf.mod(tf.cast(x, 'int32'), tf.scalar(256, 'int32'));
  }
}
