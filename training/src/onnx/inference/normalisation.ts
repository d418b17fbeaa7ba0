import { formatShape, sameShape } from '../tensor.js';
import { axisOf, each, fixed, type Inference, typeOf } from './call.js';

/** Operators that bring the elements along axes to a common scale. */
export const NORMALISATION: Record<string, Inference> = {
  ...each(['Softmax', 'LogSoftmax'], (call) => {
    const x = call.input(0, 'float32');
    axisOf(call, call.int('axis', -1), x.shape.length);
    return [typeOf(x)];
  }),
  /** Outputs Y, and the mean and the inverse standard deviation over the axes from `axis` on. */
  LayerNormalization(call) {
    const x = call.input(0, 'float32');
    const axis = axisOf(call, call.int('axis', -1), x.shape.length);
    const normalised = x.shape.slice(axis).map((dimension) => fixed(call, dimension));
    call.float('epsilon', 1e-5);
    for (const [i, tensor] of [call.input(1, 'float32'), call.optional(2)].entries()) {
      if (tensor !== undefined && !(tensor.dtype === 'float32' && sameShape(tensor.shape, normalised))) {
        call.refuse(`input ${i + 1} must be float32 ${formatShape(normalised)}`);
      }
    }
    const statistics = x.shape.map((dimension, i) => (i < axis ? dimension : 1));
    return [typeOf(x), { dtype: 'float32', shape: statistics }, { dtype: 'float32', shape: statistics }];
  },
};
