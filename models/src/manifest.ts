import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { ModelStoreError } from './errors.js';

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

/** What a column of a table holds: numbers, or codes that stand for categories. */
export const ColumnSchema = Type.Union([
  Type.Object({ name: Type.String(), kind: Type.Literal('numeric') }),
  Type.Object({
    name: Type.String(),
    kind: Type.Literal('categorical'),
    categories: Type.Array(Type.String(), { minItems: 1, description: 'In the order of their codes, 0, 1, …' }),
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

export const LatentSchema = Type.Object({
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
  seconds: Type.Number({ minimum: 0 }),
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
  scorer: Type.Object({
    components: Type.Array(Type.String(), {
      minItems: 1,
      description: "The scorer's outputs of one number an example, besides `score`",
    }),
  }),
  calibration: CalibrationSchema,
  files: Type.Record(Type.String({ pattern: '^[a-z0-9][a-z0-9._-]*$' }), FileRecordSchema, {
    additionalProperties: false,
  }),
  training: TrainingRecordSchema,
  metrics: Type.Record(Type.String(), MetricSchema),
});

export type ImageInput = Static<typeof ImageInputSchema>;
export type Column = Static<typeof ColumnSchema>;
export type VectorInput = Static<typeof VectorInputSchema>;
export type InputDescription = ImageInput | VectorInput;
export type Calibration = Static<typeof CalibrationSchema>;
export type Latent = Static<typeof LatentSchema>;
export type Metric = Static<typeof MetricSchema>;
export type FileRecord = Static<typeof FileRecordSchema>;
export type TrainingRecord = Static<typeof TrainingRecordSchema>;
export type Manifest = Static<typeof ManifestSchema>;

const validator = Compile(ManifestSchema);

/**
 * Checks parsed JSON against the manifest schema and the rules that a schema cannot say.
 * @throws {ModelStoreError} MANIFEST_INVALID, naming the field and what was expected there.
 */
export function parseManifest(json: unknown): Manifest {
  if (!validator.Check(json)) {
    const [first] = validator.Errors(json);
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
  if (json.input.kind === 'vector' && (json.input.columns?.length ?? json.input.shape[0]) !== json.input.shape[0]) {
    throw new ModelStoreError(
      'MANIFEST_INVALID',
      `manifest: input.columns must have input.shape = ${json.input.shape[0]} entries`,
    );
  }
  if (json.latent.kl_per_dimension.length !== json.latent.size) {
    throw new ModelStoreError(
      'MANIFEST_INVALID',
      `manifest: latent.kl_per_dimension must have latent.size = ${json.latent.size} numbers`,
    );
  }
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

/** Numbers in one item: the product of its shape. */
export function itemSize(input: InputDescription): number {
  return input.shape.reduce((product, dimension) => product * dimension, 1);
}
