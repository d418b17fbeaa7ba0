import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RandomSource } from '@elbo/models';
import { type Examples, meanPerPixel, splitValidation } from '@elbo/training/data/dataset';
import { loadDataset } from '@elbo/training/data/datasets';
import { type Configuration, parseConfiguration } from '@elbo/training/vae/configuration';
import { buildModel, type Model } from '@elbo/training/vae/model';

/** What every contender trains: one model, its configuration and its data. */
export interface Workload {
  readonly configuration: Configuration;
  readonly model: Model;
  readonly examples: Examples;
  /** What the examples are, in words. */
  readonly data: string;
}

export const INPUT_SHAPE = [1, 28, 28];
const MNIST_EXAMPLES = 60_000;

// Not a preset, so that results stay comparable when those get better. The KL term counts in full from the first
// step, and the limit clips the first gradients: else the check of the first steps would pass without both.
export const CONFIGURATION = parseConfiguration({
  name: 'benchmark',
  description: 'A multilayer perceptron VAE 784-400-20-400-784 on dynamically binarised MNIST.',
  dataset: 'mnist',
  family: 'vae',
  likelihood: 'bernoulli',
  prior: 'standard-normal',
  latent_size: 20,
  activation: 'relu',
  encoder: { hidden: [400] },
  decoder: { hidden: [400] },
  log_variance_limit: 10,
  batch_size: 128,
  epochs: 100,
  kl_warm_up_fraction: 0,
  optimiser: {
    kind: 'adam',
    learning_rate: 0.001,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    gradient_norm_limit: 5,
  },
  learning_rate_schedule: { kind: 'cosine', final_fraction: 0.01 },
  validation_fraction: 0.1,
  seed: 1,
});

/** The same for every contender: the data are split and the output bias is set as `elbo train` does. */
export async function createWorkload(): Promise<Workload> {
  const { all, data } = await loadExamples();
  const { train: examples } = splitValidation(all, CONFIGURATION.validation_fraction, CONFIGURATION.seed);
  const model = buildModel(CONFIGURATION, INPUT_SHAPE, meanPerPixel(examples));
  return { configuration: CONFIGURATION, model, examples, data };
}

async function loadExamples(): Promise<{ all: Examples; data: string }> {
  const dataDir = dataDirectory();
  if (dataDir !== undefined)
    return { all: (await loadDataset(CONFIGURATION.dataset, { dataDir })).train, data: 'MNIST' };
  const size = INPUT_SHAPE.reduce((product, dimension) => product * dimension, 1);
  const random = new RandomSource(CONFIGURATION.seed);
  const words = Uint32Array.from({ length: (MNIST_EXAMPLES * size) / 4 }, () => random.uint32());
  return {
    all: { count: MNIST_EXAMPLES, values: new Uint8Array(words.buffer) },
    data: "random bytes of MNIST's shape",
  };
}

const repository = fileURLToPath(new URL('../../..', import.meta.url));

/** ELBO_DATA_DIR, else the data directory beside the repository, where it holds MNIST. */
function dataDirectory(): string | undefined {
  const named = process.env.ELBO_DATA_DIR;
  const directory = named ?? join(dirname(repository), 'shared', 'data');
  if (statSync(`${directory}/mnist`, { throwIfNoEntry: false })?.isDirectory()) return directory;
  if (named !== undefined) throw new Error(`ELBO_DATA_DIR is ${named}; expected a directory that holds mnist/`);
  return undefined;
}
