import { RandomSource } from '@elbo/models';
import type { Engine, Program } from '../engines/engine.js';
import { constantWeights, inputWeights, type WeightValues, weightFeeds } from '../nn/parameters.js';
import { Graph } from '../onnx/graph.js';
import { add, neg, reshape, sub } from '../onnx/ops.js';
import { float32 } from '../onnx/tensor.js';
import type { Model } from '../vae/model.js';
import { elboTerms } from '../vae/objective.js';
import { logPosteriorDensity, reparameterise } from '../vae/priors.js';
import { type ByteExamples, binarisedOnce, ROWS_PER_RUN, ranges } from './batches.js';

/** Means over examples, in nats. */
export interface ElboEstimate {
  /** −ELBO = reconstruction + kl. */
  readonly negativeElbo: number;
  readonly reconstruction: number;
  readonly kl: number;
}

/** Called after every run of a graph with the number of examples done. */
export type OnProgress = (done: number, total: number) => void;

/** The negative ELBO of held-out examples: one sample of z each, pixels binarised once, both from the seed. */
export class ElboEvaluator {
  readonly #program: Program;
  readonly #model: Model;
  readonly #pixels: Float32Array;
  readonly #count: number;
  readonly #noise: Float32Array;

  private constructor(program: Program, model: Model, examples: ByteExamples, seed: number) {
    this.#program = program;
    this.#model = model;
    this.#count = examples.count;
    this.#pixels = binarisedOnce(examples, seed);
    this.#noise = new RandomSource(seed, 1).fillNormal(new Float32Array(examples.count * model.latentSize));
  }

  static async create(engine: Engine, model: Model, examples: ByteExamples, seed: number): Promise<ElboEvaluator> {
    return new ElboEvaluator(await engine.compile(elboGraph(model)), model, examples, seed);
  }

  async evaluate(weights: WeightValues, onProgress?: OnProgress): Promise<ElboEstimate> {
    const { inputShape, latentSize, parameters } = this.#model;
    const dataSize = this.#pixels.length / this.#count;
    const values = weightFeeds(parameters, weights);
    const total = { reconstruction: 0, kl: 0 };
    for (const { start, end } of ranges(this.#count, ROWS_PER_RUN)) {
      const outputs = await this.#program.run({
        x: float32(this.#pixels.subarray(start * dataSize, end * dataSize), [end - start, ...inputShape]),
        noise: float32(this.#noise.subarray(start * latentSize, end * latentSize), [end - start, latentSize]),
        ...values,
      });
      for (const term of ['reconstruction', 'kl'] as const) {
        for (const nats of outputs[term].data as Float32Array) total[term] += nats;
      }
      onProgress?.(end, this.#count);
    }
    const reconstruction = total.reconstruction / this.#count;
    const kl = total.kl / this.#count;
    return { negativeElbo: reconstruction + kl, reconstruction, kl };
  }

  release(): Promise<void> {
    return this.#program.release();
  }
}

/** x [N, …], noise [N, Z] and the weights → reconstruction [N], kl [N]: the training objective's own terms. */
function elboGraph(model: Model): Graph {
  const graph = new Graph('elbo');
  const x = graph.input('x', 'float32', ['N', ...model.inputShape]);
  const noise = graph.input('noise', 'float32', ['N', model.latentSize]);
  const terms = elboTerms(model, x, noise, inputWeights(graph, model.parameters));
  graph.output(terms.reconstruction, 'reconstruction');
  graph.output(terms.kl, 'kl');
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
  examples: ByteExamples,
  { samples, seed, onProgress }: { samples: number; seed: number; onProgress?: OnProgress },
): Promise<LikelihoodEstimate> {
  const program = await engine.compile(importanceGraph(model, weights));
  const pixels = binarisedOnce(examples, seed);
  const dataSize = pixels.length / examples.count;
  const random = new RandomSource(seed, 1);
  const noise = new Float32Array(samples * model.latentSize);
  let sum = 0;
  let sumOfSquares = 0;
  try {
    for (let i = 0; i < examples.count; i++) {
      const { log_weight } = await program.run({
        x: float32(pixels.subarray(i * dataSize, (i + 1) * dataSize), [1, ...model.inputShape]),
        noise: float32(random.fillNormal(noise), [samples, model.latentSize]),
      });
      const nats = Math.log(samples) - logSumExp(log_weight.data as Float32Array);
      sum += nats;
      sumOfSquares += nats * nats;
      onProgress?.(i + 1, examples.count);
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
  const dataSize = model.inputShape.reduce((product, dimension) => product * dimension, 1);
  const x = graph.input('x', 'float32', [1, ...model.inputShape]);
  const noise = graph.input('noise', 'float32', ['samples', model.latentSize]);
  const posterior = model.encode(x, weights);
  const z = reparameterise(posterior, noise);
  const misfit = model.likelihood.negativeLogLikelihood(reshape(x, [1, dataSize]), model.decode(z, weights));
  const logWeight = sub(add(neg(misfit), model.prior.logDensity(z)), logPosteriorDensity(posterior, noise));
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
