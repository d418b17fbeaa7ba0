import { RandomSource } from '@elbo/models';
import { type Dataset, datasetOf, inMemory, loadPreset, OnnxRuntimeEngine, train } from '@elbo/training';
import type { Configuration } from '@elbo/training/vae/configuration';

// Models of a few seconds, one of each kind that a report tells apart.

export const engine = new OnnxRuntimeEngine(1);

export interface ReportModel {
  readonly directory: string;
  readonly dataset: Dataset;
}

export async function trained(store: string, configuration: Configuration, dataset: Dataset): Promise<ReportModel> {
  const result = await train({ configuration, dataset, store, engine });
  if (result === undefined) throw new Error('training was stopped');
  return { directory: result.directory, dataset };
}

const layers = { convolutions: [], hidden: [16] };
const small = { epochs: 1, batch_size: 50, encoder: layers, decoder: layers };

/** Grey squares of 12 x 12 with a label, the quarter in which they lie; by a model that knows it where `conditional`. */
export async function greyModel(store: string, conditional = false): Promise<ReportModel> {
  const side = 12;
  const part = (count: number, random: RandomSource) => {
    const values = new Uint8Array(count * side * side);
    const labels = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      const [x, y] = [random.integer(side - 3), random.integer(side - 3)];
      labels[i] = (x < 5 ? 0 : 1) + (y < 5 ? 0 : 2);
      for (let j = 0; j < 16; j++) values[(i * side + y + (j >> 2)) * side + x + (j & 3)] = 100 + random.integer(156);
    }
    return inMemory(values, [1, side, side], { labels });
  };
  const random = new RandomSource(1);
  const dataset = await datasetOf('squares', { train: part(500, random), test: part(120, random) });
  const names = { name: 'squares', dataset: 'squares' };
  const configuration = { ...loadPreset('shapes-mlp'), ...small, ...names, latent_size: 3, conditional };
  return trained(store, configuration, dataset);
}

/** Images of one random colour each, through convolutions, with two latent dimensions. */
export async function colourModel(store: string): Promise<ReportModel> {
  const random = new RandomSource(2);
  const part = (count: number) => {
    const values = new Uint8Array(count * 3 * 64);
    for (let at = 0; at < values.length; at += 64) values.fill(random.integer(256), at, at + 64);
    return inMemory(values, [3, 8, 8]);
  };
  const convolution = [{ channels: 4, kernel: 4, stride: 2, padding: 1 }];
  const configuration = {
    ...loadPreset('images-conv'),
    ...small,
    name: 'colours',
    dataset: 'colours',
    latent_size: 2,
    encoder: { convolutions: convolution, hidden: [] },
    decoder: { convolutions: convolution, hidden: [] },
  };
  return trained(store, configuration, await datasetOf('colours', { train: part(400), test: part(60) }));
}

/**
 * Rows of four columns, two of them functions of the others, under the given names; where `gaps`, every fifth value of the
 * third column is missing.
 */
export async function tableModel(store: string, columns: readonly string[], gaps = false): Promise<ReportModel> {
  const random = new RandomSource(3);
  const part = (count: number) => {
    const noise = random.fillNormal(new Float32Array(2 * count));
    const values = Float32Array.from({ length: 4 * count }, (_, i) => {
      const [a, b] = [noise[2 * (i >> 2)], noise[2 * (i >> 2) + 1]];
      return [a, 1000 + 20 * b, gaps && i % 20 === 2 ? Number.NaN : a + b, 5 * a - b][i % 4];
    });
    return inMemory(values, [4]);
  };
  const rows = await datasetOf('rows', { train: part(500), test: part(80) });
  if (rows.input.kind !== 'vector') throw new Error('rows are not images');
  const missing = { missing: true } as const;
  const input = {
    ...rows.input,
    columns: columns.map((name, i) => ({ name, kind: 'numeric' as const, ...(gaps && i === 2 && missing) })),
  };
  const dataset = { ...rows, input };
  const configuration = { ...loadPreset('table'), ...small, epochs: 20, name: 'rows', dataset: 'rows', latent_size: 4 };
  return trained(store, configuration, dataset);
}
