import type { WeightValues } from '../nn/parameters.js';
import { roundedToHalves, SMALLEST_HALVES } from '../onnx/halves.js';
import type { Configuration } from '../vae/configuration.js';
import type { Model } from '../vae/model.js';

/**
 * The weights as they are exported, and so measured. In half precision the large matrices and kernels are rounded, which
 * files then hold in half the bytes; what is computed with them is float32 as ever.
 */
export function weightsInPrecision(
  { parameters }: Pick<Model, 'parameters'>,
  weights: WeightValues,
  precision: Configuration['weight_precision'],
): WeightValues {
  if (precision === 'float32') return weights;
  const rounded = new Map(weights);
  for (const { name, trainable } of parameters) {
    const values = weights.get(name);
    if (trainable && values !== undefined && values.length >= SMALLEST_HALVES)
      rounded.set(name, roundedToHalves(values));
  }
  return rounded;
}
