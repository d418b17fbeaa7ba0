import {
  add,
  div,
  exp,
  gemm,
  logSumExp,
  max,
  mul,
  reduceMean,
  reduceSum,
  square,
  sub,
  transpose,
  unsqueeze,
} from '../onnx/ops.js';
import { float32, type Tensor } from '../onnx/tensor.js';
import { logNormalDensity, type Posterior } from './posterior.js';

// What objectives add to the ELBO or put in place of its KL term, each computed over a minibatch. All results are scalars.

/**
 * The KL term with free bits: what a latent dimension says of an example, on average over the minibatch, costs nothing
 * up to `freeNats` (Kingma et al., 2016, eq. 15), so that no dimension is given up early.
 * @param divergence KL of each dimension, [N, Z]
 */
export function freeBits(divergence: Tensor, freeNats: number): Tensor {
  return reduceSum(max(reduceMean(divergence, [0]), freeNats));
}

/**
 * The total correlation KL(q(z) ‖ Π q(z_j)) of the aggregate posterior, by minibatch-weighted sampling (Chen et al., 2018,
 * eq. 5): Σ over the minibatch stands for the data set, whose size adds a constant to the estimate and nothing to its
 * gradient; here it is the minibatch's.
 * @param z samples of the posteriors, [N, Z]
 */
export function totalCorrelation({ mean, logVariance }: Posterior, z: Tensor): Tensor {
  const [count, size] = z.shape as number[];
  // log q(z_n,j | x_m): [N, N, Z].
  const logDensity = logNormalDensity(unsqueeze(z, [1]), {
    mean: unsqueeze(mean, [0]),
    logVariance: unsqueeze(logVariance, [0]),
  });
  const joint = logSumExp(reduceSum(logDensity, [2]), [1]);
  const marginals = reduceSum(logSumExp(logDensity, [1]), [1]);
  return add(reduceMean(sub(joint, marginals)), (size - 1) * Math.log(count));
}

/** Weights of the covariance penalty, and of what it is taken. */
export interface CovariancePenalty {
  /** Covariance of the posterior means, or of z, which adds the mean of the posterior variances: DIP-VAE I and II. */
  readonly of: 'means' | 'samples';
  readonly off_diagonal: number;
  readonly diagonal: number;
}

/**
 * How far the covariance of the aggregate posterior is from the identity (Kumar et al., 2018, eq. 6 and 7).
 */
export function covariancePenalty({ mean, logVariance }: Posterior, penalty: CovariancePenalty): Tensor {
  const [count, size] = mean.shape as number[];
  const centred = sub(mean, reduceMean(mean, [0], true));
  const ofMeans = mul(gemm(transpose(centred, [1, 0]), centred), 1 / count);
  const identity = mean.graph.constant(float32(identityMatrix(size), [size, size]));
  const covariance =
    penalty.of === 'means' ? ofMeans : add(ofMeans, mul(identity, reduceMean(exp(logVariance), [0], true)));
  const weights = identityMatrix(size).map((one) => (one === 1 ? penalty.diagonal : penalty.off_diagonal));
  return reduceSum(mul(square(sub(covariance, identity)), mean.graph.constant(float32(weights, [size, size]))));
}

/**
 * The squared maximum mean discrepancy between samples of the aggregate posterior and of the prior, with the inverse
 * multiquadratic kernel c / (c + |a − b|²), c = 2Z, summed over c times 0.1 … 10, and without the terms of a sample with
 * itself (Tolstikhin et al., 2018, section 4; Zhao et al., 2019, eq. 9).
 * @param z samples of the posteriors, [N, Z]
 * @param priorSamples as many of the prior
 */
export function maximumMeanDiscrepancy(z: Tensor, priorSamples: Tensor): Tensor {
  const [count, size] = z.shape as number[];
  const others = z.graph.constant(
    float32(
      identityMatrix(count).map((one) => (1 - one) / (count * (count - 1))),
      [count, count],
    ),
  );
  const within = add(kernel(z, z, size), kernel(priorSamples, priorSamples, size));
  return sub(reduceSum(mul(within, others)), mul(reduceMean(kernel(z, priorSamples, size)), 2));
}

/** Of the kernel's width: several at once, so that none need be tuned. */
const KERNEL_SCALES = [0.1, 0.2, 0.5, 1, 2, 5, 10];

/** [N, Z], [M, Z] → [N, M]. */
function kernel(a: Tensor, b: Tensor, size: number): Tensor {
  const distance = reduceSum(square(sub(unsqueeze(a, [1]), unsqueeze(b, [0]))), [2]);
  return KERNEL_SCALES.map((scale) => {
    const width = 2 * size * scale;
    return div(width, add(distance, width));
  }).reduce((sum, part) => add(sum, part));
}

function identityMatrix(size: number): number[] {
  return Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0));
}
