import { type TProperties, type TSchema, Type } from 'typebox';
import { PROBLEMS, type ProblemCode } from '../problems.js';

export const MODEL_PARAMETERS = {
  model: Type.Optional(Type.String({ description: 'Name of a loaded model; the default model if left out' })),
  version: Type.Optional(Type.String({ description: 'Loaded version of the model; the latest if left out' })),
};

/** For all items of a request, whatever its content type. */
const LABEL_PARAMETER = {
  label: Type.Optional(
    Type.String({
      description:
        'Class of every item, its number or its name; only for models with a `condition`, which all routes but `/sample` ' +
        'need it for',
    }),
  ),
};

/** Query parameters of a route that runs a model; others than these are refused by name. */
export function query<Properties extends TProperties>(properties: Properties) {
  return Type.Object({ ...MODEL_PARAMETERS, ...properties, ...LABEL_PARAMETER }, { additionalProperties: false });
}

export const Seed = Type.Integer({
  minimum: 0,
  maximum: 2 ** 32 - 1,
  description: 'The same seed gives the same bytes; a random one is drawn and returned if left out',
});

export const ProblemSchema = Type.Object(
  {
    type: Type.String({ description: 'A URI that names the kind of problem' }),
    title: Type.String({ description: 'The kind of problem in words' }),
    status: Type.Integer({ description: 'The HTTP status' }),
    detail: Type.String({ description: 'What is wrong here: the field, and what was expected' }),
    code: Type.Union(
      Object.keys(PROBLEMS).map((code) => Type.Literal(code)),
      { description: 'Stable, for programs' },
    ),
  },
  { $id: 'Problem', title: 'Problem', description: 'RFC 9457 problem details' },
);

/** A media type whose bytes no JSON schema describes. */
export function binary(description: string): { schema: TSchema } {
  return { schema: Type.Unsafe({ description }) };
}

export function json(schema: TSchema, examples?: Record<string, unknown>): { schema: TSchema } {
  return { schema: examples === undefined ? schema : { ...schema, 'x-examples': examples } };
}

/** Responses of the problems that a route can answer with, one entry a status. */
export function problems(...codes: ProblemCode[]): Record<number, unknown> {
  const responses: Record<number, unknown> = {};
  const always: ProblemCode[] = ['INTERNAL'];
  for (const { status } of [...codes, ...always].map((code) => PROBLEMS[code])) {
    const same = [...codes, ...always].filter((code) => PROBLEMS[code].status === status);
    responses[status] = {
      description: same.map((code) => `\`${code}\`: ${PROBLEMS[code].title}`).join('. '),
      content: { 'application/problem+json': { schema: { $ref: 'Problem#' } } },
    };
  }
  return responses;
}

/** Headers of an answer that may be kept as long as it is asked each time whether it still holds. */
export const CACHE_HEADERS = {
  etag: { type: 'string', description: 'Names the answer' },
  'cache-control': { type: 'string', description: '`no-cache`: may be kept, and asked for again with If-None-Match' },
};

/** Request headers of routes with such answers. */
export const CONDITIONAL = Type.Object({
  'if-none-match': Type.Optional(Type.String({ description: 'ETags of answers that are there already' })),
});

export const NOT_MODIFIED: Record<number, unknown> = {
  304: {
    description: 'The answer has an ETag of If-None-Match, and is not sent again',
    headers: CACHE_HEADERS,
    // To the generator of the document: without content.
    type: 'null',
  },
};

/** What running a model can end in. */
export const RUN_PROBLEMS = [
  'MODEL_NOT_FOUND',
  'TOO_MANY_ITEMS',
  'OUTPUT_NOT_FINITE',
  'OVERLOADED',
  'TIMED_OUT',
  'OUT_OF_MEMORY',
  'WORKER_LOST',
  'UNAVAILABLE',
] as const satisfies ProblemCode[];

/** What any route that runs a model can answer with. */
export const INFERENCE_PROBLEMS = [
  'INVALID_REQUEST',
  'NOT_ACCEPTABLE',
  ...RUN_PROBLEMS,
] as const satisfies ProblemCode[];

/** What any route that reads a body can answer with, besides. */
export const BODY_PROBLEMS = [
  'INVALID_CODING',
  'INVALID_JSON',
  'BODY_TOO_LARGE',
  'UNSUPPORTED_MEDIA_TYPE',
  'INVALID_INPUT',
  'REQUEST_TIMEOUT',
] as const satisfies ProblemCode[];

export const IMAGE_PROBLEMS = ['IMAGE_TOO_LARGE', 'INVALID_IMAGE'] as const satisfies ProblemCode[];
