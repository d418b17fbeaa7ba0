import { type TProperties, Type } from 'typebox';
import { openInferenceStatus } from '../open-inference-errors.js';
import { PROBLEMS, type ProblemCode } from '../problems.js';
import { binary, json } from './common.js';

const Parameters = (known: TProperties, description: string) => Type.Optional(Type.Object(known, { description }));

const Shape = (description: string) => Type.Array(Type.Integer(), { description });

export const OpenInferenceErrorSchema = Type.Object(
  { error: Type.String({ description: 'What is wrong: the field, and what was expected' }) },
  { $id: 'OpenInferenceError', title: 'OpenInferenceError', additionalProperties: false },
);

export const OpenInferenceRequestSchema = Type.Object(
  {
    id: Type.Optional(Type.String({ description: 'Comes back with the answer' })),
    parameters: Parameters(
      {
        binary_data_output: Type.Optional(
          Type.Boolean({ description: 'All outputs come as bytes, if not told otherwise' }),
        ),
        timeout: Type.Optional(
          Type.Integer({ minimum: 0, description: 'Microseconds that the answer is worth waiting for' }),
        ),
      },
      'Of the request',
    ),
    inputs: Type.Array(
      Type.Object({
        name: Type.String({
          description: '`x` of encoder and scorer, `z` of the decoder, and `label` of conditional models',
        }),
        shape: Shape('Rows, then the shape of one row'),
        datatype: Type.String({
          description: 'FP32; BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16 and FP64 are converted',
        }),
        parameters: Parameters(
          {
            binary_data_size: Type.Optional(
              Type.Integer({ minimum: 0, description: 'Bytes of this input after the JSON' }),
            ),
          },
          'Of the input',
        ),
        data: Type.Optional(Type.Array(Type.Unknown(), { description: 'Numbers in row-major order, flat or nested' })),
      }),
      { description: 'Each input of the graph once' },
    ),
    outputs: Type.Optional(
      Type.Array(
        Type.Object({
          name: Type.String(),
          parameters: Parameters(
            { binary_data: Type.Optional(Type.Boolean({ description: 'Comes as bytes' })) },
            'Of the output',
          ),
        }),
        { description: 'The outputs that are wanted; all if left out' },
      ),
    ),
  },
  { $id: 'OpenInferenceRequest', title: 'OpenInferenceRequest' },
);

export const OpenInferenceAnswerSchema = Type.Object(
  {
    model_name: Type.String(),
    model_version: Type.String(),
    id: Type.Optional(Type.String({ description: "The request's" })),
    outputs: Type.Array(
      Type.Object(
        {
          name: Type.String(),
          datatype: Type.Literal('FP32'),
          shape: Shape('Rows, then the shape of one row'),
          parameters: Parameters({ binary_data_size: Type.Integer() }, 'Of an output that comes as bytes'),
          data: Type.Optional(Type.Array(Type.Number(), { description: 'In row-major order, flat' })),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { $id: 'OpenInferenceAnswer', title: 'OpenInferenceAnswer', additionalProperties: false },
);

const TensorMetadata = Type.Object(
  {
    name: Type.String(),
    datatype: Type.Literal('FP32'),
    shape: Shape('-1, for any number of rows, then the shape of one'),
  },
  { additionalProperties: false },
);

export const ServerMetadataSchema = Type.Object(
  { name: Type.String(), version: Type.String(), extensions: Type.Array(Type.String()) },
  { additionalProperties: false },
);

export const ModelMetadataSchema = Type.Object(
  {
    name: Type.String(),
    versions: Type.Array(Type.String(), { description: 'Every loaded version' }),
    platform: Type.Literal('onnxruntime_onnx'),
    inputs: Type.Array(TensorMetadata),
    outputs: Type.Array(TensorMetadata),
  },
  { additionalProperties: false },
);

/** Shapes of rows, without the number of rows that metadata has in front. */
const ConfiguredTensor = Type.Object(
  {
    name: Type.String(),
    data_type: Type.Literal('TYPE_FP32'),
    dims: Shape('Of one row; none where a row is one number'),
  },
  { additionalProperties: false },
);

export const ModelConfigurationSchema = Type.Object(
  {
    name: Type.String(),
    platform: Type.Literal('onnxruntime_onnx'),
    backend: Type.Literal('onnxruntime'),
    version_policy: Type.Object(
      { all: Type.Object({}, { additionalProperties: false }) },
      { description: 'Every version of the store is served', additionalProperties: false },
    ),
    max_batch_size: Type.Integer({ description: 'Rows that run together at most; requests with more are split' }),
    input: Type.Array(ConfiguredTensor),
    output: Type.Array(ConfiguredTensor),
    instance_group: Type.Array(
      Type.Object(
        {
          name: Type.String(),
          kind: Type.Enum(['KIND_CPU', 'KIND_GPU']),
          count: Type.Integer({ description: 'Workers, each of which runs any graph' }),
          gpus: Type.Array(Type.Integer()),
        },
        { additionalProperties: false },
      ),
    ),
    dynamic_batching: Type.Object(
      {
        preferred_batch_size: Type.Array(Type.Integer(), { description: 'Always empty' }),
        max_queue_delay_microseconds: Type.Integer({ description: 'How long a batch that is not full waits for more' }),
        preserve_ordering: Type.Literal(false),
      },
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
);

export const RepositoryIndexSchema = Type.Array(
  Type.Object(
    { name: Type.String(), version: Type.String(), state: Type.String(), reason: Type.String() },
    { additionalProperties: false },
  ),
);

const Duration = (description: string) =>
  Type.Object({ count: Type.Integer(), ns: Type.Integer() }, { description, additionalProperties: false });

export const ModelStatisticsSchema = Type.Object(
  {
    model_stats: Type.Array(
      Type.Object(
        {
          name: Type.String(),
          version: Type.String(),
          last_inference: Type.Integer({ description: 'Milliseconds since 1970; 0 where there was none' }),
          inference_count: Type.Integer({ description: 'Rows of requests that were answered' }),
          execution_count: Type.Integer({ description: 'Batches that were run, whichever route asked' }),
          inference_stats: Type.Object(
            {
              success: Duration('Requests that were answered'),
              fail: Duration('Requests that were not'),
              queue: Duration('Waiting for a worker'),
              compute_input: Duration('Always 0: part of compute_infer'),
              compute_infer: Duration('Running batches'),
              compute_output: Duration('Always 0: part of compute_infer'),
              cache_hit: Duration('Always 0: nothing is cached'),
              cache_miss: Duration('Always 0: nothing is cached'),
            },
            { additionalProperties: false },
          ),
          batch_stats: Type.Array(Type.Unknown(), { description: 'Always empty' }),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);

/** The schemas that routes refer to by name. */
export const OPEN_INFERENCE_SCHEMAS = [
  OpenInferenceErrorSchema,
  OpenInferenceRequestSchema,
  OpenInferenceAnswerSchema,
] as const;

const LENGTH_HEADER = 'inference-header-content-length';

/** Of a request to infer; the header is checked with the body that it tells of. */
export const LENGTH_HEADER_SCHEMA = Type.Object({
  [LENGTH_HEADER]: Type.Optional(
    Type.String({
      description:
        'Length of the JSON before the bytes of inputs; 0 for a body that is one row of the only input, as FP32',
    }),
  ),
});

/** Bodies of a request to infer. */
export const INFER_CONTENT = {
  'application/json': json(Type.Ref('OpenInferenceRequest#'), {
    latent: {
      summary: 'A latent of two dimensions',
      value: { inputs: [{ name: 'z', shape: [1, 2], datatype: 'FP32', data: [0.3, -1.2] }] },
    },
  }),
  'application/octet-stream': binary('The JSON, then the bytes of inputs, little-endian, in their order'),
};

/** Answers to it. */
export const INFER_ANSWER = {
  description: 'The outputs',
  headers: {
    [LENGTH_HEADER]: {
      type: 'string',
      description: 'Where outputs come as bytes: length of the JSON before them',
    },
  },
  content: {
    'application/json': { schema: Type.Ref('OpenInferenceAnswer#') },
    'application/octet-stream': binary('The JSON, then the bytes of outputs, little-endian float32, in their order'),
  },
};

/** Responses of the problems that a route can answer with, one entry a status, in the form of the protocol. */
export function openInferenceProblems(...codes: ProblemCode[]): Record<number, unknown> {
  const all: ProblemCode[] = [...codes, 'INTERNAL'];
  return Object.fromEntries(
    all.map(openInferenceStatus).map((status) => [
      status,
      {
        description: all
          .filter((code) => openInferenceStatus(code) === status)
          .map((code) => PROBLEMS[code].title)
          .join('. '),
        content: { 'application/json': { schema: Type.Ref('OpenInferenceError#') } },
      },
    ]),
  );
}
