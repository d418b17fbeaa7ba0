import { parameter, type Weights } from '../nn/parameters.js';
import { clip, reshape } from '../onnx/ops.js';
import { elementCount, float32, type Tensor } from '../onnx/tensor.js';
import type { DataMoments } from './likelihoods.js';
import { type Components, type MixturePrior, mixturePrior } from './mixture-prior.js';
import type { Posterior } from './posterior.js';

export interface VampOptions {
  /** K */
  readonly components: number;
  /** Of an example as the encoder sees it. */
  readonly shape: readonly number[];
  /** Whether the numbers stay within 0 to 1, as pixels do; those of columns are standardised. */
  readonly arePixels: boolean;
  /** Of the pixels of training examples. */
  readonly moments?: Pick<DataMoments, 'mean' | 'variance'> | undefined;
  /** Of the first stochastic layer: [K, …shape] → [K, Z]. */
  encode(pseudoInputs: Tensor, weights: Weights): Posterior;
}

/**
 * The variational mixture of posteriors (Tomczak & Welling, 2018, eq. 8): the mean of the posteriors of K pseudo-inputs,
 * which are learned with the networks.
 */
export function vampPrior({ components, shape, arePixels, moments, encode }: VampOptions): MixturePrior {
  const size = elementCount(shape);
  // They start as noise with the moments of the data.
  const pseudoInputs = parameter('prior.pseudo_inputs', [components, size], (random, length) => {
    const noise = random.fillNormal(new Float32Array(length));
    if (!arePixels) return noise;
    return noise.map((value, i) => {
      const pixel = (moments?.mean[i % size] ?? 0) + Math.sqrt(moments?.variance[i % size] ?? 1) * value;
      return Math.min(1, Math.max(0, pixel));
    });
  });
  // By the weights of a graph, so that a graph encodes them once.
  const encoded = new WeakMap<Weights, Components>();
  const componentsOf = (weights: Weights): Components => {
    const known = encoded.get(weights);
    if (known !== undefined) return known;
    const raw = weights(pseudoInputs);
    const inputs = reshape(arePixels ? clip(raw, 0, 1) : raw, [components, ...shape]);
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
