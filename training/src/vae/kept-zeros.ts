import type { Parameter, WeightValues } from '../nn/parameters.js';
import { mul } from '../onnx/ops.js';
import { float32, type Tensor } from '../onnx/tensor.js';
import type { Objective } from './objective.js';

/**
 * An objective in which weights that are 0 stay 0: they get no gradient, and so take no step. What pruning took out of a
 * network stays out while the rest learns to do without it (Han et al., 2015).
 * @param objective one without variational dropout, whose weights are never 0
 * @param start weights that training starts from; of its matrices and kernels the zeros are kept, biases are free
 */
export function withZerosKept(objective: Objective, start: WeightValues): Objective {
  const masks = new Map(
    [...start].flatMap(([name, values]) =>
      values.includes(0) ? [[name, values.map((value) => (value === 0 ? 0 : 1))] as const] : [],
    ),
  );
  return {
    ...objective,
    build(inputs, weights) {
      const masked = (parameter: Parameter): Tensor => {
        const weight = weights(parameter);
        const mask = parameter.trainable && parameter.shape.length > 1 ? masks.get(parameter.name) : undefined;
        return mask === undefined ? weight : mul(weight, weight.graph.constant(float32(mask, parameter.shape)));
      };
      return objective.build(inputs, masked);
    },
  };
}
