import type { Tf } from '../values.js';
import { type Operators, onLastAxis } from './call.js';

export function normalisation(tf: Tf): Operators {
  return {
    Softmax: (call) => onLastAxis(tf, call.tensor(0), call.axis(-1), (x) => tf.softmax(x)),
    LogSoftmax: (call) => onLastAxis(tf, call.tensor(0), call.axis(-1), (x) => tf.logSoftmax(x)),
    LayerNormalization(call) {
      const x = call.tensor(0);
      const axes = [...x.shape.keys()].slice(call.axis(-1));
      const mean = tf.mean(x, axes, true);
      const centred = tf.sub(x, mean);
      const variance = tf.mean(tf.square(centred), axes, true);
      const inverse = tf.rsqrt(tf.add(variance, call.float('epsilon', 1e-5)));
      const scaled = tf.mul(tf.mul(centred, inverse), call.tensor(1));
      return [call.has(2) ? tf.add(scaled, call.tensor(2)) : scaled, mean, inverse];
    },
  };
}
