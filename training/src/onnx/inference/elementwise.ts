import { DATA_TYPES, type DataType } from '../tensor.js';
import { broadcast, broadcastAll, each, type Inference, sameType, typeOf } from './call.js';

/** Operators whose output has the (broadcast) shape of their inputs. */
export const ELEMENTWISE: Record<string, Inference> = {
  ...each(
    // biome-ignore format: one line a family
    [
      'Neg', 'Abs', 'Sign', 'Reciprocal', 'Floor', 'Ceil', 'Round',
      'Exp', 'Log', 'Sqrt', 'Sin', 'Cos', 'Erf',
      'Relu', 'Tanh', 'Sigmoid', 'Softplus',
    ],
    (call) => [typeOf(call.input(0, 'float32'))],
  ),
  Identity: (call) => [typeOf(call.input(0))],
  Elu(call) {
    call.float('alpha', 1);
    return [typeOf(call.input(0, 'float32'))];
  },
  LeakyRelu(call) {
    call.float('alpha', 0.01);
    return [typeOf(call.input(0, 'float32'))];
  },
  ...each(['IsNaN', 'IsInf'], (call) => [{ dtype: 'bool', shape: call.input(0, 'float32').shape }]),
  Not: (call) => [typeOf(call.input(0, 'bool'))],

  ...each(['Add', 'Sub', 'Mul', 'Div'], binary(['float32', 'int64', 'int32'])),
  Pow: binary(['float32']),
  ...each(['Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual', 'Equal'], binary(['float32', 'int64', 'int32'], 'bool')),
  ...each(['And', 'Or'], binary(['bool'])),
  ...each(['Max', 'Min'], (call) => {
    const first = call.input(0, 'float32', 'int64', 'int32');
    const indices = call.inputs.map((_, i) => i);
    for (const i of indices) sameType(call, 0, i);
    return [{ dtype: first.dtype, shape: broadcastAll(call, indices) }];
  }),

  Where(call) {
    call.input(0, 'bool');
    return [{ dtype: sameType(call, 1, 2), shape: broadcastAll(call, [0, 1, 2]) }];
  },
  Clip(call) {
    for (const bound of [call.optional(1), call.optional(2)]) {
      if (bound !== undefined && (bound.shape.length > 0 || bound.dtype !== 'float32')) {
        call.refuse('bounds must be float32 scalars');
      }
    }
    return [typeOf(call.input(0, 'float32'))];
  },
  Cast(call) {
    const code = call.int('to');
    const dtype = (Object.keys(DATA_TYPES) as DataType[]).find((name) => DATA_TYPES[name].code === code);
    return [{ dtype: dtype ?? call.refuse(`element type ${code} is not known`), shape: call.input(0).shape }];
  },
};

function binary(dtypes: readonly DataType[], result?: DataType): Inference {
  return (call) => {
    if (call.inputs.length !== 2) call.refuse('takes two inputs');
    const a = call.input(0, ...dtypes);
    const dtype = sameType(call, 0, 1);
    return [{ dtype: result ?? dtype, shape: broadcast(call, a.shape, call.input(1).shape) }];
  };
}
