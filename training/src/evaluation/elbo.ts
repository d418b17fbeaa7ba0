import { RandomSource } from '@elbo/models';
import type { Examples } from '../data/dataset.js';
import type { Engine, Program } from '../engines/engine.js';
import { constantWeights, inputWeights, type WeightValues, weightFeeds } from '../nn/parameters.js';
import { Graph } from '../onnx/graph.js';
import { add, neg, sub } from '../onnx/ops.js';
import { float32, type TensorData } from '../onnx/tensor.js';
import { labelInput, type Model } from '../vae/model.js';
import { elboTerms } from '../vae/objective.js';
import { logPosteriorDensity } from '../vae/posterior.js';
import { type InputFeeds, inputBatches } from './batches.js';
import { type LatentStructure, LatentUse } from './latent-structure.js';

/** Means over examples, in nats. */
export interface ElboEstimate {
  /** −ELBO = reconstruction + kl; of an autoencoder the reconstruction, its kl being 0. */
  readonly negativeElbo: number;
  readonly reconstruction: number;
  readonly kl: number;
  readonly latent: LatentStructure;
}

/** Examples that a model is measured on, and what is drawn for it. */
export interface HeldOut {
  readonly examples: Examples;
  /** Of the samples of z and the binarisation. */
  readonly seed: number;
  /** Whether bytes are drawn as 0 or 1. */
  readonly binarise: boolean;
}

/** Called after every run of a graph with the number of examples done. */
export type OnProgress = (done: number, total: number) => void;

/** The negative ELBO of held-out examples: one sample of z each, and pixels binarised once, both from the seed. */
export class ElboEvaluator {
  readonly #program: Program;
  readonly #model: Model;
  readonly #examples: Examples;
  readonly #seed: number;
  readonly #binarise: boolean;

  private constructor(program: Program, model: Model, { examples, seed, binarise }: HeldOut) {
    this.#program = program;
    this.#model = model;
    this.#examples = examples;
    this.#seed = seed;
    this.#binarise = binarise;
  }

  static async create(engine: Engine, model: Model, heldOut: HeldOut): Promise<ElboEvaluator> {
    return new ElboEvaluator(await engine.compile(elboGraph(model)), model, heldOut);
  }

  async evaluate(weights: WeightValues, onProgress?: OnProgress): Promise<ElboEstimate> {
    const { latentSize, parameters } = this.#model;
    const values = weightFeeds(parameters, weights);
    const random = new RandomSource(this.#seed, 1);
    let misfit = 0;
    let divergence = 0;
    const use = new LatentUse(latentSize);
    const { count } = this.#examples;
    for await (const { start, end, feeds } of inputBatches(this.#examples, {
      binarisationSeed: this.#binarise ? this.#seed : undefined,
      classes: this.#model.classes,
    })) {
      const rows = end - start;
      const noise = float32(random.fillNormal(new Float32Array(rows * latentSize)), [rows, latentSize]);
      const outputs = await this.#program.run({ ...feeds, noise, ...values });
      for (const nats of outputs.reconstruction.data as Float32Array) misfit += nats;
      for (const nats of outputs.kl.data as Float32Array) divergence += nats;
      use.add(outputs.mean.data as Float32Array, outputs.divergence.data as Float32Array);
      onProgress?.(end, count);
    }
    const reconstruction = misfit / count;
    const kl = divergence / count;
    return { negativeElbo: reconstruction + kl, reconstruction, kl, latent: use.structure };
  }

  release(): Promise<void> {
    return this.#program.release();
  }
}

/** x [N, …], noise [N, Z] and the weights → reconstruction and kl [N], divergence and posterior mean [N, Z], as in training. */
function elboGraph(model: Model): Graph {
  const graph = new Graph('elbo');
  const x = graph.input('x', 'float32', ['N', ...model.inputShape]);
  const noise = graph.input('noise', 'float32', ['N', model.latentSize]);
  const weights = inputWeights(graph, model.parameters);
  const terms = elboTerms(model, x, weights, { noise, label: labelInput(graph, model) });
  graph.output(terms.reconstruction, 'reconstruction');
  graph.output(terms.kl, 'kl');
  graph.output(model.prior.divergencePerDimension(terms.posterior, weights), 'divergence');
  graph.output(terms.posterior.mean, 'mean');
  return graph;
}

export interface LikelihoodEstimate {
  /** Mean of −log p(x) over examples, in nats. */
  readonly negativeLogLikelihood: number;
  /** Standard error of that mean over examples, in nats. */
  readonly standardError: number;
}

/**
 * Importance-sampled negative log-likelihood with the posterior as the proposal:
 * −log (1/k) Σ p(x | z_i) p(z_i) / q(z_i | x) (Burda et al., 2016, eq. 8; Rezende et al., 2014).
 * An upper bound in expectation, which falls to −log p(x) as k grows.
 * @param samples k, the number of samples of z an example
 */
export async function negativeLogLikelihood(
  engine: Engine,
  model: Model,
  weights: WeightValues,
  { examples, seed, binarise }: HeldOut,
  { samples, onProgress }: { samples: number; onProgress?: OnProgress },
): Promise<LikelihoodEstimate> {
  const program = await engine.compile(importanceGraph(model, weights));
  const random = new RandomSource(seed, 1);
  const noise = new Float32Array(samples * model.latentSize);
  let sum = 0;
  let sumOfSquares = 0;
  try {
    for await (const { start, end, feeds } of inputBatches(examples, {
      binarisationSeed: binarise ? seed : undefined,
      classes: model.classes,
    })) {
      for (let i = 0; i < end - start; i++) {
        const { log_weight } = await program.run({
          ...rowOf(feeds, i),
          noise: float32(random.fillNormal(noise), [samples, model.latentSize]),
        });
        const nats = Math.log(samples) - logSumExp(log_weight.data as Float32Array);
        sum += nats;
        sumOfSquares += nats * nats;
        onProgress?.(start + i + 1, examples.count);
      }
    }
  } finally {
    await program.release();
  }
  const mean = sum / examples.count;
  const variance = Math.max(0, sumOfSquares / examples.count - mean * mean);
  return { negativeLogLikelihood: mean, standardError: Math.sqrt(variance / examples.count) };
}

/** One example x [1, …] and noise [samples, Z] → log_weight [samples] = log p(x | z) + log p(z) − log q(z | x). */
function importanceGraph(model: Model, values: WeightValues): Graph {
  const graph = new Graph('importance_weights');
  const weights = constantWeights(graph, values);
  const x = graph.input('x', 'float32', [1, ...model.inputShape]);
  const noise = graph.input('noise', 'float32', ['samples', model.latentSize]);
  const { posterior, z, decode } = model.infer(x, weights, { noise, label: labelInput(graph, model, 1) });
  const misfit = model.negativeLogLikelihood(x, decode(), weights);
  const logWeight = sub(add(neg(misfit), model.prior.logDensity(z, weights)), logPosteriorDensity(z, posterior));
  graph.output(logWeight, 'log_weight');
  return graph;
}

/** log Σ exp(v), with the largest taken out so that nothing overflows. */
export function logSumExp(values: ArrayLike<number>): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, values[i]);
  if (!Number.isFinite(largest)) return largest;
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += Math.exp(values[i] - largest);
  return largest + Math.log(sum);
}

/** What a graph takes of one of several examples. */
function rowOf(feeds: InputFeeds, row: number): Record<string, TensorData> {
  return Object.fromEntries(
    Object.entries(feeds).map(([name, { data, shape }]) => {
      const size = data.length / shape[0];
      return [name, float32((data as Float32Array).subarray(row * size, (row + 1) * size), [1, ...shape.slice(1)])];
    }),
  );
}
