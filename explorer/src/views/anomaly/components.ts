export interface ComponentWords {
  readonly title: string;
  readonly unit: string;
  readonly meaning: string;
}

/** What the components of a score measure; larger is always less usual. */
const WORDS: Readonly<Record<string, ComponentWords>> = {
  reconstruction: { title: 'Reconstruction', unit: 'nats', meaning: 'What the model fails to give back, in all.' },
  reconstruction_peak: {
    title: 'Worst place',
    unit: 'nats',
    meaning: 'The largest error at one place: a small defect stands out here.',
  },
  kl: {
    title: 'Latent information',
    unit: 'nats',
    meaning: 'How far the item’s latent is from what the prior expects.',
  },
  nats_by_contrast: {
    title: 'Nats by contrast',
    unit: 'nats for its contrast',
    meaning: 'The whole cost of the item, by how much contrast it has: busy images may cost more.',
  },
  nats_by_variation: {
    title: 'Nats by variation',
    unit: 'nats for its variation',
    meaning: 'The whole cost of the item, by how much its pixels change from one to the next.',
  },
  mahalanobis: {
    title: 'Latent distance',
    unit: 'deviations',
    meaning: 'How far its latent is from those of usual items.',
  },
  posterior_scale: { title: 'Uncertainty', unit: 'length', meaning: 'How unsure the encoder is of the latent.' },
  latent_density: {
    title: 'Latent rarity',
    unit: 'nats',
    meaning: 'How rare such a latent is among those of usual items.',
  },
  input_distance: {
    title: 'Distance of the row',
    unit: 'deviations',
    meaning: 'How far the row itself is from where most rows are.',
  },
  isolation: { title: 'Isolation', unit: 'of 1', meaning: 'How few random cuts set the row apart from others.' },
};

export function componentWords(name: string): ComponentWords {
  return WORDS[name] ?? { title: name.replaceAll('_', ' '), unit: '', meaning: 'Larger is less usual.' };
}
