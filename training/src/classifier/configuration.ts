import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { Default } from 'typebox/value';
import {
  ConfigurationError,
  ConfigurationSchema,
  copyOf,
  DROPOUT_FIELDS,
  dropoutRules,
  firstError,
  optimiserRules,
  scheduleRules,
} from '../vae/configuration.js';

const closed = { additionalProperties: false } as const;

/** What training anything needs, as a VAE's configuration has it. */
const {
  name,
  description,
  dataset,
  activation,
  batch_size,
  epochs,
  optimiser,
  learning_rate_schedule,
  weight_average_decay,
  validation_fraction,
  seed,
} = ConfigurationSchema.properties;

export const ClassifierSchema = Type.Object(
  {
    name,
    description,
    dataset,
    family: Type.Literal('classifier'),
    activation,
    /** What makes the features: the last hidden layer, or the last maps. */
    encoder: ConfigurationSchema.properties.encoder,
    dropout: Type.Object(DROPOUT_FIELDS, { ...closed, default: {} }),
    batch_size,
    epochs,
    optimiser,
    learning_rate_schedule,
    weight_average_decay,
    validation_fraction,
    seed,
  },
  closed,
);
/** A complete training run of a classifier: everything but the data. */
export type ClassifierConfiguration = Static<typeof ClassifierSchema>;

const validator = Compile(ClassifierSchema);

/** @throws {ConfigurationError} naming the first field that is wrong */
export function parseClassifierConfiguration(json: unknown): ClassifierConfiguration {
  const filled = Default(ClassifierSchema, copyOf(json));
  if (!validator.Check(filled)) throw firstError(ClassifierSchema, filled);
  const { convolutions, hidden } = filled.encoder;
  const rules = [
    ...optimiserRules(filled),
    ...scheduleRules(filled),
    ...dropoutRules(filled),
    [
      convolutions.length + hidden.length > 0,
      'encoder has neither convolutions nor hidden layers; expected at least one layer',
    ] as const,
  ];
  for (const [holds, message] of rules) if (!holds) throw new ConfigurationError(message);
  return filled;
}
