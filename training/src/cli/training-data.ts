import type { Manifest } from '@elbo/models';
import type { Dataset } from '../data/dataset.js';
import { loadDataset, readFor } from '../data/datasets.js';
import { parseConfiguration } from '../vae/configuration.js';
import { phasedProgress } from './progress.js';

/** The data set that a model was trained on, or another one for it, with progress. */
export async function loadDataFor(
  { name, input, training }: Manifest,
  flags: { readonly dataset?: string; readonly dataDir: string; readonly cacheDir?: string; readonly limit?: number },
): Promise<Dataset> {
  const { dataset, seed } = parseConfiguration(training.configuration);
  const loading = phasedProgress(name);
  return loadDataset(flags.dataset ?? dataset, {
    dataDir: flags.dataDir,
    cacheDir: flags.cacheDir,
    ...readFor(input),
    limit: flags.limit,
    seed,
    onProgress: (done, total, text) => loading.update(done, total, text),
  }).finally(() => loading.stop());
}
