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
  }
}

function autoencoderRules(configuration: Configuration, plain: ObjectiveConfiguration): Rules {
  const { prior, kl_warm_up_fraction: warmUp, objective, decoder } = configuration;
  const changed = changedField(objective, plain);
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

/** A field of an objective that is not as in the plain one. */
function changedField(
  objective: ObjectiveConfiguration,
  plain: ObjectiveConfiguration,
): keyof ObjectiveConfiguration | undefined {
  const fields = Object.keys(plain) as (keyof ObjectiveConfiguration)[];
  return fields.find((field) => JSON.stringify(objective[field]) !== JSON.stringify(plain[field]));
}
