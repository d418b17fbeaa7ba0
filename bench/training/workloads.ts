import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RandomSource } from '@elbo/models';
import { type Examples, inMemory, splitValidation } from '@elbo/training/data/dataset';
import { loadDataset } from '@elbo/training/data/datasets';
import { openExamples } from '@elbo/training/data/example-reader';
import { type Configuration, parseConfiguration } from '@elbo/training/vae/configuration';
import { drawScenes } from './scenes.js';

/** What every contender trains. Not presets, so that results stay comparable when those get better. */
export interface Workload {
  readonly title: string;
  readonly configuration: Configuration;
  readonly shape: readonly [channels: number, height: number, width: number];
  /** −ELBO of the validation part, in nats, that the time to reach is measured of. */
  readonly target: number;
}

const SHARED = {
  name: 'benchmark',
  description: 'What the training benchmark trains.',
  family: 'vae',
  likelihood: 'bernoulli',
  prior: 'standard-normal',
  activation: 'relu',
  log_variance_limit: 10,
  epochs: 20,
  // The KL term counts in full from the first step: else a check of the first gradients would pass without it.
  kl_warm_up_fraction: 0,
  learning_rate_schedule: { kind: 'cosine', final_fraction: 0.01 },
  validation_fraction: 0.1,
  seed: 1,
};
const adam = (gradientNormLimit: number) => ({
  kind: 'adam',
  learning_rate: 0.001,
  gradient_norm_limit: gradientNormLimit,
});
const convolutions = (...channels: number[]) =>
  channels.map((count) => ({ channels: count, kernel: 4, stride: 2, padding: 1 }));

export const WORKLOADS: Readonly<Record<string, Workload>> = {
  a: {
    title: 'MLP VAE 784-400-20-400-784 on binarised MNIST, batch 128',
    shape: [1, 28, 28],
    target: 115,
    configuration: parseConfiguration({
      ...SHARED,
      dataset: 'mnist',
      latent_size: 20,
      encoder: { hidden: [400] },
      decoder: { hidden: [400] },
      batch_size: 128,
      optimiser: adam(5),
    }),
  },
  b: {
    title: 'convolutional VAE 28 x 28 (32-64-128 channels, 4 x 4, stride 2), z = 32, on binarised MNIST, batch 128',
    shape: [1, 28, 28],
    target: 110,
    configuration: parseConfiguration({
      ...SHARED,
      dataset: 'mnist',
      latent_size: 32,
      encoder: { convolutions: convolutions(32, 64, 128), hidden: [] },
      decoder: { convolutions: convolutions(128, 64, 32), hidden: [] },
      batch_size: 128,
      optimiser: adam(100),
    }),
  },
  c: {
    title: 'convolutional VAE 64 x 64 x 3 (32-64-128-256 channels, 4 x 4, stride 2), z = 64, on drawn scenes, batch 64',
    shape: [3, 64, 64],
    target: 8000,
    configuration: parseConfiguration({
      ...SHARED,
      dataset: 'scenes',
      binarisation: 'none',
      latent_size: 64,
      encoder: { convolutions: convolutions(32, 64, 128, 256), hidden: [] },
      decoder: { convolutions: convolutions(256, 128, 64, 32), hidden: [] },
      batch_size: 64,
      optimiser: adam(100),
    }),
  },
};

/** Files of raw bytes, [count, channels, height, width], which all contenders read. */
export interface WorkloadData {
  readonly train: string;
  readonly count: number;
  readonly shape: readonly number[];
  readonly validation: string;
  readonly validation_count: number;
}

const SCENES = 10_000;
const MNIST_EXAMPLES = 60_000;

/**
 * Writes a workload's examples, split as `elbo train` splits them.
 * @param dataDir where MNIST lies; without it, random bytes of its shape stand in, on which no target is reached
 * @returns the files, and in words what they hold
 */
export async function writeWorkloadData(
  { configuration, shape }: Workload,
  directory: string,
  dataDir: string | undefined,
): Promise<{ data: WorkloadData; description: string }> {
  const { examples, description } = await workloadExamples(configuration, shape, dataDir);
  const { train, validation } = splitValidation(examples, configuration.validation_fraction, configuration.seed);
  const path = (part: string) => join(directory, `${configuration.dataset}-${part}.u8`);
  await writeFile(path('train'), await bytesOf(train));
  await writeFile(path('validation'), await bytesOf(validation));
  return {
    data: {
      train: path('train'),
      count: train.count,
      shape,
      validation: path('validation'),
      validation_count: validation.count,
    },
    description,
  };
}

async function workloadExamples(
  { dataset, seed }: Configuration,
  shape: Workload['shape'],
  dataDir: string | undefined,
): Promise<{ examples: Examples; description: string }> {
  if (dataset === 'scenes') return { examples: drawScenes(SCENES, seed), description: 'drawn scenes' };
  if (dataDir !== undefined) return { examples: (await loadDataset('mnist', { dataDir })).train, description: 'MNIST' };
  const random = new RandomSource(seed);
  const [channels, height, width] = shape;
  const words = Uint32Array.from({ length: (MNIST_EXAMPLES * channels * height * width) / 4 }, () => random.uint32());
  return { examples: inMemory(new Uint8Array(words.buffer), shape), description: "random bytes of MNIST's shape" };
}

async function bytesOf(examples: Examples): Promise<Uint8Array | Float32Array> {
  const reader = await openExamples(examples);
  try {
    return await reader.range(0, examples.count);
  } finally {
    await reader.close();
  }
}
