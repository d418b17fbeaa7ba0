import type { Engine } from '../engines/engine.js';
import { inputWeights, type Part, type WeightValues, weightFeeds } from '../nn/parameters.js';
import { sparsityOf, type WeightsSummary } from '../nn/sparsity.js';
import { Graph } from '../onnx/graph.js';
import type { Configuration } from '../vae/configuration.js';

/** What a network is without noise, in the course of training. */
export interface MeanWeights {
  /** Of the network without noise, what is pruned being 0. */
  readonly weights: WeightValues;
  /**
   * What counts beside the loss of held-out examples where an epoch is chosen, in nats an example: the weighted KL of the
   * weights, without which an epoch that has pruned little would often win; infinite while that KL warms up.
   */
  readonly penalty: number;
  /** Of weights with a distribution. */
  readonly summary?: WeightsSummary;
}

/** Turns trained values into those of the network that is evaluated and exported, which knows no noise. */
export interface MeanNetwork {
  /** @param done part of the run, from 0 to 1 */
  of(trained: WeightValues, done: number): Promise<MeanWeights>;
  release(): Promise<void>;
}

/**
 * @param trained the network as it is trained
 * @param plain the same network without noise, whose parameters have the names that `means` gives
 * @param examples number of training examples
 */
export async function meanNetwork(
  engine: Pick<Engine, 'compile'>,
  trained: Part,
  plain: Part,
  { dropout, examples }: { dropout: Pick<Configuration['dropout'], 'weight' | 'warm_up_fraction'>; examples: number },
): Promise<MeanNetwork> {
  const { means, divergence } = trained;
  if (means === undefined || divergence === undefined) {
    return { of: async (weights) => ({ weights, penalty: 0 }), release: async () => {} };
  }
  const graph = new Graph('mean_weights');
  const inputs = inputWeights(graph, trained.parameters);
  const computed = means(inputs);
  for (const [name, mean] of computed) graph.output(mean, meanOf(name));
  graph.output(divergence(inputs), 'divergence');
  const program = await engine.compile(graph);
  return {
    async of(values, done) {
      const outputs = await program.run(weightFeeds(trained.parameters, values));
      const weights: WeightValues = new Map(
        plain.parameters.map(({ name }) => {
          const data = computed.has(name) ? (outputs[meanOf(name)].data as Float32Array) : values.get(name);
          if (data === undefined) throw new Error(`no values for the parameter ${name}`);
          return [name, data];
        }),
      );
      const kl = (outputs.divergence.data as Float32Array)[0] / examples;
      const { weights: total, non_zero: nonZero } = sparsityOf(plain.parameters, weights);
      return {
        weights,
        penalty: done < dropout.warm_up_fraction ? Number.POSITIVE_INFINITY : dropout.weight * kl,
        summary: { kl, nonZero, total },
      };
    },
    release: () => program.release(),
  };
}

const meanOf = (name: string) => `mean/${name}`;
