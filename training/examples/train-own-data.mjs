// Trains a small VAE on data of your own, from a program: build first (`npm run build`), then
//   node training/examples/train-own-data.mjs

import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { datasetOf, inMemory, loadPreset, train } from '@elbo/training';

// Two thousand rows of three related columns would come from your database; any numbers do.
const rows = (count, offset) =>
  Float32Array.from({ length: count * 3 }, (_, i) => {
    const t = offset + Math.floor(i / 3);
    return [Math.sin(t), 10 * Math.sin(t) + Math.cos(7 * t), 1000 + 50 * Math.cos(t)][i % 3];
  });

const result = await train({
  configuration: { ...loadPreset('table'), name: 'own-data', epochs: 5 },
  dataset: await datasetOf('own-data', { train: inMemory(rows(2000, 0), [3]), test: inMemory(rows(200, 2000), [3]) }),
  store: await mkdtemp(join(tmpdir(), 'elbo-example-')),
  onEpoch: ({ epoch, validation }) => console.log(`epoch ${epoch}: validation −ELBO ${validation.loss.toFixed(2)}`),
});
console.log(`${result.directory}: serve it with ELBO_MODELS_DIR, or load encoder.onnx in any ONNX runtime`);
