import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MAX_REFERENCE_POINTS, MODEL_NAME_PATTERN } from '@elbo/models';
import { type Static, type TSchema, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { Default, Errors } from 'typebox/value';
import { ACTIVATIONS } from '../nn/layers.js';
import { OPTIMISER_KINDS } from '../nn/optimisers.js';
import { DROPOUT_KINDS } from '../nn/variational-dropout.js';
import { ConfigurationError } from './configuration-error.js';
import { familyRules } from './family-rules.js';
import { LIKELIHOODS } from './likelihoods.js';
import { PRIOR_KINDS } from './priors.js';

export { ConfigurationError } from './configuration-error.js';

const oneOf = <T extends string>(names: readonly T[]) => Type.Enum(names as [T, ...T[]]);
const closed = { additionalProperties: false } as const;

const Width = Type.Integer({ minimum: 1, maximum: 65_536 });
const Fraction = Type.Number({ minimum: 0, maximum: 1 });

/** One convolution of an encoder, or one transposed convolution of a decoder, which undoes the sizes of such a one. */
const ConvolutionSchema = Type.Object(
  {
    channels: Type.Integer({
      minimum: 1,
      maximum: 65_536,
      description: 'That come out of a convolution of the encoder, or go into one of the decoder',
    }),
    kernel: Type.Integer({ minimum: 1, maximum: 64, description: 'Side of the kernel, in pixels' }),
    stride: Type.Integer({ minimum: 1, maximum: 64, description: 'Pixels between two places of the kernel' }),
    padding: Type.Integer({ minimum: 0, maximum: 64, description: 'Zeros around the maps, in pixels' }),
  },
  closed,
);
export type ConvolutionConfiguration = Static<typeof ConvolutionSchema>;

/** Convolutions stand at the side of the data, hidden dense layers at the side of the latent space. */
const NetworkSchema = Type.Object(
  {
    convolutions: Type.Array(ConvolutionSchema, {
      maxItems: 16,
      default: [],
      description: 'At the side of the data, in the order in which data go through',
    }),
    hidden: Type.Array(Width, {
      maxItems: 32,
      description: 'Units of the dense layers at the side of the latent space, in the order in which data go through',
    }),
  },
  closed,
);

const DecoderSchema = Type.Object(
  {
    ...NetworkSchema.properties,
    stochastic_layers: Type.Optional(
      Type.Array(
        Type.Object(
          {
            after_layer: Type.Integer({
              minimum: 0,
              maximum: 64,
              description:
                'Number of a layer of the decoder, from 0: hidden ones, the one that fills the first maps, convolutions',
            }),
            latents: Type.Integer({
              minimum: 1,
              maximum: 65_536,
              description: 'Latent dimensions that join there; after a layer of maps, latent channels of their size',
            }),
          },
          closed,
        ),
        { maxItems: 16, default: [], description: 'Latent variables below the first, from the top to the data' },
      ),
    ),
  },
  closed,
);

export const OptimiserSchema = Type.Object(
  {
    kind: oneOf(OPTIMISER_KINDS),
    learning_rate: Type.Number({ exclusiveMinimum: 0, maximum: 10, description: 'The highest of the run' }),
    beta1: Type.Number({ minimum: 0, exclusiveMaximum: 1, default: 0.9, description: 'Of adam, adamw and adamax' }),
    beta2: Type.Number({ minimum: 0, exclusiveMaximum: 1, default: 0.999, description: 'Of adam, adamw and adamax' }),
    // Smaller ones are 0 in float32.
    epsilon: Type.Number({ minimum: 1e-38, maximum: 1, default: 1e-8, description: 'Of adam, adamw and adamax' }),
    momentum: Type.Number({ minimum: 0, exclusiveMaximum: 1, default: 0, description: 'Of sgd' }),
    weight_decay: Type.Number({
      minimum: 0,
      maximum: 1,
      default: 0,
      description: 'Of adamw and sgd; biases do not decay',
    }),
    gradient_norm_limit: Type.Number({
      exclusiveMinimum: 0,
      maximum: 1e38,
      description: 'Longer gradients are scaled down to it',
    }),
    skip_gradient_norm: Type.Number({
      minimum: 0,
      maximum: 1e38,
      default: 0,
      description:
        'A step with a longer gradient, as it is before it is scaled down, changes nothing; 0: none is too long',
    }),
  },
  closed,
);
export type OptimiserConfiguration = Static<typeof OptimiserSchema>;

/** What a discriminator learns by beside the model: Adam, with the rest of the model's optimiser. */
const learningFields = (defaults: Readonly<Record<'learning_rate' | 'beta1' | 'beta2', number>>) => ({
  learning_rate: Type.Number({ exclusiveMinimum: 0, maximum: 10, default: defaults.learning_rate }),
  beta1: Type.Number({ minimum: 0, exclusiveMaximum: 1, default: defaults.beta1 }),
  beta2: Type.Number({ minimum: 0, exclusiveMaximum: 1, default: defaults.beta2 }),
});

/** What a step minimises; each field alone is a published objective, and those that suit each other can be combined. */
export const ObjectiveSchema = Type.Object(
  {
    beta: Type.Number({ minimum: 0, maximum: 1e6, default: 1, description: 'Weight of the KL term (beta-VAE)' }),
    kl_cycles: Type.Integer({
      minimum: 1,
      maximum: 1000,
      default: 1,
      description: 'So often the weight of the KL term rises anew; kl_warm_up_fraction is then of a cycle',
    }),
    capacity: Type.Number({
      minimum: 0,
      maximum: 1e6,
      default: 0,
      description: 'Nats that the KL term is held at, beta being the weight of its distance; 0: it is minimised',
    }),
    capacity_fraction: Type.Number({
      minimum: 0,
      maximum: 1,
      default: 0.5,
      description: 'The capacity rises from 0 over this part of the run',
    }),
    free_bits: Type.Number({
      minimum: 0,
      maximum: 100,
      default: 0,
      description: 'Nats of each latent dimension that cost nothing',
    }),
    total_correlation: Type.Number({
      minimum: 0,
      maximum: 1e6,
      default: 0,
      description: "Weight of the aggregate posterior's total correlation, beside its part of the KL term (beta-TCVAE)",
    }),
    total_correlation_by: Type.Enum(['minibatch', 'discriminator'], {
      default: 'minibatch',
      description:
        'What the total correlation is estimated by: the other posteriors of the minibatch (beta-TCVAE) or a network that is trained beside the model (FactorVAE)',
    }),
    discriminator: Type.Object(
      {
        hidden: Type.Array(Width, {
          minItems: 1,
          maxItems: 32,
          default: [1000, 1000, 1000, 1000, 1000, 1000],
          description: 'Units of its layers',
        }),
        ...learningFields({ learning_rate: 1e-4, beta1: 0.5, beta2: 0.9 }),
      },
      { ...closed, default: {}, description: 'The network that tells samples of q(z) from those of its marginals' },
    ),
    covariance: Type.Enum(['none', 'means', 'samples'], {
      default: 'none',
      description: 'Whether the covariance of the posterior means (DIP-VAE I) or of z (II) is drawn to the identity',
    }),
    covariance_off_diagonal: Type.Number({ minimum: 0, maximum: 1e6, default: 10, description: 'Weight' }),
    covariance_diagonal: Type.Number({ minimum: 0, maximum: 1e6, default: 100, description: 'Weight' }),
    maximum_mean_discrepancy: Type.Number({
      minimum: 0,
      maximum: 1e6,
      default: 0,
      description: "Weight of the aggregate posterior's distance to the prior (InfoVAE; WAE-MMD with beta 0)",
    }),
    trimmed_share: Type.Number({
      minimum: 0,
      maximum: 0.5,
      default: 0,
      description:
        'Of each minibatch, the share with the largest −ELBO, which teaches nothing: for data with anomalies among them',
    }),
    planted_defects: Type.Integer({
      minimum: 0,
      maximum: 100,
      default: 0,
      description:
        'Rectangles that the encoder sees on an image at most, each half of the time, while the decoder is to give the image without (denoising criterion): for maps of where a defect is',
    }),
    importance_samples: Type.Integer({
      minimum: 1,
      maximum: 1000,
      default: 1,
      description: 'Samples of z an example, in the importance-weighted bound where there are several (IWAE)',
    }),
    doubly_reparameterised: Type.Boolean({
      default: false,
      description: 'Whether the encoder learns by the gradient of Tucker et al. (2019); of several importance samples',
    }),
  },
  { ...closed, default: {} },
);
export type ObjectiveConfiguration = Static<typeof ObjectiveSchema>;
/** The ELBO. */
const PLAIN_OBJECTIVE = Default(ObjectiveSchema, {}) as ObjectiveConfiguration;

/** The network of a vae-gan that judges images. */
const DiscriminatorSchema = Type.Object(
  {
    convolutions: Type.Array(ConvolutionSchema, {
      maxItems: 16,
      default: [
        { channels: 32, kernel: 4, stride: 2, padding: 1 },
        { channels: 64, kernel: 4, stride: 2, padding: 1 },
      ],
    }),
    hidden: Type.Array(Width, { maxItems: 32, default: [256] }),
    feature_layer: Type.Integer({
      minimum: 0,
      maximum: 64,
      default: 1,
      description:
        'Number of the layer, from 0, convolutions first, whose signals of an image and its reconstruction are compared',
    }),
    feature_weight: Type.Number({
      minimum: 0,
      maximum: 1e6,
      default: 0.02,
      description: "Of that comparison in the decoder's loss, beside the discriminator's judgement",
    }),
    // Slower ones fell behind a decoder at 5e-4, to a discriminator at chance.
    ...learningFields({ learning_rate: 8e-4, beta1: 0.5, beta2: 0.999 }),
  },
  {
    ...closed,
    default: {},
    description: 'Of family vae-gan: the network that tells images from what the decoder makes',
  },
);
export type DiscriminatorConfiguration = Static<typeof DiscriminatorSchema>;

/** Kinds of models, all of which encode, decode and score. */
export const FAMILIES = ['vae', 'autoencoder', 'vae-gan'] as const;
export type Family = (typeof FAMILIES)[number];

/** What exported weights can be rounded to. */
export const WEIGHT_PRECISIONS = ['float32', 'float16'] as const;
export type WeightPrecision = (typeof WEIGHT_PRECISIONS)[number];

/** The parts of a model that variational dropout can be in. */
const DROPOUT_PARTS = ['encoder', 'decoder'] as const;
export type DropoutPart = (typeof DROPOUT_PARTS)[number];

/** Fields of variational dropout, in whatever it is. */
export const DROPOUT_FIELDS = {
  kind: Type.Enum([...DROPOUT_KINDS], {
    default: 'none',
    description:
      'Noise on weights with a learned rate: of each input unit (gaussian); of each weight, which prunes weights (sparse); of gates on input units, which prunes units (group)',
  }),
  threshold: Type.Number({
    minimum: -8,
    maximum: 8,
    default: 3,
    description: 'What has a larger log alpha is pruned, of sparse and group',
  }),
  log_variance: Type.Number({
    minimum: -30,
    maximum: 0,
    default: -10,
    description: 'What the log variance of weights starts at, of sparse and group',
  }),
  alpha: Type.Number({
    exclusiveMinimum: 0,
    exclusiveMaximum: 1,
    default: 0.05,
    description: 'What the variance of the noise starts at, of gaussian',
  }),
  weight: Type.Number({
    minimum: 0,
    maximum: 1e6,
    default: 1,
    description: "Of the weights' KL term; 1 is the variational bound",
  }),
  warm_up_fraction: Type.Number({
    minimum: 0,
    maximum: 1,
    default: 0,
    description: "The weight of the weights' KL term rises from 0 over this part of the run",
  }),
};

export const ConfigurationSchema = Type.Object(
  {
    name: Type.String({ pattern: MODEL_NAME_PATTERN, description: 'Name of the exported model' }),
    description: Type.String({ description: 'Of the model, for people' }),
    dataset: Type.String({ description: 'A name that `elbo datasets` lists, or a path' }),
    family: Type.Enum([...FAMILIES], {
      description:
        'vae; autoencoder: z is the mean of the encoder, without noise or a KL term; vae-gan: a discriminator judges what the decoder makes, and says how like an image and its reconstruction are',
    }),
    conditional: Type.Boolean({
      default: false,
      description:
        'Whether encoder and decoder know the class of each example, so that samples of a class can be drawn',
    }),
    likelihood: Type.Enum(Object.keys(LIKELIHOODS) as [keyof typeof LIKELIHOODS], {
      description:
        'How data come about: bernoulli (pixels), gaussian (pixels or columns, one learned deviation), discretised-logistic (images of bytes), mixed (columns of numbers and categories), categorical (codes), negative-binomial (counts)',
    }),
    binarisation: Type.Enum(['dynamic', 'none'], {
      default: 'dynamic',
      description: 'Whether the pixels of images of bytes are drawn as 0 or 1 anew whenever they are seen',
    }),
    prior: Type.Enum([...PRIOR_KINDS], {
      description:
        'standard-normal; vamp: a mixture of the posteriors of learned pseudo-inputs; gaussian-mixture: normals that are fitted to the latents after training',
    }),
    prior_components: Type.Integer({
      minimum: 1,
      maximum: 10_000,
      default: 500,
      description: 'Of vamp: pseudo-inputs; of gaussian-mixture: normals that are fitted to the aggregate posterior',
    }),
    image_size: Type.Optional(
      Type.Object(
        { height: Type.Integer({ minimum: 1, maximum: 9999 }), width: Type.Integer({ minimum: 1, maximum: 9999 }) },
        {
          additionalProperties: false,
          description: 'What the images of a folder are brought to where --image-size is not given',
        },
      ),
    ),
    latent_size: Type.Integer({
      minimum: 1,
      maximum: 65_536,
      description: 'Latent dimensions of the first stochastic layer, the only one unless the decoder has more',
    }),
    activation: Type.Enum(Object.keys(ACTIVATIONS) as [keyof typeof ACTIVATIONS], {
      description: 'After each layer but the last of a network',
    }),
    encoder: NetworkSchema,
    decoder: DecoderSchema,
    log_variance_limit: Type.Number({
      exclusiveMinimum: 0,
      maximum: 40,
      description: 'log variance is clamped to ±this',
    }),
    batch_size: Type.Integer({ minimum: 1, maximum: 65_536, description: 'Examples of a step' }),
    epochs: Type.Integer({ minimum: 1, maximum: 1_000_000, description: 'Passes over the training examples' }),
    objective: ObjectiveSchema,
    dropout: Type.Object(
      {
        ...DROPOUT_FIELDS,
        parts: Type.Array(Type.Enum([...DROPOUT_PARTS]), {
          minItems: 1,
          uniqueItems: true,
          default: [...DROPOUT_PARTS],
          description: 'That it is in',
        }),
      },
      { ...closed, default: {} },
    ),
    kl_warm_up_fraction: Type.Number({
      minimum: 0,
      maximum: 1,
      description: 'The weight of the KL term rises from 0 to 1 over this part of the run',
    }),
    discriminator: DiscriminatorSchema,
    optimiser: OptimiserSchema,
    learning_rate_schedule: Type.Object(
      {
        kind: oneOf(['constant', 'cosine', 'linear', 'step']),
        warm_up_fraction: Type.Number({
          minimum: 0,
          maximum: 1,
          default: 0,
          description: 'The learning rate rises from 0 over this part of the run',
        }),
        final_fraction: Type.Number({
          minimum: 0,
          maximum: 1,
          default: 1,
          description: 'Of the learning rate: at the last step of cosine and linear',
        }),
        milestones: Type.Array(Fraction, {
          default: [],
          description: 'Of step: parts of the run after each of which the rate is multiplied by the factor',
        }),
        factor: Type.Number({ exclusiveMinimum: 0, maximum: 1, default: 0.1, description: 'Of step' }),
      },
      closed,
    ),
    weight_precision: Type.Enum([...WEIGHT_PRECISIONS], {
      default: 'float32',
      description: 'What the weights of the exported graphs are rounded to: float16 makes files half as large',
    }),
    weight_average_decay: Type.Number({
      minimum: 0,
      exclusiveMaximum: 1,
      default: 0,
      description: 'Of the moving average of the weights that is evaluated and exported; 0: the weights themselves',
    }),
    validation_fraction: Type.Number({
      exclusiveMinimum: 0,
      maximum: 0.5,
      description:
        'Part of the training examples that is held out: it chooses the epoch and calibrates the score; of few examples, 40 or half',
    }),
    reference_points: Type.Integer({
      minimum: 0,
      maximum: MAX_REFERENCE_POINTS,
      default: 2000,
      description:
        'Validation examples that are exported with the model for a map of its latent space, at most; 0: none',
    }),
    seed: Type.Integer({
      minimum: 0,
      maximum: 0xffff_ffff,
      description: 'Of initial weights, shuffles, noise and the validation split',
    }),
  },
  closed,
);
/** A complete training run: everything but the data. */
export type Configuration = Static<typeof ConfigurationSchema>;

const validator = Compile(ConfigurationSchema);
const presetDirectory = fileURLToPath(new URL('../../presets/', import.meta.url));

/** @throws {ConfigurationError} naming the first field that is wrong */
export function parseConfiguration(json: unknown): Configuration {
  // Fields with a default may be left out, as configurations of older models do.
  const filled = Default(ConfigurationSchema, copyOf(json));
  if (validator.Check(filled)) return consistent(filled);
  throw firstError(ConfigurationSchema, filled);
}

/** A copy in which encoder and decoder are two, should a program give both the same layers. */
export function copyOf(json: unknown): unknown {
  if (Array.isArray(json)) return json.map(copyOf);
  if (!isRecord(json)) return json;
  return Object.fromEntries(Object.entries(json).map(([key, value]) => [key, copyOf(value)]));
}

/** What is wrong with a configuration that does not fit its schema. */
export function firstError(schema: TSchema, json: unknown): ConfigurationError {
  const [first] = Errors(schema, json);
  if (first === undefined) return new ConfigurationError('the configuration is not valid');
  const field = first.instancePath.slice(1).replaceAll('/', '.');
  if (first.keyword === 'boolean') return new ConfigurationError(`${field} is not a field of a configuration`);
  return new ConfigurationError(`${field === '' ? 'configuration' : field} ${first.message}${allowed(first.params)}`);
}

/** Whether training and evaluation draw each pixel as 0 or 1: images of bytes under a likelihood of 0 and 1. */
export function binarises(
  { likelihood, binarisation }: Partial<Pick<Configuration, 'likelihood' | 'binarisation'>>,
  dtype: 'uint8' | 'float32',
): boolean {
  return binarisation === 'dynamic' && likelihood === 'bernoulli' && dtype === 'uint8';
}

/** The same network without noise on its weights, which is what is left of one that was trained with it. */
export function withoutDropout(configuration: Configuration): Configuration {
  return { ...configuration, dropout: { ...configuration.dropout, kind: 'none' } };
}

/** What a schema cannot say: fields that must suit each other. */
function consistent(configuration: Configuration): Configuration {
  const { objective, dropout } = configuration;
  const { importance_samples: samples } = objective;
  const besidesSamples = (
    ['capacity', 'free_bits', 'total_correlation', 'maximum_mean_discrepancy', 'trimmed_share'] as const
  ).find((field) => objective[field] !== 0);
  const rules: Rules = [
    ...optimiserRules(configuration),
    ...scheduleRules(configuration),
    [
      objective.capacity === 0 || objective.free_bits === 0,
      'objective.capacity and objective.free_bits are both given; expected one of them, since both say what the KL term may be',
    ],
    [
      samples === 1 || besidesSamples === undefined,
      `objective.${besidesSamples} is given; expected 0 with ${samples} importance samples, whose bound has no KL term of its own`,
    ],
    [
      objective.trimmed_share === 0 || objective.free_bits === 0,
      'objective.trimmed_share and objective.free_bits are both given; expected one of them, since free bits are counted over whole minibatches',
    ],
    [
      samples === 1 || (objective.beta === 1 && objective.covariance === 'none'),
      `objective.beta is ${objective.beta} and objective.covariance ${objective.covariance}; expected 1 and none with ${samples} importance samples`,
    ],
    [
      configuration.prior !== 'vamp' || !configuration.conditional,
      'prior is vamp; expected standard-normal or gaussian-mixture for a conditional model, since pseudo-inputs have no class',
    ],
    [
      configuration.prior !== 'vamp' || (objective.free_bits === 0 && objective.maximum_mean_discrepancy === 0),
      'prior is vamp; expected objective.free_bits and objective.maximum_mean_discrepancy of 0, which are about a standard normal prior',
    ],
    [
      (configuration.decoder.stochastic_layers ?? []).length === 0 || !objective.doubly_reparameterised,
      'objective.doubly_reparameterised is true; expected false for a decoder with stochastic layers, whose posteriors depend on samples of each other',
    ],
    [
      samples > 1 || !objective.doubly_reparameterised,
      'objective.doubly_reparameterised is true; expected false, or more than one of objective.importance_samples',
    ],
    [
      samples === 1 || dropout.kind === 'none',
      `dropout.kind is ${dropout.kind}; expected none with ${samples} importance samples, since the noise of weights is drawn once for each example`,
    ],
    ...dropoutRules(configuration),
    ...totalCorrelationRules(configuration),
    ...familyRules(configuration, PLAIN_OBJECTIVE),
    [
      objective.maximum_mean_discrepancy + objective.total_correlation === 0 || configuration.batch_size > 1,
      `batch_size is ${configuration.batch_size}; expected at least 2 for an objective that compares examples`,
    ],
  ];
  const parts = Object.entries({ encoder: configuration.encoder, decoder: configuration.decoder });
  for (const [name, { convolutions, hidden }] of parts) {
    if (convolutions.length + hidden.length === 0) {
      throw new ConfigurationError(`${name} has neither convolutions nor hidden layers; expected at least one layer`);
    }
  }
  for (const [holds, message] of rules) if (!holds) throw new ConfigurationError(message);
  return configuration;
}

/** What must hold, and the message where it does not. */
export type Rules = readonly (readonly [boolean, string])[];

export function optimiserRules({ optimiser }: { readonly optimiser: OptimiserConfiguration }): Rules {
  return [
    [
      optimiser.momentum === 0 || optimiser.kind === 'sgd',
      `optimiser.momentum is ${optimiser.momentum}; expected 0, since ${optimiser.kind} has moments of its own`,
    ],
    [
      optimiser.weight_decay === 0 || optimiser.kind === 'adamw' || optimiser.kind === 'sgd',
      `optimiser.weight_decay is ${optimiser.weight_decay}; expected 0 for ${optimiser.kind}, or optimiser.kind adamw or sgd`,
    ],
  ];
}

export function scheduleRules({
  learning_rate_schedule: schedule,
}: Pick<Configuration, 'learning_rate_schedule'>): Rules {
  return [
    [
      schedule.kind === 'step' ? schedule.milestones.length > 0 : schedule.milestones.length === 0,
      `learning_rate_schedule.milestones has ${schedule.milestones.length} entries; expected ${schedule.kind === 'step' ? 'at least one' : 'none'} for ${schedule.kind}`,
    ],
  ];
}

/** What a discriminator of the total correlation needs of the rest of a configuration. */
function totalCorrelationRules({ objective, batch_size: batch, latent_size: latents }: Configuration): Rules {
  const byDiscriminator = objective.total_correlation_by === 'discriminator';
  return [
    [
      !byDiscriminator || objective.total_correlation > 0,
      'objective.total_correlation is 0; expected more for a total correlation by discriminator',
    ],
    [
      !byDiscriminator || batch > latents,
      `batch_size is ${batch}; expected more than latent_size, which is ${latents}, for a total correlation by discriminator: each latent dimension is taken of another example`,
    ],
  ];
}

/** What variational dropout needs of the rest of a configuration. */
export function dropoutRules({
  dropout,
  optimiser,
}: {
  readonly dropout: Pick<Configuration['dropout'], 'kind'>;
  readonly optimiser: OptimiserConfiguration;
}): Rules {
  return [
    [
      dropout.kind === 'none' || optimiser.weight_decay === 0,
      `optimiser.weight_decay is ${optimiser.weight_decay}; expected 0 with dropout.kind ${dropout.kind}, whose KL term decays weights and must not see their log variances decay`,
    ],
  ];
}

export function presetNames(): string[] {
  return readdirSync(presetDirectory)
    .filter((file) => file.endsWith('.json'))
    .map((file) => basename(file, '.json'))
    .sort();
}

/** @throws {ConfigurationError} for an unknown name, listing the known ones, and for one that is not of a VAE */
export function loadPreset(name: string): Configuration {
  return parseConfiguration(readPreset(name));
}

/**
 * What a preset's file holds.
 * @throws {ConfigurationError} for an unknown name, listing the known ones
 */
export function readPreset(name: string): unknown {
  if (!presetNames().includes(name)) {
    throw new ConfigurationError(`preset "${name}" is not known; there are: ${presetNames().join(', ')}`);
  }
  return JSON.parse(readFileSync(join(presetDirectory, `${name}.json`), 'utf8'));
}

/**
 * Applies `--set key=value` overrides: a dotted path to an existing field, and a JSON value or plain text.
 * @param parse checks what comes out
 * @throws {ConfigurationError} naming the key that is unknown or the value that does not fit
 */
export function override<C = Configuration>(
  configuration: C,
  assignments: readonly string[],
  parse: (json: unknown) => C = parseConfiguration as (json: unknown) => C,
): C {
  const copy = structuredClone(configuration) as Record<string, unknown>;
  for (const assignment of assignments) {
    const at = assignment.indexOf('=');
    if (at < 1) throw new ConfigurationError(`--set ${assignment}: expected key=value, for instance batch_size=64`);
    const path = assignment.slice(0, at).split('.');
    const last = path.pop() as string;
    let target: unknown = copy;
    for (const key of path) target = isRecord(target) && Object.hasOwn(target, key) ? target[key] : undefined;
    if (!isRecord(target) || !Object.hasOwn(target, last)) {
      throw new ConfigurationError(`--set ${assignment}: no such field; ${WHERE_FIELDS_ARE}`);
    }
    target[last] = parseValue(assignment.slice(at + 1));
  }
  return parse(copy);
}

const WHERE_FIELDS_ARE = '`elbo presets NAME` shows all of them';

/**
 * Replaces fields by those of a JSON object, which holds only what changes; objects are merged, all else is replaced.
 * @param source of the settings, such as their file, for messages
 * @returns a configuration that is not checked yet, for `override`
 * @throws {ConfigurationError} naming the field that is unknown
 */
export function withSettings<C>(configuration: C, settings: unknown, source: string): C {
  if (!isRecord(settings)) {
    throw new ConfigurationError(`${source}: expected a JSON object of fields, such as {"latent_size": 16}`);
  }
  const merged = (fields: unknown, changes: Readonly<Record<string, unknown>>, path: string): unknown => {
    const copy = isRecord(fields) ? { ...fields } : {};
    for (const [key, value] of Object.entries(changes)) {
      if (!Object.hasOwn(copy, key)) {
        throw new ConfigurationError(`${source}: ${path}${key}: no such field; ${WHERE_FIELDS_ARE}`);
      }
      copy[key] = isRecord(value) ? merged(copy[key], value, `${path}${key}.`) : value;
    }
    return copy;
  };
  return merged(configuration, settings, '') as C;
}

function parseValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function allowed(params: unknown): string {
  if (!isRecord(params)) return '';
  if (Array.isArray(params.allowedValues)) return `: ${params.allowedValues.join(', ')}`;
  if (Array.isArray(params.additionalProperties)) return `: ${params.additionalProperties.join(', ')}`;
  return '';
}
