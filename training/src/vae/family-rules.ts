import type { Configuration, ObjectiveConfiguration, Rules } from './configuration.js';

/**
 * What a family needs of the rest of a configuration.
 * @param plain the objective that is the ELBO alone
 */
export function familyRules(configuration: Configuration, plain: ObjectiveConfiguration): Rules {
  switch (configuration.family) {
    case 'vae':
      return [];
    case 'autoencoder':
      return autoencoderRules(configuration, plain);
    case 'vae-gan':
      return vaeGanRules(configuration, plain);
  }
}

/** What the losses of a VAE-GAN are weighted by. */
const GAN_OBJECTIVE: readonly (keyof ObjectiveConfiguration)[] = ['beta', 'kl_cycles'];

function vaeGanRules(configuration: Configuration, plain: ObjectiveConfiguration): Rules {
  const { likelihood, binarisation, prior, dropout, objective, decoder, discriminator } = configuration;
  const changed = changedField(objective, plain, GAN_OBJECTIVE);
  const layers = discriminator.convolutions.length + discriminator.hidden.length;
  return [
    [
      likelihood === 'bernoulli',
      `likelihood is ${likelihood}; expected bernoulli for family vae-gan, which has no likelihood but that of features: the decoder's pixels are from 0 to 1, and a scale would learn nothing`,
    ],
    [
      binarisation === 'none',
      `binarisation is ${binarisation}; expected none for family vae-gan, whose discriminator would know pixels that are 0 or 1 at sight`,
    ],
    [
      prior !== 'vamp',
      'prior is vamp; expected standard-normal or gaussian-mixture for family vae-gan, whose discriminator sees samples of a standard normal prior',
    ],
    [dropout.kind === 'none', `dropout.kind is ${dropout.kind}; expected none for family vae-gan`],
    [
      changed === undefined,
      `objective.${changed} is given; expected its default for family vae-gan, whose objective has ${GAN_OBJECTIVE.join(' and ')} alone`,
    ],
    [
      (decoder.stochastic_layers ?? []).length === 0,
      'decoder.stochastic_layers are given; expected none for family vae-gan, whose encoder and decoder learn from a loss each',
    ],
    [layers > 0, 'discriminator has neither convolutions nor hidden layers; expected at least one layer'],
    [
      discriminator.feature_layer < layers,
      `discriminator.feature_layer is ${discriminator.feature_layer}; expected less than ${layers}, which is how many layers discriminator.convolutions and discriminator.hidden are`,
    ],
  ];
}

function autoencoderRules(configuration: Configuration, plain: ObjectiveConfiguration): Rules {
  const { prior, kl_warm_up_fraction: warmUp, objective, decoder } = configuration;
  const changed = changedField(objective, plain, ['planted_defects']);
  return [
    [
      prior === 'gaussian-mixture',
      `prior is ${prior}; expected gaussian-mixture for family autoencoder, whose latents follow no prior until one is fitted to them`,
    ],
    [
      changed === undefined,
      `objective.${changed} is given; expected its default for family autoencoder, whose loss is the reconstruction alone`,
    ],
    [warmUp === 0, `kl_warm_up_fraction is ${warmUp}; expected 0 for family autoencoder, whose loss has no KL term`],
    [
      (decoder.stochastic_layers ?? []).length === 0,
      'decoder.stochastic_layers are given; expected none for family autoencoder, whose latents are not drawn',
    ],
  ];
}

/** A field of an objective, not among those that are free, which is not as in the plain one. */
function changedField(
  objective: ObjectiveConfiguration,
  plain: ObjectiveConfiguration,
  free: readonly (keyof ObjectiveConfiguration)[] = [],
): keyof ObjectiveConfiguration | undefined {
  const fields = Object.keys(plain) as (keyof ObjectiveConfiguration)[];
  return fields.find(
    (field) => !free.includes(field) && JSON.stringify(objective[field]) !== JSON.stringify(plain[field]),
  );
}
