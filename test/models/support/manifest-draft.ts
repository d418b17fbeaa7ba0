import type { ManifestDraft } from '@elbo/models';

/** What a manifest says of a small model of images, with other fields where a test asks for them. */
export function draft(changes: Partial<ManifestDraft> = {}): ManifestDraft {
  return {
    schema_version: 1,
    name: 'demo',
    description: 'For tests.',
    family: 'vae',
    input: {
      kind: 'image',
      shape: [1, 2, 2],
      channel_order: 'CHW',
      colour: 'grey',
      value_range: [0, 1],
      resize: { fit: 'contain', background: 0 },
    },
    latent: { size: 2, active_units: 1, kl_per_dimension: [1, 0] },
    likelihood: { kind: 'bernoulli' },
    prior: { kind: 'standard-normal' },
    scorer: { components: ['reconstruction'] },
    calibration: {
      dataset: 'none',
      size: 3,
      default_false_positive_rate: 0.5,
      thresholds: [{ false_positive_rate: 0.5, threshold: 2 }],
      score_quantiles: [],
    },
    training: {
      configuration: { seed: 1 },
      dataset: { name: 'none', sha256: '0'.repeat(64), train_examples: 1, validation_examples: 1 },
      seed: 1,
      engine: 'none',
      threads: 1,
      epochs: 1,
      steps: 1,
      started_at: '2026-01-01T00:00:00.000Z',
      seconds: 0,
    },
    metrics: {},
    ...changes,
  };
}
