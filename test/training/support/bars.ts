import { createHash } from 'node:crypto';
import { RandomSource } from '@elbo/models';
import { type Dataset, type Examples, inMemory } from '@elbo/training/data/dataset';
import { type Configuration, loadPreset } from '@elbo/training/vae/configuration';

const SIDE = 6;

/** Images of one to three bright bars: a data set that a tiny network learns in a second. */
export function barsDataset(trainCount = 600, testCount = 200): Dataset {
  const values = bars(trainCount, 1);
  return {
    name: 'bars',
    input: {
      kind: 'image',
      shape: [1, SIDE, SIDE],
      channel_order: 'CHW',
      colour: 'grey',
      value_range: [0, 1],
      resize: { fit: 'contain', background: 0 },
    },
    train: examplesOf(values),
    test: examplesOf(bars(testCount, 2)),
    sha256: createHash('sha256').update(values).digest('hex'),
  };
}

/** A configuration that suits it; the fields given replace those of the shapes preset. */
export function tinyConfiguration(changes: Partial<Configuration> = {}): Configuration {
  return {
    ...loadPreset('shapes-mlp'),
    name: 'tiny',
    dataset: 'bars',
    latent_size: 3,
    encoder: { convolutions: [], hidden: [16] },
    decoder: { convolutions: [], hidden: [12, 16] },
    batch_size: 32,
    epochs: 2,
    kl_warm_up_fraction: 0.2,
    ...changes,
  };
}

const examplesOf = (values: Uint8Array): Examples => inMemory(values, [1, SIDE, SIDE]);

function bars(count: number, seed: number): Uint8Array {
  const random = new RandomSource(seed);
  const values = new Uint8Array(count * SIDE * SIDE);
  for (let i = 0; i < count; i++) {
    for (let bar = 0; bar <= random.integer(3); bar++) {
      const at = random.integer(SIDE);
      const across = random.integer(2) === 1;
      for (let j = 0; j < SIDE; j++) values[i * SIDE * SIDE + (across ? at * SIDE + j : j * SIDE + at)] = 230;
    }
  }
  return values;
}
