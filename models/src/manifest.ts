import { type Static, Type } from 'typebox';
// Not typebox/compile, which loads half as many modules again for what is not used here.
import { Compile } from 'typebox/schema';
import { conditionProblem } from './condition.js';
import { ModelStoreError } from './errors.js';
import { GoldenSchema } from './golden.js';
import { ReferenceSchema, referenceProblem } from './reference.js';

/** The version of the manifest format that this package reads and writes. */
export const SCHEMA_VERSION = 1;

/** Model names are path segments, URL parameters and file names at once, so they are kept plain. */
export const MODEL_NAME_PATTERN = '^[a-z0-9][a-z0-9._-]{0,63}$';
export const MODEL_VERSION_PATTERN = '^[1-9][0-9]{0,8}$';

/** The graphs that every version has. */
export const GRAPH_FILES = { encoder: 'encoder.onnx', decoder: 'decoder.onnx', scorer: 'scorer.onnx' } as const;
export type GraphRole = keyof typeof GRAPH_FILES;

/** Held-out scores in ascending order, float32 little-endian: the reference sample of the conformal p-value. */
export const CALIBRATION_FILE = 'calibration.f32';

/** The mixture that latents are drawn from, where the prior is one; see `encodeMixture`. */
export const PRIOR_FILE = 'prior.f32';

const Dimension = Type.Integer({ minimum: 1, maximum: 1 << 24 });
const Probability = Type.Number({ exclusiveMinimum: 0, exclusiveMaximum: 1 });

export const ImageInputSchema = Type.Object({
  kind: Type.Literal('image'),
  shape: Type.Tuple([Type.Union([Type.Literal(1), Type.Literal(3)]), Dimension, Dimension], {
    description: 'Channels, height, width of one item',
  }),
  channel_order: Type.Literal('CHW'),
  colour: Type.Union([Type.Literal('grey'), Type.Literal('rgb')]),
  value_range: Type.Tuple([Type.Number(), Type.Number()], {
    description: 'Numbers that the graphs accept; byte 0 maps to the first, byte 255 to the second',
  }),
  resize: Type.Object(
    {
      fit: Type.Union([Type.Literal('contain'), Type.Literal('cover'), Type.Literal('fill')]),
      background: Type.Integer({ minimum: 0, maximum: 255, description: 'Grey level of padding and of transparency' }),
    },
    { description: 'How an image of another size becomes height x width' },
  ),
});

const MayBeMissing = Type.Optional(
  Type.Literal(true, { description: 'Where values may be missing: NaN, null in JSON, an empty cell in CSV' }),
);

/** What a column of a table holds: numbers, or codes that stand for categories. */
export const ColumnSchema = Type.Union([
  Type.Object({ name: Type.String(), kind: Type.Literal('numeric'), missing: MayBeMissing }),
  Type.Object({
    name: Type.String(),
    kind: Type.Literal('categorical'),
    categories: Type.Array(Type.String(), { minItems: 1, description: 'In the order of their codes, 0, 1, …' }),
    missing: MayBeMissing,
  }),
]);

export const VectorInputSchema = Type.Object({
  kind: Type.Literal('vector'),
  shape: Type.Tuple([Dimension], { description: 'Number of features of one item' }),
  value_range: Type.Tuple([Type.Number(), Type.Number()]),
  columns: Type.Optional(Type.Array(ColumnSchema, { description: 'Of each feature, where they are known' })),
});

export const FileRecordSchema = Type.Object({
  sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  bytes: Type.Integer({ minimum: 1 }),
});

export const CalibrationSchema = Type.Object({
  dataset: Type.String({ description: 'The held-out normal data that the scores are calibrated on' }),
  recalibrated_from: Type.Optional(
    Type.String({ description: '`name/version` whose graphs these are, calibrated on other data' }),
  ),
  size: Type.Integer({ minimum: 1, description: 'Held-out examples n; the smallest p-value is 1 / (n + 1)' }),
  default_false_positive_rate: Probability,
  thresholds: Type.Array(
    Type.Object({
      false_positive_rate: Probability,
      threshold: Type.Number({ description: 'A score above it is anomalous' }),
    }),
    { minItems: 1 },
  ),
  score_quantiles: Type.Array(
    Type.Object({ probability: Type.Number({ minimum: 0, maximum: 1 }), score: Type.Number() }),
    { description: 'A summary for readers; the whole sample is in calibration.f32' },
  ),
});

/** What a latent space is like at a glance. */
export const LatentSummarySchema = Type.Object({
  size: Dimension,
  active_units: Type.Integer({ minimum: 0, description: 'Dimensions whose posterior mean varies: variance > 0.01' }),
  kl_per_dimension: Type.Array(Type.Number(), { description: 'Mean KL(q(z_i|x) || p(z_i)) in nats' }),
});

export const PriorSchema = Type.Object(
  {
    kind: Type.String({ description: 'standard-normal; vamp and gaussian-mixture are mixtures of normals' }),
    components: Type.Optional(Type.Integer({ minimum: 1, maximum: 1 << 20, description: 'Normals of the mixture' })),
    dimensions: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1 << 20,
        description: 'The first latent dimensions, which the mixture is of',
      }),
    ),
  },
  { description: 'The distribution that samples are decoded from' },
);

/** What a conditional model knows of the classes of its examples. */
export const ConditionSchema = Type.Object(
  {
    classes: Type.Integer({ minimum: 2, maximum: 256, description: 'Classes, whose numbers are 0, 1, …' }),
    frequencies: Type.Array(Type.Number({ minimum: 0, maximum: 1 }), {
      description: 'Share of each class among the training examples; the sum is 1',
    }),
    names: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { description: 'Name of each class' })),
  },
  { description: 'The classes of a conditional model, whose graphs take a second input: `label`, one-hot' },
);

/** Of the latents of held-out examples. */
export const AggregatePosteriorSchema = Type.Object(
  {
    split: Type.String({ description: 'The part of the data that it was measured on' }),
    examples: Type.Integer({ minimum: 1 }),
    mean: Type.Array(Type.Number(), { description: 'Of each dimension' }),
    standard_deviation_of_means: Type.Array(Type.Number({ minimum: 0 }), {
      description: 'Of the posterior means of each dimension',
    }),
    variance: Type.Array(Type.Number({ minimum: 0 }), {
      description: 'Of each dimension: that of the posterior means plus the mean posterior variance',
    }),
    strongest_correlations: Type.Array(
      Type.Object({
        dimension: Type.Integer({ minimum: 0, description: 'The other dimension, from 0' }),
        correlation: Type.Number({ minimum: -1, maximum: 1 }),
      }),
      { description: 'Of each dimension: with which other it correlates most; empty where there is only one' },
    ),
    covariance: Type.Optional(
      Type.Array(Type.Array(Type.Number()), {
        description: 'Z x Z: that of the posterior means plus the mean posterior variances; left out of large spaces',
      }),
    ),
  },
  { description: 'The distribution of z over held-out examples, to four significant digits' },
);

export const LatentSchema = Type.Object({
  ...LatentSummarySchema.properties,
  aggregate_posterior: Type.Optional(AggregatePosteriorSchema),
  traversal_ranges: Type.Optional(
    Type.Array(Type.Tuple([Type.Number(), Type.Number()]), {
      description: 'Of each dimension: the 1 % and 99 % quantiles of the posterior means, where a traversal goes',
    }),
  ),
});

/** One metric: its value, in which unit, over how many examples, and by which protocol. */
export const MetricSchema = Type.Object({
  value: Type.Number(),
  unit: Type.Optional(Type.String()),
  split: Type.String(),
  examples: Type.Integer({ minimum: 1 }),
  protocol: Type.Optional(Type.String()),
});

export const TrainingRecordSchema = Type.Object({
  configuration: Type.Record(Type.String(), Type.Unknown(), {
    description: 'The complete configuration; training again with it and the same data gives the same files',
  }),
  dataset: Type.Object({
    name: Type.String(),
    sha256: Type.String({ pattern: '^[0-9a-f]{64}$', description: 'Of the training examples, as the engine saw them' }),
    train_examples: Type.Integer({ minimum: 1 }),
    validation_examples: Type.Integer({ minimum: 1 }),
  }),
  seed: Type.Integer(),
  engine: Type.String(),
  device: Type.Optional(Type.String()),
  threads: Type.Integer({ minimum: 1 }),
  epochs: Type.Integer({ minimum: 0 }),
  steps: Type.Integer({ minimum: 0 }),
  skipped_steps: Type.Optional(
    Type.Integer({
      minimum: 0,
      description: 'Steps that changed nothing: a loss or gradient was not finite, or a gradient too long',
    }),
  ),
  started_at: Type.String(),
  started_from: Type.Optional(
    Type.String({ description: 'The version whose weights training started from, and the start of their hashes' }),
  ),
  kept_zeros: Type.Optional(Type.Literal(true, { description: 'Weights that were 0 in that version stayed 0' })),
  seconds: Type.Number({ minimum: 0 }),
});

const WeightCountSchema = Type.Object({
  stored: Type.Integer({ minimum: 0, description: 'Of matrices and kernels, zeros too' }),
  non_zero: Type.Integer({ minimum: 0 }),
});

/** Of a model that `elbo prune` made of another. */
export const PruningRecordSchema = Type.Object({
  name: Type.String({ pattern: MODEL_NAME_PATTERN }),
  version: Type.String({ pattern: MODEL_VERSION_PATTERN }),
  threshold: Type.Number({ minimum: 0, description: 'Weights of at most this magnitude counted as 0' }),
  weights: Type.Object({ before: WeightCountSchema, after: WeightCountSchema }),
  compression: Type.Number({ description: 'Weights that training had for each that is left and not 0' }),
});

export const ScorerSchema = Type.Object({
  components: Type.Array(Type.String(), {
    minItems: 1,
    description: "The scorer's outputs of one number an example, besides `score`",
  }),
  scored: Type.Optional(
    Type.Array(Type.String(), { minItems: 1, description: 'Those that the score is made of; all where left out' }),
  ),
});

/** `manifest.json`: everything that a program must know about a model version besides its graphs. */
export const ManifestSchema = Type.Object({
  schema_version: Type.Literal(SCHEMA_VERSION),
  name: Type.String({ pattern: MODEL_NAME_PATTERN }),
  version: Type.String({ pattern: MODEL_VERSION_PATTERN }),
  description: Type.String(),
  family: Type.String(),
  input: Type.Union([ImageInputSchema, VectorInputSchema]),
  latent: LatentSchema,
  likelihood: Type.Object({ kind: Type.String() }),
  prior: PriorSchema,
  condition: Type.Optional(ConditionSchema),
  scorer: ScorerSchema,
  calibration: CalibrationSchema,
  golden: Type.Optional(GoldenSchema),
  reference: Type.Optional(ReferenceSchema),
  files: Type.Record(Type.String({ pattern: '^[a-z0-9][a-z0-9._-]*$' }), FileRecordSchema, {
    additionalProperties: false,
  }),
  training: TrainingRecordSchema,
  pruned_from: Type.Optional(PruningRecordSchema),
  metrics: Type.Record(Type.String(), MetricSchema),
});

export type ImageInput = Static<typeof ImageInputSchema>;
export type Column = Static<typeof ColumnSchema>;
export type VectorInput = Static<typeof VectorInputSchema>;
export type InputDescription = ImageInput | VectorInput;
export type Calibration = Static<typeof CalibrationSchema>;
export type Condition = Static<typeof ConditionSchema>;
export type Latent = Static<typeof LatentSchema>;
export type AggregatePosteriorRecord = Static<typeof AggregatePosteriorSchema>;
export type Metric = Static<typeof MetricSchema>;
export type FileRecord = Static<typeof FileRecordSchema>;
export type PruningRecord = Static<typeof PruningRecordSchema>;
export type TrainingRecord = Static<typeof TrainingRecordSchema>;
export type Manifest = Static<typeof ManifestSchema>;

const validator = Compile(ManifestSchema);

/**
 * Checks parsed JSON against the manifest schema and the rules that a schema cannot say.
 * @throws {ModelStoreError} MANIFEST_INVALID, naming the field and what was expected there.
 */
export function parseManifest(json: unknown): Manifest {
  if (!validator.Check(json)) {
    const [, [first]] = validator.Errors(json);
    const field = first === undefined ? '' : first.instancePath.slice(1).replaceAll('/', '.');
    throw new ModelStoreError(
      'MANIFEST_INVALID',
      `manifest: ${field === '' ? 'the document' : field} ${first?.message ?? 'is not valid'}`,
    );
  }
  for (const file of [...Object.values(GRAPH_FILES), CALIBRATION_FILE]) {
    if (!Object.hasOwn(json.files, file)) {
      throw new ModelStoreError('MANIFEST_INVALID', `manifest: files must list ${file}`);
    }
  }
  const [low, high] = json.input.value_range;
  if (!(low < high)) {
    throw new ModelStoreError('MANIFEST_INVALID', 'manifest: input.value_range must be [low, high] with low < high');
  }
  if (json.input.kind === 'image' && (json.input.colour === 'rgb') !== (json.input.shape[0] === 3)) {
    throw new ModelStoreError('MANIFEST_INVALID', 'manifest: input.colour must be grey for 1 channel and rgb for 3');
  }
  const { components, dimensions } = json.prior;
  const isMixture = components !== undefined && dimensions !== undefined;
  if (isMixture !== Object.hasOwn(json.files, PRIOR_FILE) || isMixture === (json.prior.kind === 'standard-normal')) {
    throw new ModelStoreError(
      'MANIFEST_INVALID',
      `manifest: prior.kind is ${json.prior.kind}; expected standard-normal, or a mixture with components, dimensions and the file ${PRIOR_FILE}`,
    );
  }
  if (isMixture && dimensions > json.latent.size) {
    throw new ModelStoreError(
      'MANIFEST_INVALID',
      `manifest: prior.dimensions is ${dimensions}; expected at most latent.size = ${json.latent.size}`,
    );
  }
  const wrong = (json.condition && conditionProblem(json.condition)) ?? referenceProblem(json);
  if (wrong !== undefined) throw new ModelStoreError('MANIFEST_INVALID', `manifest: ${wrong}`);
  if (json.input.kind === 'vector' && (json.input.columns?.length ?? json.input.shape[0]) !== json.input.shape[0]) {
    throw new ModelStoreError(
      'MANIFEST_INVALID',
      `manifest: input.columns must have input.shape = ${json.input.shape[0]} entries`,
    );
  }
  checkLatent(json.latent);
  if (
    !json.calibration.thresholds.some((t) => t.false_positive_rate === json.calibration.default_false_positive_rate)
  ) {
    throw new ModelStoreError(
      'MANIFEST_INVALID',
      'manifest: calibration.thresholds must hold calibration.default_false_positive_rate',
    );
  }
  return json;
}

function checkLatent({ size, kl_per_dimension, aggregate_posterior: aggregate, traversal_ranges }: Latent): void {
  const lengths: Readonly<Record<string, readonly (readonly unknown[])[]>> = {
    kl_per_dimension: [kl_per_dimension],
    ...(traversal_ranges && { traversal_ranges: [traversal_ranges] }),
    ...(aggregate && {
      'aggregate_posterior.mean': [aggregate.mean],
      'aggregate_posterior.standard_deviation_of_means': [aggregate.standard_deviation_of_means],
      'aggregate_posterior.variance': [aggregate.variance],
    }),
    ...(aggregate?.covariance && {
      'aggregate_posterior.covariance': [aggregate.covariance, ...aggregate.covariance],
    }),
  };
  for (const [field, rows] of Object.entries(lengths)) {
    if (rows.every((row) => row.length === size)) continue;
    const numbers = field.endsWith('covariance') ? 'rows and columns' : field.endsWith('ranges') ? 'ranges' : 'numbers';
    throw new ModelStoreError(
      'MANIFEST_INVALID',
      `manifest: latent.${field} must have latent.size = ${size} ${numbers}`,
    );
  }
  if (traversal_ranges?.some(([low, high]) => low > high)) {
    throw new ModelStoreError(
      'MANIFEST_INVALID',
      'manifest: latent.traversal_ranges must be [low, high] with low <= high',
    );
  }
  const correlations = aggregate?.strongest_correlations ?? [];
  if (
    aggregate !== undefined &&
    (correlations.length !== (size === 1 ? 0 : size) ||
      correlations.some(({ dimension }, own) => dimension >= size || dimension === own))
  ) {
    throw new ModelStoreError(
      'MANIFEST_INVALID',
      `manifest: latent.aggregate_posterior.strongest_correlations must name another dimension for each of latent.size = ${size}`,
    );
  }
}

/** Numbers in one item: the product of its shape. */
export function itemSize(input: InputDescription): number {
  return input.shape.reduce((product, dimension) => product * dimension, 1);
}
