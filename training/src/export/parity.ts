import type { Engine, Program } from '../engines/engine.js';
import type { InputFeeds } from '../evaluation/batches.js';
import { constantWeights, type WeightValues } from '../nn/parameters.js';
import { Graph } from '../onnx/graph.js';
import { flatten, reduceSum } from '../onnx/ops.js';
import type { TensorData } from '../onnx/tensor.js';
import { labelInput, type Model } from '../vae/model.js';

/** An exported graph that does not compute what was trained. */
export class ParityError extends Error {
  override readonly name = 'ParityError';
}

/** Difference up to which float32 rounding explains it, relative to values beyond ±1. */
export const PARITY_LIMIT = 1e-5;

/** Share of codes that may differ: where two are as probable within rounding, either may come out. */
const CODES_LIMIT = 1e-3;

export interface ExportedPrograms {
  readonly encoder: Program;
  readonly decoder: Program;
  readonly scorer: Program;
}

/**
 * Runs held-out inputs through the exported files and through the graph that was trained, and compares every output
 * that both have.
 * @param inputs held-out examples
 * @returns the largest difference, |a − b| / max(1, |b|)
 * @throws {ParityError} naming the output that differs by more than PARITY_LIMIT
 */
export async function checkParity(
  engine: Engine,
  model: Model,
  weights: WeightValues,
  exported: ExportedPrograms,
  inputs: InputFeeds,
): Promise<number> {
  const { x, ...label } = inputs;
  const trained = await engine.compile(trainedGraph(model, weights, x.shape[0]));
  try {
    const expected = await trained.run(inputs);
    const encoded = await exported.encoder.run(inputs);
    const decoded = await exported.decoder.run({ z: encoded.mean, ...label });
    const scored = await exported.scorer.run(inputs);
    const actual: Record<string, TensorData> = { ...scored, ...encoded, ...decoded };
    let largest = 0;
    for (const [name, { data }] of Object.entries(expected)) {
      const computed = actual[name].data as Float32Array;
      const difference = largestDifference(
        name === 'x_mean' ? withCodesOf(computed, data as Float32Array, model) : computed,
        data as Float32Array,
      );
      if (!(difference <= PARITY_LIMIT)) {
        throw new ParityError(
          `${name} of the exported graphs differs from the trained graph by ${difference}; expected at most ${PARITY_LIMIT}`,
        );
      }
      largest = Math.max(largest, difference);
    }
    return largest;
  } finally {
    await trained.release();
  }
}

/** `actual` with the codes of `expected`, unless more of them differ than rounding explains. */
function withCodesOf(actual: Float32Array, expected: Float32Array, { likelihood, inputShape }: Model): Float32Array {
  const { codes = [] } = likelihood;
  if (codes.length === 0) return actual;
  const [columns] = inputShape;
  const places = Array.from({ length: expected.length / columns }, (_, row) =>
    codes.map((column) => row * columns + column),
  ).flat();
  const different = places.filter((place) => actual[place] !== expected[place]);
  if (different.length > Math.max(1, CODES_LIMIT * places.length)) return actual;
  const corrected = actual.slice();
  for (const place of different) corrected[place] = expected[place];
  return corrected;
}

/** The largest |a − b| / max(1, |b|); NaN where either holds one. */
export function largestDifference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Number.NaN;
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i] - b[i]) / Math.max(1, Math.abs(b[i]));
    if (!(difference <= largest)) largest = difference;
    if (Number.isNaN(largest)) break;
  }
  return largest;
}

/**
 * The layers that training differentiates, with a fixed batch. The weights are constants, so that ONNX Runtime packs
 * them as it does the exported ones: with weights as inputs its Gemm sums in another order, and logits of ±60 then
 * differ by 5e-5 of rounding alone, which would hide a real difference.
 */
function trainedGraph(model: Model, values: WeightValues, batch: number): Graph {
  const graph = new Graph('trained');
  const x = graph.input('x', 'float32', [batch, ...model.inputShape]);
  const weights = constantWeights(graph, values);
  const { posterior, decode } = model.infer(x, weights, { label: labelInput(graph, model, batch) });
  const decoded = decode();
  const deviance = model.deviance(x, decoded, weights);
  graph.output(posterior.mean, 'mean');
  graph.output(posterior.logVariance, 'log_variance');
  graph.output(model.mean(decoded, weights), 'x_mean');
  graph.output(model.prior.divergence(posterior, weights), 'kl');
  graph.output(reduceSum(flatten(deviance), [1]), 'reconstruction');
  graph.output(deviance, 'error_map');
  return graph;
}
