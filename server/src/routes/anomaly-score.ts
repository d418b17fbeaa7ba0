import { largestContributions } from '@elbo/models';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { pngFromErrorMap } from '../codecs/image-output.js';
import { type EncodedItems, itemsFromBase64, itemsFromList, jsonItemDecoder } from '../codecs/items.js';
import type { ServedModel } from '../inference/model.js';
import type { Score, Scoring } from '../inference/service.js';
import { etagOf, isModified, notModified } from '../plugins/caching.js';
import { ProblemError } from '../problems.js';
import { RecentMap } from '../recent-map.js';
import {
  BODY_PROBLEMS,
  CACHE_HEADERS,
  CONDITIONAL,
  IMAGE_PROBLEMS,
  INFERENCE_PROBLEMS,
  NOT_MODIFIED,
  problems,
  query,
} from '../schemas/common.js';
import { answer, STREAM_CONTENT } from '../schemas/inference.js';
import { VERSION } from '../version.js';
import { admitItems, refuseWhenFull } from './admission.js';
import { sendJson, sendLines, sendPng, sendTensor } from './inference-reply.js';
import {
  clientGone,
  isTensorType,
  itemOutputType,
  itemsOf,
  JSON_TYPE,
  LINES_TYPE,
  PNG_TYPE,
  timed,
} from './inference-request.js';
import { answerLines, hasLines } from './line-stream.js';
import { labelsOf } from './request-labels.js';

/** Columns that an item's explanation names, if not told otherwise, and at most. */
const DEFAULT_CONTRIBUTIONS = 3;
const MAX_CONTRIBUTIONS = 1000;

/** Answers to GET whose p-value is kept for when they are asked again. */
const REMEMBERED_ANSWERS = 10_000;

const identities = new WeakMap<ServedModel, string>();

/** Changes with anything of a model: its manifest has the hashes of all its files. */
function identityOf(model: ServedModel): string {
  const known = identities.get(model) ?? etagOf(JSON.stringify(model.manifest));
  identities.set(model, known);
  return known;
}

const NOTHING = new Float32Array(0);

const QUESTION = {
  fpr: Type.Optional(
    Type.Number({ description: "False positive rate of the threshold; the model's default if left out" }),
  ),
  explain: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: MAX_CONTRIBUTIONS,
      default: DEFAULT_CONTRIBUTIONS,
      description: 'Of tables, in JSON: how many of the columns that contribute most are named for each item',
    }),
  ),
  error_map: Type.Optional(
    Type.Boolean({
      default: false,
      description: 'In JSON: whether the error map goes along, so that one request has both',
    }),
  ),
};

const ANSWER = answer('Scores, larger is more anomalous', 'AnomalyScores', {
  'image/png':
    'Where each item is unlike what the model knows: the error over the item, one image or a grid in reading order',
  'application/octet-stream': 'The error map as little-endian float32, N x input shape: nats of each number',
  'application/x-npy': 'The same as a NumPy array of float32',
  'application/x-ndjson': "An item's object of `scores` a line",
});

export const anomalyScoreRoutes: FastifyPluginAsyncTypebox = async (app) => {
  // An input that is asked again is an input: what a model is asked must not look otherwise for a cache in between. So the
  // p-value is counted again, and where it is forgotten, or another process gave the ETag, the model runs once more.
  const answered = new RecentMap<string, number>(REMEMBERED_ANSWERS);

  app.post(
    '/anomaly-score',
    {
      onRequest: refuseWhenFull,
      schema: {
        operationId: 'scoreAnomalies',
        tags: ['inference'],
        summary: 'How unlike the training data items are, with a p-value',
        querystring: query(QUESTION),
        body: { content: STREAM_CONTENT },
        response: {
          200: ANSWER,
          ...problems(...INFERENCE_PROBLEMS, ...BODY_PROBLEMS, ...IMAGE_PROBLEMS, 'RATE_NOT_STATED'),
        },
      },
    },
    async (request, reply) => {
      const model = app.service.registry.get(request.query.model, request.query.version);
      if (hasLines(request)) return scoreLines(request, reply, model, request.query);
      return score(request, reply, model, itemsOf(request, model), request.query);
    },
  );

  app.get(
    '/anomaly-score',
    {
      config: { caching: 'revalidate' },
      schema: {
        operationId: 'scoreAnomaly',
        tags: ['inference'],
        summary: 'How unlike the training data one item is, with a p-value',
        headers: CONDITIONAL,
        querystring: query({
          input: Type.Optional(Type.String({ description: 'A PNG, JPEG or WebP image as base64url' })),
          values: Type.Optional(Type.String({ description: 'The numbers of one item, separated by commas' })),
          ...QUESTION,
        }),
        response: {
          200: { ...ANSWER, headers: { ...ANSWER.headers, ...CACHE_HEADERS } },
          ...NOT_MODIFIED,
          ...problems(
            ...INFERENCE_PROBLEMS,
            ...IMAGE_PROBLEMS,
            'INVALID_INPUT',
            'RATE_NOT_STATED',
            'HEADERS_TOO_LARGE',
          ),
        },
      },
    },
    async (request, reply) => {
      const { model: name, version, input, values } = request.query;
      const model = app.service.registry.get(name, version);
      if ((input === undefined) === (values === undefined)) {
        throw new ProblemError('INVALID_REQUEST', 'expected one of the query parameters input and values');
      }
      const type = itemOutputType(request, model);
      const etag = etagOf(VERSION, app.service.status.provider, identityOf(model), JSON.stringify(request.query), type);
      reply.header('vary', 'accept').header('etag', etag);
      // The model need not run again: only what was answered with 200 before has an ETag that a client can know.
      const known = isModified(request, etag) ? undefined : answered.get(etag);
      if (known !== undefined) {
        app.countPValues(model, [known]);
        return reply.send(notModified(reply));
      }
      const items =
        values === undefined
          ? itemsFromBase64(input ?? '', 'input', model.manifest.input)
          : itemsFromList(values, 'values', model.manifest.input);
      return score(request, reply, model, timed(request, model, items), request.query, ([first]) => {
        if (first !== undefined) answered.set(etag, first.pValue);
      });
    },
  );

  async function score(
    request: FastifyRequest,
    reply: FastifyReply,
    model: ServedModel,
    items: EncodedItems,
    { fpr: falsePositiveRate, explain = DEFAULT_CONTRIBUTIONS, error_map: maps = false }: Question,
    onScored: (scores: readonly Score[]) => void = () => {},
  ): Promise<FastifyReply> {
    const { service } = app;
    const { input } = model.manifest;
    const type = itemOutputType(request, model);
    const isTable = input.kind === 'vector';
    const explains = isTable && explain > 0;
    const isText = type === JSON_TYPE || type === LINES_TYPE;
    const parts = explains || !isText || (maps && type === JSON_TYPE);
    const cancellation = clientGone(reply);
    return admitItems(request, items.count, async () => {
      const labels = labelsOf(request, model, items.count);
      const data = await items.decode();
      // The service takes the memory of what it scores, and an explanation shows the items, too.
      const scored = parts ? data.slice() : data;
      const scoring = await service.score(model, scored, {
        falsePositiveRate,
        parts,
        labels,
        cancellation,
        times: request.times.run,
      });
      onScored(scoring.scores);
      const { errorMap = NOTHING } = scoring.parts ?? {};
      if (isTensorType(type)) return sendTensor(reply, model, type, errorMap, [items.count, ...input.shape]);
      if (type === PNG_TYPE && !isTable) {
        const png = await request.times.during('encode', () => pngFromErrorMap(data, errorMap, input));
        return sendPng(reply, model, png);
      }
      const answers = answersOf(model, scoring, data, explains ? explain : undefined);
      if (type === LINES_TYPE) return sendLines(reply, model, scoreLinesOf(answers, labels));
      const fields = {
        labels,
        false_positive_rate: scoring.falsePositiveRate,
        threshold: scoring.threshold,
        scores: answers,
      };
      return sendJson(
        reply,
        model,
        fields,
        maps ? { error_map: { data: errorMap, shape: [items.count, ...input.shape] } } : undefined,
      );
    });
  }

  function scoreLines(
    request: FastifyRequest,
    reply: FastifyReply,
    model: ServedModel,
    { fpr: falsePositiveRate, explain = DEFAULT_CONTRIBUTIONS }: Question,
  ): Promise<FastifyReply> {
    const { input } = model.manifest;
    const parts = input.kind === 'vector' && explain > 0;
    return answerLines(app, request, reply, model, {
      size: model.itemSize,
      key: 'input',
      decode: jsonItemDecoder(input),
      answer: async (rows, options) => {
        const scored = parts ? rows.slice() : rows;
        const scoring = await app.service.score(model, scored, { falsePositiveRate, parts, ...options });
        return scoreLinesOf(answersOf(model, scoring, rows, parts ? explain : undefined), options.labels);
      },
    });
  }
};

/** Parameters of a query. */
interface Question {
  readonly fpr?: number;
  readonly explain?: number;
  readonly error_map?: boolean;
}

/**
 * What is answered of each item.
 * @param data the items, N x input shape
 * @param explain columns that contribute most and are named; none where unset
 */
function answersOf(
  model: ServedModel,
  scoring: Scoring,
  data: Float32Array,
  explain: number | undefined,
): Record<string, unknown>[] {
  const { input } = model.manifest;
  const { errorMap = NOTHING, expected = NOTHING } = scoring.parts ?? {};
  const row = (values: Float32Array, i: number) => values.subarray(i * model.itemSize, (i + 1) * model.itemSize);
  return scoring.scores.map((one, i) => ({
    score: one.score,
    p_value: one.pValue,
    is_anomaly: one.isAnomaly,
    components: one.components,
    ...(input.kind === 'vector' &&
      explain !== undefined && {
        contributions: largestContributions(
          { observed: row(data, i), expected: row(expected, i), errors: row(errorMap, i) },
          input.columns,
          explain,
        ),
      }),
  }));
}

function scoreLinesOf(
  answers: readonly Record<string, unknown>[],
  labels: readonly number[] | undefined,
): Iterable<string> {
  return answers.map((one, i) => `${JSON.stringify({ label: labels?.[i], ...one })}\n`);
}
