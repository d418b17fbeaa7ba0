// A multilayer perceptron VAE in float64, written from the formulas alone: the oracle of what Elbo's graphs compute.

export interface ReferenceWeights {
  get(name: string): Float32Array | undefined;
}

export interface ReferencePosterior {
  readonly mean: number[];
  readonly logVariance: number[];
}

export function dense(x: readonly number[], weights: ReferenceWeights, layer: string): number[] {
  const weight = weights.get(`${layer}.weight`);
  const bias = weights.get(`${layer}.bias`);
  if (weight === undefined || bias === undefined) throw new Error(`no weights for ${layer}`);
  return Array.from(bias, (offset, j) =>
    x.reduce((sum, value, i) => sum + value * weight[i * bias.length + j], offset),
  );
}

const relu = (x: readonly number[]) => x.map((value) => Math.max(0, value));

export function encode(
  x: readonly number[],
  weights: ReferenceWeights,
  hiddenLayers: number,
  limit: number,
): ReferencePosterior {
  let h = [...x];
  for (let i = 0; i < hiddenLayers; i++) h = relu(dense(h, weights, `encoder.${i}`));
  return {
    mean: dense(h, weights, 'encoder.mean'),
    logVariance: dense(h, weights, 'encoder.log_variance').map((v) => Math.min(limit, Math.max(-limit, v))),
  };
}

/** Logits of the Bernoulli pixels. */
export function decode(z: readonly number[], weights: ReferenceWeights, hiddenLayers: number): number[] {
  let h = [...z];
  for (let i = 0; i < hiddenLayers; i++) h = relu(dense(h, weights, `decoder.${i}`));
  return dense(h, weights, 'decoder.output');
}

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** −Σ x log p + (1 − x) log(1 − p). */
export function crossEntropy(x: readonly number[], logits: readonly number[]): number {
  return x.reduce((sum, value, i) => {
    const p = sigmoid(logits[i]);
    return sum - value * Math.log(p) - (1 - value) * Math.log1p(-p);
  }, 0);
}

/** KL(N(mean, exp(logVariance)) ‖ N(0, I)). */
export function klToStandardNormal({ mean, logVariance }: ReferencePosterior): number {
  return mean.reduce((sum, m, i) => sum + 0.5 * (m * m + Math.exp(logVariance[i]) - logVariance[i] - 1), 0);
}
