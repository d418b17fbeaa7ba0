import { DataError } from '../data/data-error.js';
import type { Examples } from '../data/dataset.js';
import type { Engine, Program } from '../engines/engine.js';
import { inputBatches } from '../evaluation/batches.js';
import { logSumExp } from '../evaluation/elbo.js';
import { inputWeights, type WeightValues, weightFeeds } from '../nn/parameters.js';
import { Graph } from '../onnx/graph.js';
import type { Classifier } from './model.js';

/** Over examples. */
export interface ClassificationResult {
  /** Share of the examples that are taken for another class. */
  readonly error: number;
  /** Mean −log p(class | x), in nats. */
  readonly crossEntropy: number;
}

/** The graph of a classifier whose weights are fed anew at every run: x and the weights → logits. */
export function classifierProgram(engine: Pick<Engine, 'compile'>, classifier: Classifier): Promise<Program> {
  const graph = new Graph('classes');
  const x = graph.input('x', 'float32', ['N', ...classifier.inputShape]);
  graph.output(classifier.apply(x, inputWeights(graph, classifier.parameters)).logits, 'logits');
  return engine.compile(graph);
}

/**
 * How often a classifier is wrong.
 * @param program takes x and gives logits
 * @param weights what it is fed besides, where it does not hold them itself
 * @throws {DataError} where the examples have no classes
 */
export async function classify(
  program: Program,
  examples: Examples,
  weights?: { readonly of: Classifier; readonly values: WeightValues },
): Promise<ClassificationResult> {
  const { labels, count } = examples;
  if (labels === undefined) throw new DataError('the examples have no classes; expected the class of each');
  const feeds = weights === undefined ? {} : weightFeeds(weights.of.parameters, weights.values);
  let wrong = 0;
  let nats = 0;
  for await (const { start, end, feeds: inputs } of inputBatches(examples)) {
    const { logits } = await program.run({ ...inputs, ...feeds });
    const classes = logits.shape[1];
    for (let i = start; i < end; i++) {
      const row = (logits.data as Float32Array).subarray((i - start) * classes, (i - start + 1) * classes);
      // A class that training has not seen is always wrong.
      const own = row[labels[i]] ?? Number.NEGATIVE_INFINITY;
      if (row.indexOf(Math.max(...row)) !== labels[i]) wrong++;
      nats += logSumExp(row) - own;
    }
  }
  return { error: wrong / count, crossEntropy: nats / count };
}
