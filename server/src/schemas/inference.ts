import { MAX_IMAGE_PIXELS } from '@elbo/models';
import { type TSchema, Type } from 'typebox';
import { PATHS, type Path } from '../routes/latent-path.js';
import { binary, json } from './common.js';

/** Samples in one request at most. */
export const MAX_SAMPLES = 1024;

/** Items on one path at most. */
const MAX_STEPS = 256;

const Model = { model: Type.String(), version: Type.String() };
const Shape = Type.Array(Type.Integer(), { description: 'Shape of `outputs`: items, then the shape of one item' });
/** A class's number, or its name: a list of types, as a refusal by `anyOf` would name the first of them alone. */
const Label = (description: string) => Type.Unsafe<number | string>({ type: ['integer', 'string'], description });
const GivenLabels = Type.Optional(
  Type.Array(Label("A class's number or name"), {
    description: 'Class of each item, in place of the query parameter `label`; only for models with a `condition`',
  }),
);
const AnsweredLabels = Type.Optional(
  Type.Array(Type.Integer(), { description: 'Class number of each item; only from models with a `condition`' }),
);
const Rows = (description: string) => Type.Array(Type.Array(Type.Number()), { description });
/** Nested to the depth of the model's input shape, which differs between models. */
const Outputs = Type.Array(Type.Unknown(), { description: 'One nested array of numbers an item, as `shape` says' });

export const InputsBody = Type.Object(
  {
    inputs: Type.Optional(
      Type.Array(Type.Unknown(), {
        minItems: 1,
        description:
          'Items: each an array of numbers, flat or nested as the input shape, within the value range of the model (of a ' +
          'table, null for a missing value and the text of a category for its code); or, for models of images, a string: ' +
          'a PNG, JPEG or WebP file as base64 or base64url (a data URL, too)',
      }),
    ),
    rows: Type.Optional(
      Type.Array(Type.Record(Type.String(), Type.Unknown()), {
        minItems: 1,
        description:
          'In place of `inputs`, for models of tables: objects of the columns by name, as `input.columns` lists them',
      }),
    ),
    labels: GivenLabels,
  },
  { $id: 'Inputs', title: 'Inputs', description: 'Either `inputs` or `rows`', additionalProperties: false },
);

export const LatentsBody = Type.Object(
  {
    latents: Type.Array(Type.Unknown(), { minItems: 1, description: 'Arrays of Z numbers, one an item' }),
    labels: GivenLabels,
  },
  { $id: 'Latents', title: 'Latents', additionalProperties: false },
);

export const SampleParameters = {
  count: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_SAMPLES, default: 16, description: 'Samples to draw' })),
  seed: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: 2 ** 32 - 1,
      description:
        'The same seed gives the same bytes, and the first samples are the same for any count; a random one is drawn ' +
        'and returned if left out',
    }),
  ),
  temperature: Type.Optional(
    Type.Number({ minimum: 0, maximum: 10, default: 1, description: 'Standard deviation of the latents' }),
  ),
};

export const SampleBody = Type.Object(
  {
    ...SampleParameters,
    label: Type.Optional(
      Label(
        'Class of every sample, its number or its name; only for models with a `condition`. Classes are drawn as often as ' +
          'they were among the training examples if left out',
      ),
    ),
  },
  { $id: 'SampleRequest', title: 'SampleRequest', additionalProperties: false },
);

export const InterpolateParameters = {
  steps: Type.Optional(
    Type.Integer({ minimum: 2, maximum: MAX_STEPS, default: 8, description: 'Items on the path, both ends included' }),
  ),
  // As a string of certain values: a refusal of a union names its first member alone.
  path: Type.Optional(
    Type.Unsafe<Path>({
      type: 'string',
      enum: [...PATHS],
      default: 'linear',
      description: 'Straight, or along the sphere: the direction turns evenly; straight where the ends span no plane',
    }),
  ),
};

const Ends = (description: string) =>
  Type.Optional(Type.Array(Type.Unknown(), { minItems: 2, maxItems: 2, description }));

export const InterpolateBody = Type.Object(
  {
    inputs: Ends('Two items, as in `Inputs`; the path leads from one posterior mean to the other'),
    latents: Ends('In place of `inputs`: two arrays of Z numbers'),
    ...InterpolateParameters,
    label: Type.Optional(
      Label('Class of every item, its number or its name; only for models with a `condition`, and always for these'),
    ),
  },
  {
    $id: 'InterpolateRequest',
    title: 'InterpolateRequest',
    description: 'Either `inputs` or `latents`',
    additionalProperties: false,
  },
);

export const EncodeAnswer = Type.Object(
  {
    ...Model,
    labels: AnsweredLabels,
    seed: Type.Optional(Type.Integer({ description: 'With `sample=true`: the seed of `z`' })),
    mean: Rows('Mean of q(z|x), N x Z'),
    log_variance: Rows('Logarithm of the variance of q(z|x), N x Z'),
    z: Type.Optional(Rows('With `sample=true`: one draw from q(z|x), N x Z')),
  },
  { $id: 'Encoding', title: 'Encoding', additionalProperties: false },
);

export const DecodeAnswer = Type.Object(
  { ...Model, labels: AnsweredLabels, shape: Shape, outputs: Outputs },
  { $id: 'Decoding', title: 'Decoding', additionalProperties: false },
);

export const SampleAnswer = Type.Object(
  {
    ...Model,
    seed: Type.Integer(),
    temperature: Type.Number(),
    labels: AnsweredLabels,
    shape: Shape,
    latents: Rows('The draws from the prior, N x Z'),
    outputs: Outputs,
  },
  { $id: 'Samples', title: 'Samples', additionalProperties: false },
);

export const InterpolateAnswer = Type.Object(
  {
    ...Model,
    path: Type.String(),
    labels: AnsweredLabels,
    shape: Shape,
    latents: Rows('Along the path, steps x Z'),
    outputs: Outputs,
  },
  { $id: 'Interpolation', title: 'Interpolation', additionalProperties: false },
);

const Value = (description: string) =>
  Type.Unsafe<number | string | null>({ type: ['number', 'string', 'null'], description });

export const ScoreAnswer = Type.Object(
  {
    ...Model,
    labels: AnsweredLabels,
    false_positive_rate: Type.Number({ description: 'Share of normal items that are above the threshold' }),
    threshold: Type.Number({ description: 'A score above it is anomalous' }),
    scores: Type.Array(
      Type.Object(
        {
          score: Type.Number({ description: 'Larger is more anomalous' }),
          p_value: Type.Number({
            description:
              'Conformal: the probability that a normal item scores at least this; the smallest is 1/(n + 1)',
          }),
          is_anomaly: Type.Boolean(),
          components: Type.Record(Type.String(), Type.Number(), { description: 'What the score is made of' }),
          contributions: Type.Optional(
            Type.Array(
              Type.Object(
                {
                  column: Type.String({ description: 'Name, or number from 0 where columns have no names' }),
                  observed: Value('The value, null where it is missing; of a category its text'),
                  expected: Value('What the model expects of such a row'),
                  nats: Type.Number({ description: 'Part of the reconstruction error' }),
                },
                { additionalProperties: false },
              ),
              { description: 'Of tables: the columns that contribute most to the error, most first' },
            ),
          ),
        },
        { additionalProperties: false },
      ),
    ),
    error_map: Type.Optional(
      Type.Array(Type.Unknown(), {
        description: 'Where `error_map` asks for it: nats of each number of each item, nested as the input shape',
      }),
    ),
  },
  { $id: 'AnomalyScores', title: 'AnomalyScores', additionalProperties: false },
);

const FLOAT32 = 'little-endian float32';

/** Bodies of the routes that take items. */
export const INPUT_CONTENT: Record<string, { schema: TSchema }> = {
  'application/json': json(Type.Ref('Inputs#'), {
    numbers: { summary: 'Numbers of one item (cut short here)', value: { inputs: [[0, 0.5, 1]] } },
    image: { summary: 'A base64 image (cut short here)', value: { inputs: ['iVBORw0KGgo'] } },
    row: { summary: 'A row of a table (with columns of yours)', value: { rows: [{ age: 41, colour: 'red' }] } },
  }),
  'image/png': binary(`One PNG image of at most ${MAX_IMAGE_PIXELS} pixels`),
  'image/jpeg': binary(`One JPEG image of at most ${MAX_IMAGE_PIXELS} pixels`),
  'image/webp': binary(`One WebP image of at most ${MAX_IMAGE_PIXELS} pixels`),
  'multipart/form-data': {
    schema: Type.Unsafe({
      type: 'object',
      description:
        'PNG, JPEG or WebP files under any field names, the items in their order; of conditional models, a field `labels` for ' +
        'each, in place of the query parameter `label`. There are no other fields',
      properties: { labels: { type: 'array', items: { type: 'string' } } },
      additionalProperties: {},
    }),
  },
  'application/octet-stream': binary(`Items as ${FLOAT32}, N x input shape`),
  'application/x-npy': binary(
    'Items as a NumPy array of any numeric type, [N, …input shape], [N, numbers of an item], or one item without N. Of ' +
      'images, bytes and bools are pixels, as in an image file; other types hold numbers within the value range',
  ),
};

/** The same, and streams. */
export const STREAM_CONTENT: Record<string, { schema: TSchema }> = {
  ...INPUT_CONTENT,
  'application/x-ndjson': binary(
    'A stream of any length: one item a line, an array of numbers, a base64 image, or an object of the columns of a table. ' +
      'Of conditional models, the `label` of the query is the class of all, or each line has its own: ' +
      '`{"input": item, "label": class}`. The limit of a body is that of a line. Each is answered by one line of JSON, in ' +
      'order and as they come. What is wrong with a later line than the first comes as the last line, `{"error": problem}`',
  ),
};

/** Bodies of `/decode`. */
export const LATENTS_CONTENT: Record<string, { schema: TSchema }> = {
  'application/json': json(Type.Ref('Latents#'), {
    one: { summary: 'A latent of two dimensions', value: { latents: [[0.3, -1.2]] } },
  }),
  'application/octet-stream': binary(`Latents as ${FLOAT32}, N x Z`),
  'application/x-npy': binary('Latents as a NumPy array of any numeric type, [N, Z] or [Z]'),
  'application/x-ndjson': binary(
    'A stream of any length: one latent a line, an array of Z numbers, or `{"latent": array, "label": class}`',
  ),
};

const header = (description: string) => ({ type: 'string', description });

/** Says what a body without names is. */
export const ANSWER_HEADERS = {
  'elbo-model': header('`name/version` of the model that answered'),
  'elbo-shape': header('Dimensions of the tensor in an octet-stream or NumPy body, separated by commas'),
};
export const SEED_HEADER = { 'elbo-seed': header('The seed that random numbers were drawn with') };

/** A 200 response in JSON and whatever else. */
export function answer(
  description: string,
  reference: string,
  others: Readonly<Record<string, string>>,
  headers: Record<string, unknown> = ANSWER_HEADERS,
): { description: string; headers: Record<string, unknown>; content: Record<string, { schema: TSchema }> } {
  const content: Record<string, { schema: TSchema }> = { 'application/json': { schema: Type.Ref(`${reference}#`) } };
  for (const [type, meaning] of Object.entries(others)) content[type] = binary(meaning);
  return { description, headers, content };
}

/** Ways that items come out. */
export const ITEM_OUTPUTS = {
  'image/png':
    'One image, or a grid of all N in reading order: as many columns as the root of N, rounded up, with two grey pixels between images',
  'application/octet-stream': `${FLOAT32}, N x input shape`,
  'application/x-npy': 'A NumPy array of float32, N x input shape',
  'application/x-ndjson':
    'An object of `output` a line, of `label` where the model has a condition, and of `latent` where there is no other way to know it',
};
