import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { DataError, datasetOf, inMemory } from '@elbo/training';
import { expect, test } from 'vitest';

const example = fileURLToPath(new URL('../../training/examples/train-own-data.mjs', import.meta.url));

test('the example of the library trains and exports a model', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [example], { encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(status).toBe(0);
  expect(stdout).toMatch(/^epoch 1: validation −ELBO [\d.]+\n/);
  expect(stdout).toMatch(/own-data\/1: serve it with ELBO_MODELS_DIR/);
});

test('a data set of own examples refuses what cannot be trained on', async () => {
  const rows = (values: number[]) => inMemory(Float32Array.from(values), [2]);
  const good = rows([1, 2, 3, 4]);
  await expect(datasetOf('own', { train: good, test: inMemory(Float32Array.of(1, 2, 3), [3]) })).rejects.toThrow(
    /^own: the test part is float32 \[3\]; expected float32 \[2\]/,
  );
  await expect(datasetOf('own', { train: rows([1, Number.NaN]), test: good })).rejects.toThrow(DataError);
  await expect(datasetOf('own', { train: rows([1, 1e15]), test: good })).rejects.toThrow(
    /^own: values are from 1 to 999999986991104; expected them within ±1000000000000$/,
  );
});
