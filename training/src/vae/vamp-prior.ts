import type { RandomSource } from '@elbo/models';
import { parameter, type Weights } from '../nn/parameters.js';
import { clip, reshape } from '../onnx/ops.js';
import { float32, type Tensor } from '../onnx/tensor.js';
import { type Components, type MixturePrior, mixturePrior } from './mixture-prior.js';
import type { Posterior } from './posterior.js';

export interface VampOptions {
  /** K */
  readonly components: number;
  readonly inputShape: readonly number[];
  /** Of the training examples, each [D]: pseudo-inputs start as noise of their mean and variance. */
  readonly moments: { readonly mean: ArrayLike<number>; readonly variance: ArrayLike<number> };
  /** Whether values stay within 0 to 1, as pixels do. */
  readonly isBounded: boolean;
  /** Of the first stochastic layer: [K, …inputShape] → [K, Z]. */
  encode(pseudoInputs: Tensor, weights: Weights): Posterior;
}

/**
 * The variational mixture of posteriors (Tomczak & Welling, 2018, eq. 8): the mean of the posteriors of K pseudo-inputs,
 * which are learned with the networks.
 */
export function vampPrior({ components, inputShape, moments, isBounded, encode }: VampOptions): MixturePrior {
  const size = moments.mean.length;
  const pseudoInputs = parameter('prior.pseudo_inputs', [components, size], (random: RandomSource, length) => {
    const values = random.fillNormal(new Float32Array(length));
    return values.map((noise, i) => {
      const value = moments.mean[i % size] + Math.sqrt(moments.variance[i % size]) * noise;
      return isBounded ? Math.min(1, Math.max(0, value)) : value;
    });
  });
  // By the weights of a graph, so that a graph encodes them once.
  const encoded = new WeakMap<Weights, Components>();
  const componentsOf = (weights: Weights): Components => {
    const known = encoded.get(weights);
    if (known !== undefined) return known;
    const raw = weights(pseudoInputs);
    const inputs = reshape(isBounded ? clip(raw, 0, 1) : raw, [components, ...inputShape]);
    // Noise of layers is drawn for examples, of which these are none.
    const posterior = encode(inputs, (each) => weights(each));
    const logWeight = posterior.mean.graph.constant(
      float32(new Float32Array(components).fill(-Math.log(components)), [components]),
    );
    const result = { logWeight, ...posterior };
    encoded.set(weights, result);
    return result;
  };
  return { ...mixturePrior([pseudoInputs], componentsOf), componentsOf };
}
