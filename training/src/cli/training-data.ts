import type { Manifest } from '@elbo/models';
import type { Dataset } from '../data/dataset.js';
import { loadDataset } from '../data/datasets.js';
import { parseConfiguration } from '../vae/configuration.js';
import { phasedProgress } from './progress.js';

/** The data set that a model was trained on, with progress. */
export async function loadTrainingData(
  { name, input, training }: Manifest,
  flags: { readonly dataDir: string; readonly cacheDir?: string; readonly limit?: number },
): Promise<Dataset> {
  const { dataset, seed } = parseConfiguration(training.configuration);
  const loading = phasedProgress(name);
  return loadDataset(dataset, {
    dataDir: flags.dataDir,
    cacheDir: flags.cacheDir,
    // Images of a folder become what the model was trained on.
    ...(input.kind === 'image' && { image: { height: input.shape[1], width: input.shape[2], colour: input.colour } }),
    limit: flags.limit,
    seed,
    onProgress: (done, total, text) => loading.update(done, total, text),
  }).finally(() => loading.stop());
}
