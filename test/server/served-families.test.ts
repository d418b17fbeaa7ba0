import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readManifest } from '@elbo/models';
import request from 'supertest';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { elbo } from '../support/elbo.js';
import { suiteDirectory } from '../support/temporary-directory.js';
import { type RunningService, startService } from './support/running-service.js';

// Models that are not plain VAEs, from the command line to the service.

const newDirectory = suiteDirectory();
const FAMILIES = {
  autoencoder: ['family=autoencoder', 'prior=gaussian-mixture', 'prior_components=5', 'kl_warm_up_fraction=0'],
  'vae-gan': ['family=vae-gan', 'binarisation=none', 'discriminator.hidden=[32]', 'batch_size=50'],
} as const;
let store: string;
let running: RunningService;

beforeAll(async () => {
  store = newDirectory();
  for (const [name, assignments] of Object.entries(FAMILIES)) {
    const { code, stderr } = await elbo([
      ...['train', '--preset', 'shapes-mlp', '--limit', '500', '--epochs', '1', '--threads', '1'],
      ...['encoder.hidden=[32]', 'decoder.hidden=[32]', ...assignments].flatMap((assignment) => ['--set', assignment]),
      ...['--name', name, '--out', store],
    ]);
    if (code !== 0) throw new Error(stderr);
  }
  running = await startService(store, { defaultModel: 'vae-gan' });
}, 300_000);
afterAll(() => running.close());

describe.each(Object.keys(FAMILIES))('a model of family %s', (name) => {
  test('encodes, reconstructs, samples and scores', async () => {
    const { body: sampled } = await request(running.url).post(`/sample?model=${name}`).send({ count: 3, seed: 7 });
    expect(sampled.shape).toEqual([3, 1, 32, 32]);
    const inputs = sampled.outputs;
    const { body: encoded } = await request(running.url).post(`/encode?model=${name}`).send({ inputs });
    expect(encoded.mean).toHaveLength(3);
    const constant = encoded.log_variance.flat().every((value: number) => value === -10);
    expect(constant).toBe(name === 'autoencoder');
    const { body: reconstructed } = await request(running.url).post(`/reconstruct?model=${name}`).send({ inputs });
    expect(reconstructed.shape).toEqual([3, 1, 32, 32]);
    const { body: scored } = await request(running.url).post(`/anomaly-score?model=${name}`).send({ inputs });
    const { scorer, family } = await readManifest(join(store, name, '1'));
    expect(family).toBe(name);
    expect(Object.keys(scored.scores[0].components)).toEqual(scorer.components);
    expect(scorer.components.includes('posterior_scale')).toBe(name !== 'autoencoder');
  });

  test('has no discriminator in its files', async () => {
    const directory = join(store, name, '1');
    const { files } = await readManifest(directory);
    for (const file of Object.keys(files)) {
      expect(readFileSync(join(directory, file)).includes('discriminator.'), file).toBe(false);
    }
  });
});
